//! Commands and queries over the queue, on behalf of one request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use proto::messagequeue::v1 as mq;
use serde_json::{Value, json};
use svc_runtime::backoff::Backoff;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::read_model;
use crate::service::{
    COMMAND_ID, Channel, Position, Positions, RemoteError, Reply, Through, call, derive_id,
    message, sending,
};

/// How long a request is tried again while the queue is away. A client that
/// hears of a short outage can do no better.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long after a write a read waits for it, should the read model be behind.
/// After a longer time it is not this read model that would have to hurry.
const READ_YOUR_WRITES: Duration = Duration::from_secs(10);

/// The header by which clients say that a request is the same as one before.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The services behind the gateway.
#[derive(Debug)]
pub(super) struct Backend {
    message_queue: Channel,
    timeout: Duration,
    /// Where the last writes through this gateway stand.
    written: Mutex<BTreeMap<String, (Position, Instant)>>,
}

/// An id by which the command of a request is recognised, however often it is sent: also
/// by the client, if that gives an `Idempotency-Key`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CommandId(String);

impl CommandId {
    /// The one that a request gives, or a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok());
        Self(match given.filter(|key| !key.is_empty()) {
            Some(key) => derive_id(&["request", key]),
            None => uuid::Uuid::now_v7().to_string(),
        })
    }

    fn headers(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(COMMAND_ID.to_owned(), self.0.clone())])
    }
}

impl Backend {
    pub(super) fn new(message_queue: Channel, timeout: Duration) -> Self {
        Self { message_queue, timeout, written: Mutex::default() }
    }

    /// How long anybody may take: a service to answer, a client to say what it wants.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks a service to do something, and waits until it has.
    pub(super) async fn command(
        &self,
        service: &str,
        command: &str,
        body: &Value,
        id: &CommandId,
    ) -> Result<Value, RemoteError> {
        let reply = self.call(service, command, body, id).await?;
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, position) in reply.positions {
            let last = written.entry(topic).or_insert((position, now));
            *last = (last.0.max(position), now);
        }
        Ok(reply.result)
    }

    /// Asks a service to do something some time. Answers the message's id.
    pub(super) async fn send(
        &self,
        service: &str,
        command: &str,
        body: &Value,
        id: &CommandId,
    ) -> Result<String, RemoteError> {
        let client = mq::message_queue_client::MessageQueueClient::new(self.message_queue.clone());
        let sent = sending(Through::Queue, service, command, async {
            let outgoing = mq::OutgoingMessage {
                message: Some(message(command, body, id.headers())),
                dedup_key: Some(id.0.clone()),
                ..mq::OutgoingMessage::default()
            };
            let request = mq::SendRequest {
                queue: service.to_owned(),
                messages: vec![outgoing],
                ..mq::SendRequest::default()
            };
            let sent = while_away(|| {
                let (mut client, request) = (client.clone(), request.clone());
                async move {
                    let sent = tokio::time::timeout(self.timeout, client.send(request)).await;
                    let late =
                        || Err(Status::deadline_exceeded("the message queue does not answer"));
                    sent.unwrap_or_else(|_| late()).map_err(RemoteError::Call)
                }
            });
            sent.await
        });
        let result = sent.await?.into_inner().results.into_iter().next();
        result.map(|result| result.message_id).ok_or_else(|| {
            RemoteError::Call(Status::internal("a message was sent without an answer"))
        })
    }

    /// Asks the read model, which is to know of all that this gateway wrote.
    pub(super) async fn query(
        &self,
        query: &str,
        mut arguments: Value,
        id: &CommandId,
    ) -> Result<Value, RemoteError> {
        arguments["positions"] = json!(self.written());
        let reply = self.call(read_model::SERVICE, query, &arguments, id).await?;
        Ok(reply.result)
    }

    /// Asks the read model for a list, page by page.
    pub(super) async fn list(
        &self,
        query: &str,
        mut arguments: Value,
        id: &CommandId,
    ) -> Result<Vec<Value>, RemoteError> {
        arguments["page"] = true.into();
        let mut list = Vec::new();
        loop {
            let mut page = self.query(query, arguments.clone(), id).await?;
            if let Value::Array(items) = page["items"].take() {
                list.extend(items);
            }
            match page["next"].take() {
                Value::Null => return Ok(list),
                next => arguments["after"] = next,
            }
        }
    }

    fn written(&self) -> Positions {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, (_, at)| at.elapsed() < READ_YOUR_WRITES);
        written.iter().map(|(topic, (position, _))| (topic.clone(), *position)).collect()
    }

    async fn call(
        &self,
        service: &str,
        command: &str,
        body: &Value,
        id: &CommandId,
    ) -> Result<Reply, RemoteError> {
        let called = while_away(|| {
            let (queue, headers) = (self.message_queue.clone(), id.headers());
            call(queue, service, command, body, headers, self.timeout)
        });
        called.await
    }
}

/// Tries again while the queue cannot be reached: what is sent twice has the
/// same ids, and is done once.
async fn while_away<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, RemoteError>
where
    F: Future<Output = Result<T, RemoteError>>,
{
    let end = Instant::now() + PATIENCE;
    let mut backoff = Backoff::reconnect();
    loop {
        match attempt().await {
            Err(RemoteError::Call(status)) if is_away(&status) && Instant::now() < end => {}
            done => return done,
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Whether the queue could not be reached, or was lost on the way.
fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_is_the_same_command() {
        let mut headers = HeaderMap::new();
        assert_ne!(CommandId::of(&headers), CommandId::of(&headers));
        headers.insert(IDEMPOTENCY_KEY, "".parse().unwrap());
        assert_ne!(CommandId::of(&headers), CommandId::of(&headers));
        headers.insert(IDEMPOTENCY_KEY, "a".parse().unwrap());
        let first = CommandId::of(&headers);
        assert_eq!(first, CommandId::of(&headers));
        headers.insert(IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert_ne!(first, CommandId::of(&headers));
    }
}
