//! Sending: the lanes, creating queues on the way, and durability.

use std::future::ready;
use std::sync::Arc;

use dashmap::DashSet;
use tokio_util::task::TaskTracker;

use redis_link::{Call, Value, cmd, values, values::Items};
use svc_runtime::lane::{LaneError, LaneOptions, LaneWork, Lanes};

use super::feeder::{Feeders, Hand};
use super::finish::Finish;
use super::record::Prepared;
use super::store::{Store, failed, shape};
use super::take::{ORDER_ARGS, ORDER_BYTES, taken};
use super::{durability, keys, scripts, settings};
use crate::error::QueueError;
use crate::model::{Durability, Outgoing, QueueName, QueueSettings};
use crate::queue::redis::keeper::Hints;
use crate::queue::{QueueResult, SendOutcome, Submitted};

/// A retry makes sense once the lane had time to shrink.
pub const LANE_RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// Names of queues to remember; more are forgotten all together.
const KNOWN_MOST: usize = 100_000;

/// What a request costs besides its messages.
const REQUEST_BYTES: usize = 16;

/// Sends messages.
#[derive(Clone, Debug)]
pub struct Sender {
    store: Store,
    lanes: Lanes<SendWork>,
    durability: durability::Probe,
    auto_create: bool,
    hints: Hints,
    /// Queues that have existed since this replica started.
    known: Arc<DashSet<QueueName>>,
}

type Request = Arc<Vec<Prepared>>;

impl Sender {
    pub fn new(
        store: Store,
        feeders: Feeders,
        tasks: &TaskTracker,
        auto_create: bool,
        hints: Hints,
    ) -> Self {
        let work = SendWork { store: store.clone(), feeders, tasks: tasks.clone() };
        Self {
            // One at a time: a second batch could overtake one whose script
            // has to be loaded first.
            lanes: Lanes::new(work, LaneOptions { depth: 1, ..LaneOptions::default() }),
            durability: durability::Probe::new(store.link().clone()),
            store,
            auto_create,
            hints,
            known: Arc::default(),
        }
    }

    pub async fn send(
        &self,
        queue: &QueueName,
        messages: &[Outgoing],
        durability: Durability,
    ) -> QueueResult<Vec<SendOutcome>> {
        let prepared = self.prepare(queue, messages);
        self.send_prepared(queue, prepared, durability).await
    }

    pub async fn send_prepared(
        &self,
        queue: &QueueName,
        messages: Vec<Prepared>,
        durability: Durability,
    ) -> QueueResult<Vec<SendOutcome>> {
        self.durability.check(durability).await?;
        let request: Request = Arc::new(messages);
        match self.attempt(queue, &request, durability).await {
            Err(QueueError::QueueNotFound(_)) if self.auto_create => {
                self.create(queue, &QueueSettings::default()).await?;
                self.attempt(queue, &request, durability).await
            }
            outcome => outcome,
        }
    }

    /// Sends of one stream, in their order: what could bring them out of it is
    /// over when this completes.
    pub async fn submit(
        &self,
        queue: QueueName,
        messages: &[Outgoing],
        durability: Durability,
    ) -> Submitted {
        let prepared = self.prepare(&queue, messages);
        if let Err(error) = self.durability.check(durability).await {
            return Box::pin(ready(Err(error)));
        }
        if self.durability.needs_own_connection(durability) {
            return Box::pin(ready(self.send_prepared(&queue, prepared, durability).await));
        }
        if self.auto_create && !self.known.contains(&queue) {
            // Created later, those that found it missing would come after
            // others that did not.
            if let Err(error) = self.create(&queue, &QueueSettings::default()).await {
                return Box::pin(ready(Err(error)));
            }
        }
        let request: Request = Arc::new(prepared);
        let pending = self.lanes.submit(&queue, Arc::clone(&request)).await;
        let sender = self.clone();
        Box::pin(async move {
            match pending.answer().await.unwrap_or_else(|error| Err(lane_failed(error))) {
                Err(QueueError::QueueNotFound(_)) if sender.auto_create => {
                    // Deleted in the meantime.
                    sender.create(&queue, &QueueSettings::default()).await?;
                    sender.attempt(&queue, &request, durability).await
                }
                outcome => outcome,
            }
        })
    }

    fn prepare(&self, queue: &QueueName, messages: &[Outgoing]) -> Vec<Prepared> {
        // Nobody may be there to see these expire.
        if let Some(soonest) = messages.iter().filter_map(|message| message.time_to_live).min() {
            self.hints.come_back(queue, soonest);
        }
        messages.iter().map(|message| Prepared::new(message, "")).collect()
    }

    async fn attempt(
        &self,
        queue: &QueueName,
        request: &Request,
        durability: Durability,
    ) -> QueueResult<Vec<SendOutcome>> {
        if self.durability.needs_own_connection(durability) {
            return self.durability.send(queue, request, durability).await;
        }
        let answer = self.lanes.run(queue, Arc::clone(request)).await;
        answer.unwrap_or_else(|error| Err(lane_failed(error)))
    }

    /// Whether sending to a queue that does not exist creates it.
    pub fn auto_creates(&self) -> bool {
        self.auto_create
    }

