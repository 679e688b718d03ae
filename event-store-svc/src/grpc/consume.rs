//! The stream of a consumer: deliveries out as long as there is credit, acks and the like in. What
//! it still holds at its end is given back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, FuturesUnordered, StreamExt as _};
use proto::server::eventstore::v1 as pb;
use svc_runtime::checks::Checks;
use svc_security::{Caller, Right};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::{Response, Status, Streaming};

use super::allow::Allowed as _;
use super::check::{self, EventChecks as _};
use super::consumer_groups::is_settled;
use super::groups_check::{self, Receipts};
use super::{Handlers, convert, status};
use crate::error::StoreError;
use crate::figures;
use crate::model::{Delivery, Name, Receipt, Settle};
use crate::store::{Member, Settled, Store};

use pb::consume_request::Message as Said;
use pb::consume_response::Message as Answer;

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Requests of one stream that may be under way; then it stops reading its client.
const PIPELINED: usize = 64;

/// How a consumer begins.
struct Open {
    topic: Name,
    group: Name,
    consumer: Name,
    max_in_flight: Option<u32>,
}

fn open(message: Option<pb::ConsumeRequest>) -> Result<Open, Status> {
    let mut checks = check::begin();
    let Some(Said::Open(open)) = message.and_then(|request| request.message) else {
        checks.wrong("open", "must be the first message");
        return Ok(checks.done(None)?);
    };
    let topic = checks.name("open.topic", &open.topic);
    let group = checks.name("open.group", &open.group);
    let consumer = checks.name("open.consumer", &open.consumer);
    let max_in_flight = checks.number("open.max_in_flight", open.max_in_flight, 1..=10_000);
    let opened = topic.zip(group).zip(consumer).map(|((topic, group), consumer)| Open {
        topic,
        group,
        consumer,
        max_in_flight,
    });
    Ok(checks.done(opened)?)
}

/// What a consumer asks for after that.
fn said(request: pb::ConsumeRequest, open: &Open) -> Result<(Receipts, Settle), Status> {
    let mut checks = check::begin();
    let receipts = |checks: &mut Checks, field: &str, receipts| {
        groups_check::receipts(checks, field, receipts, &open.topic, &open.group)
    };
    let asked = match request.message {
        Some(Said::Ack(ack)) => {
            Some((receipts(&mut checks, "ack.receipts", ack.receipts), Settle::Ack))
        }
        Some(Said::Nack(nack)) => {
            let named = receipts(&mut checks, "nack.receipts", nack.receipts);
            groups_check::nack(&mut checks, "nack.", nack.action, nack.delay, nack.reason)
                .map(|nack| (named, nack))
        }
        Some(Said::Extend(extend)) => {
            let named = receipts(&mut checks, "extend.receipts", extend.receipts);
            Some((named, groups_check::extend(&mut checks, "extend.", extend.by)))
        }
        Some(Said::Open(_)) => {
            checks.wrong("open", "must be the first message only");
            None
        }
        None => {
            checks.wrong("message", "must be set: give one of ack, nack, extend");
            None
        }
    };
    Ok(checks.done(asked)?)
}

/// What came of receipts: how each is answered, and for those of this group the result.
type Settlement = Result<Vec<(pb::Outcome, Option<(Receipt, Settled)>)>, Status>;

/// What happened on a stream.
enum Step {
    Shutdown,
    Settled((Settle, Settlement)),
    Said(Result<Option<pb::ConsumeRequest>, Status>),
    Deliveries(crate::store::Result<Vec<Delivery>>),
    Elsewhere(Arc<[Receipt]>),
    Heartbeat,
}

