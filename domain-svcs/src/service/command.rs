//! The command worker: takes commands from the service's queue, hands them to
//! the handler, answers who asked.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use proto::messagequeue::v1 as mq;
use serde_json::{Value, json};
use svc_runtime::rpc_error::{ErrorFacts, RpcError};
use svc_runtime::shutdown::Shutdown;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::cause::Cause;
use super::clients::{Channel, Clients};
use super::consume::{Deliveries, HANDLER_TIMEOUT, Incoming, LEASE, Source, Verdict, consume};
use super::event_log::patiently;
use super::failure::{DOMAIN, Failure, is_transient};
use super::position::{Position, Positions};
use super::remote::REPLY_TYPE;
use super::setup;
use super::trace::{Through, handling};
use super::up::Up;

type QueueClient = mq::message_queue_client::MessageQueueClient<Channel>;

/// A command (or query) to a service.
#[derive(Clone, Debug)]
pub struct Command {
    /// What it asks for, as in `create_orders`.
    pub name: String,
    /// The arguments.
    pub body: Value,
    /// Identifies it.
    pub cause: Cause,
}

/// What a command is answered with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The answer.
    pub result: Value,
    /// Where the events that the command made stand, so that whoever asked can
    /// wait until they are visible elsewhere.
    pub positions: Positions,
}

impl Reply {
    /// An answer to a command that appended to `topic`.
    #[must_use]
    pub fn after(result: Value, topic: &str, position: Option<Position>) -> Self {
        let positions = position.map(|position| (topic.to_owned(), position));
        Self { result, positions: positions.into_iter().collect() }
    }

    /// An answer to a query, or to a command that changed nothing.
    #[must_use]
    pub fn of(result: Value) -> Self {
        Self { result, positions: Positions::new() }
    }
}

/// Handles the commands of a service. The same command may come twice.
pub trait Commands: Send + Sync + 'static {
    /// Handles one.
    fn handle(&self, command: &Command) -> impl Future<Output = Result<Reply, Failure>> + Send;
}

/// How a service's queue is worked off.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// Commands that are handled at once.
    pub at_once: u32,
    /// Failed attempts after which a command becomes a dead letter.
    pub max_attempts: u32,
    /// The wait after the first failed attempt; it doubles with each.
    pub first_retry: Duration,
    /// The longest wait.
    pub longest_retry: Duration,
}

impl QueueOptions {
    /// For commands that somebody waits for: tried again quickly, through an
    /// outage of half an hour.
    #[must_use]
    pub fn at_once(at_once: u32) -> Self {
        Self {
            at_once,
            max_attempts: 100,
            first_retry: Duration::from_millis(200),
            longest_retry: Duration::from_secs(20),
        }
    }
}

/// A refusal of a command that the service does not know.
#[must_use]
pub fn unknown(command: &Command) -> Failure {
    let message = format!("there is no command {}", command.name);
    Failure::refused(Code::Unimplemented, "UNKNOWN_COMMAND", message)
}

pub(super) async fn worker<C: Commands>(
    clients: Clients,
    options: QueueOptions,
    handler: C,
    up: Up,
    shutdown: Shutdown,
) {
    let queue = clients.name;
    setup::queue(&clients, options, &shutdown).await;
    let client = QueueClient::new(clients.message_queue);
    let worker = Arc::new(Worker { queue, client: client.clone(), handler });
    let handle = move |delivery| {
        let worker = worker.clone();
        async move { worker.work(delivery).await }
    };
    consume(Queue { queue, client }, options.at_once, handle, up, shutdown).await;
}

struct Worker<C> {
    queue: &'static str,
    client: QueueClient,
    handler: C,
}

