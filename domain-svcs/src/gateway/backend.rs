//! Commands and queries over the queue, on behalf of one request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use proto::messagequeue::v1 as mq;
use serde_json::{Value, json};
use svc_runtime::backoff::Backoff;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::read_model;
use crate::service::{
    COMMAND_ID, Position, Positions, RemoteError, Reply, TRACEPARENT, call, derive_id, message,
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

/// What is passed on from a request.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    headers: BTreeMap<String, String>,
}

impl Trace {
    /// The trace of a request (W3C Trace Context), a new one if it has none, and
    /// an id by which its command is recognised however often it is sent: also
    /// by the client, if that gives an `Idempotency-Key`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let id = match text(IDEMPOTENCY_KEY).filter(|key| !key.is_empty()) {
            Some(key) => derive_id(&["request", key]),
            None => uuid::Uuid::now_v7().to_string(),
        };
        // From the id, so that the same request is the same message too.
        let traceparent = text(TRACEPARENT)
            .filter(|value| is_traceparent(value))
            .map_or_else(|| new_trace(&id), str::to_owned);
        Self {
            headers: BTreeMap::from([
                (TRACEPARENT.to_owned(), traceparent),
                (COMMAND_ID.to_owned(), id),
            ]),
        }
    }
}

fn is_traceparent(value: &str) -> bool {
    let parts: Vec<_> = value.split('-').collect();
    let [version, trace, span, flags] = parts[..] else {
        return false;
    };
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let given = |part: &str| part.bytes().any(|b| b != b'0');
    hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && given(trace)
        && hex(span, 16)
        && given(span)
        && hex(flags, 2)
}

fn new_trace(id: &str) -> String {
    let hex = derive_id(&["trace", id]).replace('-', "");
    let span: String = hex.chars().rev().take(16).collect();
    format!("00-{hex}-{span}-01")
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
        trace: &Trace,
    ) -> Result<Value, RemoteError> {
        let reply = self.call(service, command, body, trace).await?;
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
        trace: &Trace,
    ) -> Result<String, RemoteError> {
        let outgoing = mq::OutgoingMessage {
            message: Some(message(command, body, trace.headers.clone())),
            dedup_key: trace.headers.get(COMMAND_ID).cloned(),
            ..mq::OutgoingMessage::default()
        };
        let request = mq::SendRequest {
            queue: service.to_owned(),
            messages: vec![outgoing],
            ..mq::SendRequest::default()
        };
        let client = mq::message_queue_client::MessageQueueClient::new(self.message_queue.clone());
        let sent = while_away(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move {
                let sent = tokio::time::timeout(self.timeout, client.send(request)).await;
                let late = || Err(Status::deadline_exceeded("the message queue does not answer"));
                sent.unwrap_or_else(|_| late()).map_err(RemoteError::Call)
            }
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
        trace: &Trace,
    ) -> Result<Value, RemoteError> {
        arguments["positions"] = json!(self.written());
        let reply = self.call(read_model::SERVICE, query, &arguments, trace).await?;
        Ok(reply.result)
    }

    /// Asks the read model for a list, page by page.
    pub(super) async fn list(
        &self,
        query: &str,
        mut arguments: Value,
        trace: &Trace,
    ) -> Result<Vec<Value>, RemoteError> {
        arguments["page"] = true.into();
        let mut list = Vec::new();
        loop {
            let mut page = self.query(query, arguments.clone(), trace).await?;
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
        trace: &Trace,
    ) -> Result<Reply, RemoteError> {
        let called = while_away(|| {
            let (queue, headers) = (self.message_queue.clone(), trace.headers.clone());
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
    fn a_trace_is_kept_or_begun() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        let begun = Trace::of(&headers).headers[TRACEPARENT].clone();
        assert!(is_traceparent(&begun), "{begun}");
        assert_ne!(Trace::of(&headers).headers, Trace::of(&headers).headers);
        headers.insert(IDEMPOTENCY_KEY, "a".parse().unwrap());
        assert_eq!(Trace::of(&headers).headers, Trace::of(&headers).headers);
        headers.insert(TRACEPARENT, given.parse().unwrap());
        assert_eq!(Trace::of(&headers).headers[TRACEPARENT], given);
        let (zeros, upper) = (given.replace(|c| c != '-', "0"), given.to_uppercase());
        for wrong in ["nonsense", &zeros, &upper, &given.replacen("00", "ff", 1), &given[3..]] {
            headers.insert(TRACEPARENT, wrong.parse().unwrap());
            let begun = Trace::of(&headers).headers[TRACEPARENT].clone();
            assert!(begun != wrong && is_traceparent(&begun), "{wrong}");
        }
    }
}