/// Serves a consumer's stream.
pub async fn consume<S: Store>(
    handlers: Handlers<S>,
    caller: Caller,
    mut requests: Streaming<pb::ConsumeRequest>,
) -> Result<Response<BoxStream<'static, Result<pb::ConsumeResponse, Status>>>, Status> {
    let open = open(requests.message().await.map_err(status::unread)?)?;
    caller.may(Right::Consume, &open.topic)?;
    let settings = handlers.store.get_group(&open.topic, &open.group).await?.settings;
    let credit = open.max_in_flight.unwrap_or(settings.max_in_flight);
    let mut member = handlers.store.join(&open.topic, &open.group, &open.consumer).await?;
    member.add_credit(credit);

    let counters = handlers.figures.of_group(&open.topic, &open.group);
    let answers = async_stream::try_stream! {
        let mut held = Held::new(handlers.store.clone(), &open, settings.ack_timeout);
        let mut under_way = FuturesUnordered::new();
        let mut heartbeats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A client that has half-closed wants its outcomes, and no more deliveries.
        let mut half_closed = false;
        let mut elsewhere = handlers.elsewhere.listen(&open.topic, &open.group);
        while !(half_closed && under_way.is_empty()) {
            let step = tokio::select! {
                biased;
                () = handlers.shutdown.triggered() => Step::Shutdown,
                Some(settled) = under_way.next() => Step::Settled(settled),
                request = requests.message(), if !half_closed && under_way.len() < PIPELINED => {
                    Step::Said(request)
                }
                deliveries = member.next(), if !half_closed => Step::Deliveries(deliveries),
                settled = elsewhere.settled() => Step::Elsewhere(settled),
                _ = heartbeats.tick() => Step::Heartbeat,
            };
            match step {
                Step::Shutdown => Err(StoreError::ShuttingDown)?,
                Step::Settled((settle, settled)) => {
                    let settled = settled?;
                    let results = settled.iter().filter_map(|(_, result)| result.as_ref());
                    let freed = results.filter(|(receipt, result)| {
                        held.settled(receipt, &settle, result)
                    });
                    give_credit(&member, freed.count());
                    for (outcome, _) in settled {
                        yield pb::ConsumeResponse { message: Some(Answer::Outcome(outcome)) };
                    }
                }
                Step::Said(request) => match request.map_err(status::unread)? {
                    Some(request) => {
                        caller.may(Right::Consume, &open.topic)?;
                        let (receipts, settle) = said(request, &open)?;
                        let handlers = handlers.clone();
                        let (topic, group) = (open.topic.clone(), open.group.clone());
                        under_way.push(async move {
                            let settled = handlers.settle(&topic, &group, receipts, &settle).await;
                            (settle, settled)
                        });
                    }
                    None => half_closed = true,
                },
                Step::Deliveries(deliveries) => {
                    let deliveries = deliveries?;
                    // Held first: what is not handed over goes back.
                    held.add(&deliveries);
                    caller.may(Right::Consume, &open.topic)?;
                    figures::delivered(&counters, &deliveries);
                    for delivery in &deliveries {
                        let delivery = convert::delivery(delivery, &open.topic, &open.group);
                        yield pb::ConsumeResponse { message: Some(Answer::Delivery(delivery)) };
                    }
                }
                Step::Elsewhere(receipts) => {
                    give_credit(&member, receipts.iter().filter(|one| held.let_go(one)).count());
                }
                Step::Heartbeat => {
                    caller.may(Right::Consume, &open.topic)?;
                    give_credit(&member, held.forget_expired());
                    let in_flight = u32::try_from(held.events.len()).unwrap_or(u32::MAX);
                    let heartbeat = pb::ConsumeHeartbeat { in_flight };
                    yield pb::ConsumeResponse { message: Some(Answer::Heartbeat(heartbeat)) };
                }
            }
        }
    };
    Ok(Response::new(answers.boxed()))
}

fn give_credit(member: &impl Member, events: usize) {
    if events > 0 {
        member.add_credit(u32::try_from(events).unwrap_or(u32::MAX));
    }
}

/// What a stream holds; dropped with the stream, however that ends, it gives everything back.
struct Held<S: Store> {
    store: Arc<S>,
    topic: Name,
    group: Name,
    ack_timeout: Duration,
    events: HashMap<Receipt, Instant>,
}

impl<S: Store> Held<S> {
    fn new(store: Arc<S>, open: &Open, ack_timeout: Duration) -> Self {
        let (topic, group) = (open.topic.clone(), open.group.clone());
        Self { store, topic, group, ack_timeout, events: HashMap::new() }
    }

    fn add(&mut self, deliveries: &[Delivery]) {
        let ends = Instant::now() + self.ack_timeout;
        self.events.extend(deliveries.iter().map(|delivery| (delivery.receipt, ends)));
    }

    /// Whether it is held no more.
    fn settled(&mut self, receipt: &Receipt, settle: &Settle, result: &Settled) -> bool {
        if is_settled(settle, result) {
            return self.let_go(receipt);
        }
        if let (Settle::Extend { by }, Some(ends)) = (settle, self.events.get_mut(receipt)) {
            *ends = Instant::now() + by.unwrap_or(self.ack_timeout);
        }
        false
    }

    /// Whether it was held.
    fn let_go(&mut self, receipt: &Receipt) -> bool {
        self.events.remove(receipt).is_some()
    }

    /// A client that forgets an event would otherwise lose its credit for good.
    fn forget_expired(&mut self) -> usize {
        let before = self.events.len();
        let now = Instant::now();
        self.events.retain(|_, ends| *ends > now);
        before - self.events.len()
    }
}

impl<S: Store> Drop for Held<S> {
    fn drop(&mut self) {
        // In order, so that what is delivered again is delivered in order.
        let mut unused: Vec<_> = self.events.drain().map(|(receipt, _)| receipt).collect();
        unused.sort_unstable_by_key(|receipt| receipt.position);
        self.store.give_back(&self.topic, &self.group, unused);
    }
}
