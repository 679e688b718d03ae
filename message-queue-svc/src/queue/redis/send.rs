//! Sending: the lanes, creating queues on the way, and durability.

use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use dashmap::DashSet;
use metrics::Histogram;
use tokio_util::task::TaskTracker;

use redis_link::{cmd, values};
use svc_runtime::lane::{LaneError, LaneOptions, Lanes, Pending};

use super::feeder::Feeders;
use super::record::Prepared;
use super::send_work::{Request, SendWork, Stored};
use super::store::{Store, failed, shape};
use super::{durability, keys, scripts, settings};
use crate::error::QueueError;
use crate::model::{Durability, Outgoing, QueueName, QueueSettings};
use crate::queue::redis::keeper::Hints;
use crate::queue::{QueueResult, SendOutcome, Submitted};

/// A retry makes sense once the lane had time to shrink.
pub const LANE_RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// Names of queues to remember; more are forgotten all together.
const KNOWN_MOST: usize = 100_000;

/// Sends messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    lanes: Lanes<SendWork>,
    durability: durability::Probe,
    auto_create: bool,
    hints: Hints,
    /// Queues that have existed since this replica started.
    known: DashSet<QueueName>,
    seconds: Histogram,
}

impl Sender {
    pub fn new(
        store: Store,
        feeders: Feeders,
        tasks: &TaskTracker,
        auto_create: bool,
        hints: Hints,
    ) -> Self {
        let durability = durability::Probe::new(store.link().clone());
        let work = SendWork::new(store.clone(), feeders, durability.clone(), tasks.clone());
        Self(Arc::new(Inner {
            // One at a time: a second batch could overtake one whose script
            // has to be loaded first.
            lanes: Lanes::new(
                work,
                LaneOptions { name: "send", depth: 1, ..LaneOptions::default() },
            ),
            durability,
            store,
            auto_create,
            hints,
            known: DashSet::new(),
            seconds: metrics::histogram!("messagequeue_send_seconds"),
        }))
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
        let began = Instant::now();
        let outcome = self.send_now(queue, messages, durability).await;
        self.0.seconds.record(began.elapsed());
        outcome
    }

    async fn send_now(
        &self,
        queue: &QueueName,
        messages: Vec<Prepared>,
        durability: Durability,
    ) -> QueueResult<Vec<SendOutcome>> {
        self.0.durability.check(durability).await?;
        let request = Request { messages: Arc::new(messages), durability };
        match self.attempt(queue, &request).await {
            Err(QueueError::QueueNotFound(_)) if self.0.auto_create => {
                self.create(queue, &QueueSettings::default()).await?;
                self.attempt(queue, &request).await
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
        let began = Instant::now();
        let prepared = self.prepare(&queue, messages);
        if let Err(error) = self.0.durability.check(durability).await {
            return Box::pin(ready(Err(error)));
        }
        if self.0.auto_create && !self.0.known.contains(&queue) {
            // Created later, those that found it missing would come after
            // others that did not.
            if let Err(error) = self.create(&queue, &QueueSettings::default()).await {
                return Box::pin(ready(Err(error)));
            }
        }
        let request = Request { messages: Arc::new(prepared), durability };
        let pending = self.0.lanes.submit(&queue, request.clone()).await;
        let sender = self.clone();
        Box::pin(async move {
            let outcome = match answered(pending).await {
                // Deleted in the meantime.
                Err(QueueError::QueueNotFound(_)) if sender.0.auto_create => {
                    sender.create(&queue, &QueueSettings::default()).await?;
                    sender.attempt(&queue, &request).await
                }
                outcome => outcome,
            };
            sender.0.seconds.record(began.elapsed());
            outcome
        })
    }

    fn prepare(&self, queue: &QueueName, messages: &[Outgoing]) -> Vec<Prepared> {
        // Nobody may be there to see these expire.
        if let Some(soonest) = messages.iter().filter_map(|message| message.time_to_live).min() {
            self.0.hints.come_back(queue, soonest);
        }
        messages.iter().map(|message| Prepared::new(message, "")).collect()
    }

    async fn attempt(&self, queue: &QueueName, request: &Request) -> QueueResult<Vec<SendOutcome>> {
        let stored = self.0.lanes.run(queue, request.clone()).await;
        reached(stored.unwrap_or_else(|error| Err(lane_failed(error)))?).await
    }

    /// Whether sending to a queue that does not exist creates it.
    pub fn auto_creates(&self) -> bool {
        self.0.auto_create
    }

    /// Creates a queue unless it exists; answers whether it did not. The name
    /// is in the registry before the queue is, and after it too, whatever a
    /// deletion in between did.
    pub async fn create(&self, queue: &QueueName, settings: &QueueSettings) -> QueueResult<bool> {
        let mut register = cmd("ZADD");
        register.arg(keys::REGISTRY).arg(0).arg(queue.as_str());
        let link = self.0.store.link();
        link.query(&register).await.map_err(|error| failed(&error))?;
        let mut call = Store::call(&scripts::CREATE, queue, 32, 512);
        for (field, value) in settings::to_fields(settings) {
            call.arg(field).arg(value);
        }
        let created = self.0.store.write(queue, &call).await?;
        link.query(&register).await.map_err(|error| failed(&error))?;
        if self.0.known.len() >= KNOWN_MOST {
            self.0.known.clear();
        }
        self.0.known.insert(queue.clone());
        Ok(values::int(&created).map_err(shape)? == 1)
    }
}

async fn answered(pending: Pending<QueueResult<Stored>>) -> QueueResult<Vec<SendOutcome>> {
    reached(pending.answer().await.unwrap_or_else(|error| Err(lane_failed(error)))?).await
}

/// Waits until what was stored got as far as asked.
async fn reached(stored: Stored) -> QueueResult<Vec<SendOutcome>> {
    if let Some(reached) = stored.reached {
        reached.await?;
    }
    Ok(stored.outcomes)
}

pub fn lane_failed(error: LaneError) -> QueueError {
    match error {
        LaneError::Full => QueueError::RateLimited { retry_after: LANE_RETRY },
        LaneError::Lost => QueueError::OutcomeUnknown,
    }
}
