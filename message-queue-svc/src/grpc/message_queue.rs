//! `messagequeue.v1.MessageQueue`.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use proto::server::messagequeue::v1 as pb;
use proto::server::messagequeue::v1::message_queue_server::MessageQueue;
use svc_runtime::checks::MAX_ITEMS;
use svc_runtime::rpc_error::RpcError;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::check;
use super::{Handlers, allow, check_message, consume, convert, send_stream, status};
use crate::error::QueueError;
use crate::model::{Durability, Outgoing, QueueName, Receipt};
use crate::queue::{QueueEngine, QueueResult};

const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(300);
/// What is kept of a call's deadline to tell its caller how it ended.
const DEADLINE_MARGIN: Duration = Duration::from_millis(50);
/// How long calls may still wait for their replies when the service stops.
const LAST_REPLIES: Duration = Duration::from_secs(10);

/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A send, checked.
#[derive(Debug)]
pub struct CheckedSend {
    pub queue: QueueName,
    pub messages: Vec<Outgoing>,
    pub durability: Durability,
}

impl<E: QueueEngine> Handlers<E> {
    /// Checks a send.
    pub fn check_send(&self, request: pb::SendRequest) -> Result<CheckedSend, RpcError> {
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let durability = check::durability(&mut checks, request.durability);
        if !checks.length("messages", request.messages.len(), MAX_ITEMS) {
            return checks.done(None);
        }
        let max = self.limits.max_message_bytes;
        let trace = check_message::trace();
        let messages = request.messages.into_iter().enumerate();
        let messages = messages
            .map(|(index, message)| {
                check_message::outgoing(&mut checks, index, message, max, &trace)
            })
            .collect();
        checks.done(queue.map(|queue| CheckedSend { queue, messages, durability }))
    }

    /// Ends a wait when the service stops.
    async fn unless_stopping<T>(
        &self,
        work: impl Future<Output = QueueResult<T>>,
        grace: Duration,
        otherwise: QueueError,
    ) -> Result<T, Status> {
        let stopping = async {
            self.shutdown.triggered().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            result = work => result.map_err(|error| status::of(&error).into()),
            () = stopping => Err(status::of(&otherwise).into()),
        }
    }
}

/// Runs a settling over the receipts that are some, says of each what became
/// of it, and answers for all, in order.
async fn settled(
    receipts: Vec<(String, Option<Receipt>)>,
    settle: impl AsyncFnOnce(Vec<Receipt>) -> QueueResult<Vec<QueueResult<()>>>,
    mut note: impl FnMut(&Receipt, &QueueResult<()>),
) -> Result<Vec<pb::Outcome>, Status> {
    let valid: Vec<_> = receipts.iter().filter_map(|(_, receipt)| receipt.clone()).collect();
    let results = if valid.is_empty() {
        Vec::new()
    } else {
        settle(valid).await.map_err(|error| status::of(&error))?
    };
    let mut results = results.into_iter();
    let outcome = |(text, receipt): (String, Option<Receipt>)| match receipt {
        Some(receipt) => {
            let result = results.next().unwrap_or(Err(QueueError::Corrupt));
            note(&receipt, &result);
            convert::outcome(text, result)
        }
        None => convert::no_receipt(text),
    };
    Ok(receipts.into_iter().map(outcome).collect())
}

#[tonic::async_trait]
impl<E: QueueEngine> MessageQueue for Handlers<E> {
    type SendStreamStream = Answers<pb::SendStreamResponse>;
    type ConsumeStream = Answers<pb::ConsumeResponse>;

