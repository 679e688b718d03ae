//! Calling another service of the shop over its queue.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::messagequeue::v1 as mq;
use serde::Deserialize;
use serde_json::Value;
use svc_observe::context;
use svc_runtime::rpc_error::status_of;
use tonic::{Code, Status};

use super::clients::Channel;
use super::command::Reply;
use super::position::Positions;
use super::trace::{Through, sending};

/// The media type of what services of the shop say to each other.
pub(crate) const REPLY_TYPE: &str = "application/json";

/// How long a call may take beyond its timeout.
const GRACE: Duration = Duration::from_secs(1);

/// What a call failed with: the status of the call, or the refusal in the reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// The queue could not be reached, or no reply came in time.
    #[error("{}", .0.message())]
    Call(Status),
    /// The service answered with an error.
    #[error("{}", .0.message())]
    Refused(Status),
}

/// Sends a command or query to the queue `service` and waits for its reply.
///
/// # Errors
/// See [`RemoteError`].
pub async fn call(
    message_queue: Channel,
    service: &str,
    command: &str,
    body: &Value,
    headers: BTreeMap<String, String>,
    timeout: Duration,
) -> Result<Reply, RemoteError> {
    let mut client = mq::message_queue_client::MessageQueueClient::new(message_queue);
    let sent = sending(Through::Queue, service, command, async {
        let request = mq::CallRequest {
            queue: service.to_owned(),
            message: Some(message(command, body, headers)),
            timeout: timeout.try_into().ok(),
        };
        // The queue keeps the timeout itself, unless it hangs.
        let answer = tokio::time::timeout(timeout + GRACE, client.call(request));
        let late = || Err(Status::deadline_exceeded("the message queue does not answer"));
        answer.await.unwrap_or_else(|_| late()).map_err(RemoteError::Call)
    });
    reply_value(sent.await?.into_inner().reply)
}

/// A command as a message, in the trace that is current.
#[must_use]
pub(crate) fn message(
    command: &str,
    body: &Value,
    mut headers: BTreeMap<String, String>,
) -> mq::Message {
    context::inject(&mut headers);
    mq::Message {
        id: None,
        r#type: command.to_owned(),
        content_type: Some(REPLY_TYPE.to_owned()),
        headers,
        body: Some(mq::message::Body::TextBody(body.to_string())),
    }
}

#[derive(Deserialize)]
struct ReplyJson {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    positions: Positions,
}

/// What a reply says.
///
/// # Errors
/// [`RemoteError::Refused`] when it carries an error.
pub fn reply_value(reply: Option<mq::ReplyContent>) -> Result<Reply, RemoteError> {
    let parsed = match reply.and_then(|reply| reply.result) {
        Some(mq::reply_content::Result::Error(error)) => {
            return Err(RemoteError::Refused(status_of(&error)));
        }
        Some(mq::reply_content::Result::Body(body)) => match body.body {
            Some(mq::reply_body::Body::TextBody(text)) => serde_json::from_str(&text).ok(),
            Some(mq::reply_body::Body::BinaryBody(bytes)) => serde_json::from_slice(&bytes).ok(),
            None => None,
        },
        None => None,
    };
    let ReplyJson { result, positions } = parsed.ok_or_else(|| {
        RemoteError::Call(Status::new(Code::Internal, "the reply is not what was expected"))
    })?;
    Ok(Reply { result, positions })
}