impl<C: Commands> Worker<C> {
    async fn work(&self, mut delivery: mq::Delivery) -> Verdict {
        let message = delivery.message.take().unwrap_or_default();
        let work = self.handle(&message, delivery);
        let (name, headers) = (&message.r#type, Some(&message.headers));
        handling(Through::Queue, self.queue, name, headers, work).await
    }

    async fn handle(&self, message: &mq::Message, delivery: mq::Delivery) -> Verdict {
        let name = &message.r#type;
        let handled = async {
            let command = Command {
                name: name.clone(),
                body: body(message)?,
                cause: Cause::of_message(message, delivery.sent_at),
            };
            self.handler.handle(&command).await
        };
        let handled = tokio::time::timeout(HANDLER_TIMEOUT, handled)
            .await
            .unwrap_or_else(|_| Err(Failure::Transient("the handler took too long".into())));
        let answer = match handled {
            Ok(reply) => Ok(reply),
            Err(Failure::Refused(error)) => Err(*error),
            Err(Failure::Transient(reason)) => {
                tracing::warn!(command = name, reason, "command is tried again later");
                return Verdict::Retry { delay: None, reason };
            }
        };
        match answer {
            answer if delivery.expects_reply => self.reply(delivery.receipt, answer).await,
            Ok(_) => Verdict::Ack,
            Err(error) => {
                tracing::warn!(
                    command = name,
                    reason = error.reason,
                    "command refused, nobody asked"
                );
                Verdict::SetAside { reason: error.message }
            }
        }
    }

    /// Answers who asked. The reply acks; it is acked on the stream as well, which
    /// may be served by another replica (where calls are balanced one by one) and has
    /// to know that there is room again.
    async fn reply(&self, receipt: String, answer: Result<Reply, RpcError>) -> Verdict {
        let result = match answer {
            Ok(reply) => reply_body(&reply),
            Err(error) => mq::reply_content::Result::Error(error.into()),
        };
        let mut replied = self.send_reply(&receipt, result).await;
        if replied.as_ref().is_err_and(|status| status.code() == Code::InvalidArgument) {
            let error = RpcError::new(
                Code::OutOfRange,
                "REPLY_REFUSED",
                DOMAIN,
                "the answer cannot be sent: ask for less at once",
            );
            let result = mq::reply_content::Result::Error(error.into());
            replied = self.send_reply(&receipt, result).await;
        }
        match replied {
            Ok(()) => Verdict::Ack,
            Err(status) if is_transient(&status) => {
                let reason = format!("the reply was not taken: {}", status.message());
                Verdict::Retry { delay: Some(Duration::ZERO), reason }
            }
            Err(status) => {
                // Somebody else has it, or an earlier attempt did arrive.
                let reason = ErrorFacts::of(&status).map(|facts| facts.reason);
                tracing::debug!(code = ?status.code(), reason, "reply was refused");
                Verdict::Ack
            }
        }
    }

    async fn send_reply(
        &self,
        receipt: &str,
        result: mq::reply_content::Result,
    ) -> Result<(), Status> {
        let request = mq::ReplyRequest {
            queue: self.queue.to_owned(),
            receipt: receipt.to_owned(),
            reply: Some(mq::ReplyContent { result: Some(result) }),
        };
        let replied = patiently(|| {
            let (mut client, request) = (self.client.clone(), request.clone());
            async move { client.reply(request).await }
        });
        replied.await.map(|_| ())
    }
}

fn reply_body(reply: &Reply) -> mq::reply_content::Result {
    let body = json!({ "result": reply.result, "positions": reply.positions });
    mq::reply_content::Result::Body(mq::ReplyBody {
        content_type: Some(REPLY_TYPE.to_owned()),
        body: Some(mq::reply_body::Body::TextBody(body.to_string())),
    })
}

fn body(message: &mq::Message) -> Result<Value, Failure> {
    let parsed = match &message.body {
        None => return Ok(Value::Null),
        Some(mq::message::Body::TextBody(text)) => serde_json::from_str(text),
        Some(mq::message::Body::BinaryBody(bytes)) => serde_json::from_slice(bytes),
    };
    parsed.map_err(|error| {
        let error = RpcError::new(
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            DOMAIN,
            format!("the body is not JSON: {error}"),
        );
        Failure::Refused(Box::new(error.violation("body", "must be JSON")))
    })
}

struct Queue {
    queue: &'static str,
    client: QueueClient,
}

impl Source for Queue {
    type Delivery = mq::Delivery;
    type Request = mq::ConsumeRequest;

    fn name(&self) -> &str {
        self.queue
    }

    async fn connect(
        &mut self,
        requests: ReceiverStream<mq::ConsumeRequest>,
    ) -> Result<Deliveries<mq::Delivery>, Status> {
        let responses = self.client.consume(requests).await?.into_inner();
        Ok(responses.map(|response| Ok(incoming(response?))).boxed())
    }

    fn open(&self, max_in_flight: u32) -> mq::ConsumeRequest {
        request(mq::consume_request::Message::Open(mq::ConsumeOpen {
            queue: self.queue.to_owned(),
            max_in_flight: Some(max_in_flight),
            lease: Some(LEASE),
        }))
    }

    fn ack(&self, receipts: Vec<String>) -> mq::ConsumeRequest {
        request(mq::consume_request::Message::Ack(mq::ConsumeAck { receipts }))
    }

    fn nack(&self, receipt: String, verdict: Verdict) -> mq::ConsumeRequest {
        let (delay, dead_letter, reason) = match verdict {
            Verdict::SetAside { reason } => (None, true, reason),
            Verdict::Retry { delay, reason } => {
                (delay.and_then(|delay| delay.try_into().ok()), false, reason)
            }
            Verdict::Ack => (None, false, String::new()),
        };
        request(mq::consume_request::Message::Nack(mq::ConsumeNack {
            receipts: vec![receipt],
            delay,
            dead_letter,
            reason: shortened(reason),
        }))
    }

    fn receipt(delivery: &mq::Delivery) -> &str {
        &delivery.receipt
    }
}

fn request(message: mq::consume_request::Message) -> mq::ConsumeRequest {
    mq::ConsumeRequest { message: Some(message) }
}

fn incoming(response: mq::ConsumeResponse) -> Incoming<mq::Delivery> {
    match response.message {
        Some(mq::consume_response::Message::Delivery(delivery)) => Incoming::Delivery(delivery),
        Some(mq::consume_response::Message::Outcome(mq::Outcome {
            receipt,
            error: Some(error),
        })) => Incoming::Refused { receipt, error: error.message },
        _ => Incoming::Other,
    }
}

/// A reason as long as the services take it.
pub(super) fn shortened(mut reason: String) -> String {
    let mut end = reason.len().min(1000);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}