    async fn send(
        &self,
        request: Request<pb::SendRequest>,
    ) -> Result<Response<pb::SendResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let CheckedSend { queue, messages, durability } = self.check_send(request)?;
        allow::check(&caller, allow::SEND, &queue)?;
        let outcomes = self.engine.send(&queue, messages, durability).await;
        let outcomes = outcomes.map_err(|error| status::of(&error))?;
        Ok(Response::new(convert::sent(outcomes, durability)))
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<pb::SendRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        let (caller, requests) = allow::caller(request)?;
        Ok(Response::new(send_stream::serve(self.clone(), caller, requests)))
    }

    async fn receive(
        &self,
        request: Request<pb::ReceiveRequest>,
    ) -> Result<Response<pb::ReceiveResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let max = check::count(&mut checks, "max_messages", request.max_messages, 1, 1_000);
        let wait = check::wait(&mut checks, request.wait);
        let lease = check::lease(&mut checks, "lease", request.lease);
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::RECEIVE, &queue)?;
        let received = self.engine.receive(&queue, max, wait, lease);
        let stopping = QueueError::ShuttingDown;
        let leases = self.unless_stopping(received, Duration::ZERO, stopping).await?;
        let deliveries = leases.accept().into_iter();
        let deliveries = deliveries.map(|lease| convert::delivery(&queue, lease)).collect();
        Ok(Response::new(pb::ReceiveResponse { deliveries }))
    }

    async fn consume(
        &self,
        request: Request<Streaming<pb::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let (caller, requests) = allow::caller(request)?;
        Ok(Response::new(consume::serve(self.clone(), caller, requests)))
    }

    async fn ack(
        &self,
        request: Request<pb::AckRequest>,
    ) -> Result<Response<pb::AckResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let receipts = check::receipts(&mut checks, queue.as_ref(), request.receipts);
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::RECEIVE, &queue)?;
        let ack = async |receipts| self.engine.ack(&queue, receipts).await;
        let over = |receipt: &_, result: &_| self.held.settled(&queue, receipt, result);
        let outcomes = settled(receipts, ack, over).await?;
        Ok(Response::new(pb::AckResponse { outcomes }))
    }

    async fn nack(
        &self,
        request: Request<pb::NackRequest>,
    ) -> Result<Response<pb::NackResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let receipts = check::receipts(&mut checks, queue.as_ref(), request.receipts);
        let how = consume::nack(&mut checks, request.delay, request.dead_letter, &request.reason);
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::RECEIVE, &queue)?;
        let nack =
            async |receipts| self.engine.give_back(&queue, receipts, how, &request.reason).await;
        let over = |receipt: &_, result: &_| self.held.settled(&queue, receipt, result);
        Ok(Response::new(pb::NackResponse { outcomes: settled(receipts, nack, over).await? }))
    }

    async fn extend(
        &self,
        request: Request<pb::ExtendRequest>,
    ) -> Result<Response<pb::ExtendResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let receipts = check::receipts(&mut checks, queue.as_ref(), request.receipts);
        let by = check::lease(&mut checks, "by", request.by);
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::RECEIVE, &queue)?;
        let extend = async |receipts| self.engine.extend(&queue, receipts, by).await;
        let longer = |receipt: &_, result: &_| self.held.extended(&queue, receipt, by, result);
        let outcomes = settled(receipts, extend, longer).await?;
        Ok(Response::new(pb::ExtendResponse { outcomes }))
    }

    async fn call(
        &self,
        request: Request<pb::CallRequest>,
    ) -> Result<Response<pb::CallResponse>, Status> {
        let deadline = deadline(request.metadata());
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let range = Duration::from_millis(1)..=MAX_CALL_TIMEOUT;
        let timeout = checks.duration("timeout", request.timeout, range);
        let (max, trace) = (self.limits.max_message_bytes, check_message::trace());
        let message = check_message::call(&mut checks, request.message, max, &trace);
        let queue = checks.done(queue)?;
        allow::check(&caller, allow::SEND, &queue)?;
        let timeout = timeout.unwrap_or(DEFAULT_CALL_TIMEOUT);
        let timeout = deadline.map_or(timeout, |deadline| deadline.min(timeout));
        let called = self.engine.call(&queue, message, timeout);
        let stopping = QueueError::OutcomeUnknown;
        let (id, reply) = self.unless_stopping(called, LAST_REPLIES, stopping).await?;
        Ok(Response::new(pb::CallResponse { message_id: id.to_string(), reply }))
    }

    async fn reply(
        &self,
        request: Request<pb::ReplyRequest>,
    ) -> Result<Response<pb::ReplyResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        check_message::reply(&mut checks, &request.reply, self.limits.max_message_bytes);
        let receipt = queue.as_ref().and_then(|queue| Receipt::parse(queue, &request.receipt));
        if queue.is_some() && receipt.is_none() {
            checks.wrong("receipt", "is no receipt of this queue; use it as it was delivered");
        }
        let (queue, receipt) = checks.done(queue.zip(receipt))?;
        allow::check(&caller, allow::RECEIVE, &queue)?;
        let replied = self.engine.reply(&queue, receipt.clone(), request.reply).await;
        self.held.settled(&queue, &receipt, &replied);
        replied.map_err(|error| status::of(&error))?;
        Ok(Response::new(pb::ReplyResponse {}))
    }

    async fn get_reply(
        &self,
        request: Request<pb::GetReplyRequest>,
    ) -> Result<Response<pb::GetReplyResponse>, Status> {
        let (caller, request) = allow::caller(request)?;
        let mut checks = check::begin();
        let queue = check::queue_in(&mut checks, "queue", &request.queue);
        let id = check::message_id(&mut checks, &request.message_id);
        let wait = check::wait(&mut checks, request.wait);
        let (queue, id) = checks.done(queue.zip(id))?;
        allow::check(&caller, allow::SEND, &queue)?;
        let found = self.engine.get_reply(&queue, &id, wait);
        let stopping = QueueError::ShuttingDown;
        let reply = self.unless_stopping(found, Duration::ZERO, stopping).await?;
        Ok(Response::new(pb::GetReplyResponse { reply }))
    }
}

/// How long the caller of an RPC waits, a little less: enough to still be told.
fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = digits.parse().ok()?;
    let unit = match unit {
        "H" => Duration::from_secs(3_600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    let whole = unit.saturating_mul(number);
    Some(whole.saturating_sub(DEADLINE_MARGIN.min(whole / 5)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read() {
        let read = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            deadline(&metadata)
        };
        assert_eq!(read("2S"), Some(Duration::from_millis(1_950)));
        assert_eq!(read("100m"), Some(Duration::from_millis(80)));
        assert_eq!(read("x"), None);
        assert_eq!(read("1"), None);
    }
}