    /// Creates a queue unless it exists; answers whether it did not. The name
    /// is in the registry before the queue is, and after it too, whatever a
    /// deletion in between did.
    pub async fn create(&self, queue: &QueueName, settings: &QueueSettings) -> QueueResult<bool> {
        let mut register = cmd("ZADD");
        register.arg(keys::REGISTRY).arg(0).arg(queue.as_str());
        let link = self.store.link();
        link.query(&register).await.map_err(|error| failed(&error))?;
        let mut call = Store::call(&scripts::CREATE, queue, 32, 512);
        for (field, value) in settings::to_fields(settings) {
            call.arg(field).arg(value);
        }
        let created = self.store.write(queue, &call).await?;
        link.query(&register).await.map_err(|error| failed(&error))?;
        if self.known.len() >= KNOWN_MOST {
            self.known.clear();
        }
        self.known.insert(queue.clone());
        Ok(values::int(&created).map_err(shape)? == 1)
    }
}

pub fn lane_failed(error: LaneError) -> QueueError {
    match error {
        LaneError::Full => QueueError::RateLimited { retry_after: LANE_RETRY },
        LaneError::Lost => QueueError::OutcomeUnknown,
    }
}

/// The arguments of one request to the send script.
pub fn arguments(call: &mut Call<'_>, request: &[Prepared]) {
    call.arg(request.len());
    for message in request {
        call.arg(message.id.as_str()).arg(&message.record[..]).arg(&message.options[..]);
    }
}

/// What the script said about one request.
pub fn outcome(
    queue: &QueueName,
    request: &[Prepared],
    verdict: Value,
) -> QueueResult<Vec<SendOutcome>> {
    let own = |message: &Prepared| SendOutcome {
        message_id: message.id.as_str().to_owned(),
        deduplicated: false,
    };
    match verdict {
        Value::Int(_) => Ok(request.iter().map(own).collect()),
        Value::Array(before) => request
            .iter()
            .zip(before)
            .map(|(message, before)| match values::text(before).map_err(shape)? {
                first if first.is_empty() => Ok(own(message)),
                first => Ok(SendOutcome { message_id: first, deduplicated: true }),
            })
            .collect(),
        refused => {
            let refused = values::text(refused).map_err(shape)?;
            match refused.strip_prefix("REUSED ") {
                Some(index) => {
                    let index = index.parse().map_err(|_| QueueError::Corrupt)?;
                    Err(QueueError::IdReused { index })
                }
                None => Err(QueueError::QueueFull(queue.clone())),
            }
        }
    }
}

/// Many requests, one script call.
#[derive(Debug)]
pub struct SendWork {
    store: Store,
    feeders: Feeders,
    tasks: TaskTracker,
}

impl SendWork {
    /// Stores messages, and leases what there is to consumers that wait here.
    async fn send_and_take(
        store: Store,
        queue: QueueName,
        call: Call<'static>,
        hand: Hand,
    ) -> QueueResult<Value> {
        let answer = store.write(&queue, &call).await;
        let (verdicts, took) = match answer {
            Ok(Value::Nil) => {
                hand.unused();
                return Ok(Value::Nil);
            }
            Ok(answer) => {
                Items::of(answer).and_then(|mut items| items.next_pair()).map_err(shape)?
            }
            Err(error) => {
                match error {
                    QueueError::StorageFull => hand.unused(),
                    _ => hand.failed(&error),
                }
                return Err(error);
            }
        };
        hand.deal(taken(took)?);
        Ok(verdicts)
    }
}

impl LaneWork for SendWork {
    type Key = QueueName;
    type Item = Request;
    type Answer = QueueResult<Vec<SendOutcome>>;

    async fn run(&self, queue: &QueueName, requests: Vec<Request>) -> Vec<Self::Answer> {
        let count: usize = requests.iter().map(Self::count).sum();
        let bytes: usize = requests.iter().map(Self::bytes).sum();
        let args = 3 * count + requests.len();
        let hand = self.feeders.lend(queue);
        let mut call = match &hand {
            None => Store::call(&scripts::SEND, queue, args, bytes),
            Some(hand) => {
                let (args, bytes) = (args + ORDER_ARGS + 4, bytes + ORDER_BYTES);
                let mut call = Store::call(&scripts::SEND_TAKE, queue, args, bytes);
                hand.arguments(&mut call);
                call
            }
        };
        for request in &requests {
            arguments(&mut call, request);
        }
        let answer = match hand {
            None => self.store.write(queue, &call).await,
            // What it took has to be dealt out, whatever becomes of the senders.
            Some(hand) => {
                let sending = Self::send_and_take(self.store.clone(), queue.clone(), call, hand);
                Finish::new(&self.tasks, sending).await
            }
        };
        let verdicts = match answer {
            Ok(Value::Nil) => Err(QueueError::QueueNotFound(queue.clone())),
            Ok(verdicts) => values::array(verdicts).map_err(shape),
            Err(error) => Err(error),
        };
        match verdicts {
            Ok(verdicts) if verdicts.len() == requests.len() => requests
                .iter()
                .zip(verdicts)
                .map(|(request, verdict)| outcome(queue, request, verdict))
                .collect(),
            Ok(_) => requests.iter().map(|_| Err(QueueError::Corrupt)).collect(),
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn count(request: &Request) -> usize {
        request.len()
    }

    fn bytes(request: &Request) -> usize {
        request.iter().map(Prepared::bytes).sum::<usize>() + REQUEST_BYTES
    }
}
