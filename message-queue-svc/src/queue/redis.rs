//! The engine in Redis. All keys are in `keys`, all scripts in `scripts/`.
//!
//! - `send`, `settle`: lanes, so that concurrent work for one queue shares a call
//! - `feeder`, `blocking`, `take`: how messages reach consumers; `untake`: those that did not
//! - `calls`: request and reply
//! - `keeper`: what has to happen when nobody asks
//! - `admin`, `dead`: queues and dead letters; `gauges`: what a scrape asks for
//! - `store`, `finish`, `record`, `settings`, `durability`: how things are called, packed and made to last

mod admin;
mod blocking;
mod calls;
mod dead;
mod durability;
mod feeder;
mod finish;
mod gauges;
mod keeper;
pub mod keys;
pub mod record;
pub mod rights;
pub mod scripts;
mod send;
mod send_work;
mod settings;
mod settle;
mod store;
mod take;
mod untake;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis_link::Link;
use svc_observe::metrics::Metrics;
use svc_observe::metrics::collect::Collect;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    Consumer, Credit, DeadLetter, DeadSelection, GiveBack, Leases, Page, PeekState, Peeked,
    QueueEngine, QueueInfo, QueueResult, Return, SendOutcome, Submitted,
};
use crate::model::{
    Durability, MessageId, Outgoing, QueueName, QueueSettings, Receipt, SettingsChange,
};
use settle::{ReturnItem, Settler};

/// The engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: store::Store,
    sender: send::Sender,
    settler: Settler,
    feeders: feeder::Feeders,
    at_once: take::AtOnce,
    calls: calls::Calls,
    admin: admin::Admin,
    dead: dead::Dead,
    back: Arc<Back>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl RedisEngine {
    /// Starts it. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(link: Link, metrics: Metrics, auto_create: bool) -> Self {
        let replica = uuid::Uuid::now_v7().simple().to_string();
        let store = store::Store::new(link, metrics);
        let tasks = TaskTracker::new();
        let closing = CancellationToken::new();
        let (hints, heard) = keeper::hints();
        let callers = calls::Callers::new(store.clone(), tasks.clone());
        let settler = Settler::new(&store, &callers, &tasks);
        let back = Arc::new(Back { settler: settler.clone(), tasks: tasks.clone() });
        let takes =
            untake::Takes::new(store.clone(), replica.clone(), tasks.clone(), closing.clone());
        let feeders = feeder::Feeders::new(feeder::Parts {
            store: store.clone(),
            replica: replica.clone(),
            back: Arc::<Back>::clone(&back),
            hints: hints.clone(),
            takes: takes.clone(),
            tasks: tasks.clone(),
            closing: closing.clone(),
        });
        let sender =
            send::Sender::new(store.clone(), feeders.clone(), &tasks, auto_create, hints.clone());
        tokio::spawn(keeper::Keeper::new(store.clone(), replica.clone()).run(heard));
        Self(Arc::new(Inner {
            calls: calls::Calls::start(store.clone(), sender.clone(), callers, &replica),
            at_once: take::AtOnce::new(store.clone(), takes, Arc::<Back>::clone(&back), hints),
            admin: admin::Admin::new(store.clone(), sender.clone()),
            dead: dead::Dead::new(store.clone(), sender.clone()),
            store,
            sender,
            settler,
            feeders,
            back,
            tasks,
            closing,
        }))
    }

    /// The figures of so many queues at most. Does not keep the engine alive.
    pub fn gauges(&self, most: usize) -> impl Collect + use<> {
        gauges::Gauges::new(&self.0, most)
    }

    /// Waits until everything that runs in the background has ended; call it
    /// when there are no consumers and calls any more.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Gives leases back in the background.
#[derive(Debug)]
struct Back {
    settler: Settler,
    tasks: TaskTracker,
}

impl GiveBack for Back {
    fn give_back(&self, queue: &QueueName, receipts: Vec<Receipt>) {
        let (settler, queue) = (self.settler.clone(), queue.clone());
        self.tasks.spawn(async move {
            let reason = String::new();
            let item = ReturnItem { receipts, how: Return::Unused, reason };
            if let Err(error) = settler.give_back(&queue, item).await {
                tracing::debug!(%queue, %error, "leases were not given back; they will expire");
            }
        });
    }
}

impl QueueEngine for RedisEngine {
    async fn send(
        &self,
        queue: &QueueName,
        messages: Vec<Outgoing>,
        durability: Durability,
    ) -> QueueResult<Vec<SendOutcome>> {
        self.0.sender.send(queue, &messages, durability).await
    }

    async fn submit(
        &self,
        queue: QueueName,
        messages: Vec<Outgoing>,
        durability: Durability,
    ) -> Submitted {
        self.0.sender.submit(queue, &messages, durability).await
    }

    async fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
        lease: Option<Duration>,
    ) -> QueueResult<Leases> {
        if wait.is_zero() {
            return self.0.at_once.take(queue, max, lease).await;
        }
        let seat = self.0.feeders.join(queue);
        match tokio::time::timeout(wait, seat.next(&Credit::new(max), lease)).await {
            Ok(leases) => leases,
            Err(_) => Ok(Leases::new(queue.clone(), Vec::new(), Arc::<Back>::clone(&self.0.back))),
        }
    }

    fn join(&self, queue: &QueueName) -> impl Consumer + use<> {
        self.0.feeders.join(queue)
    }

    async fn ack(
        &self,
        queue: &QueueName,
        receipts: Vec<Receipt>,
    ) -> QueueResult<Vec<QueueResult<()>>> {
        self.0.settler.ack(queue, receipts).await
    }

    async fn give_back(
        &self,
        queue: &QueueName,
        receipts: Vec<Receipt>,
        how: Return,
        reason: &str,
    ) -> QueueResult<Vec<QueueResult<()>>> {
        let reason = reason.to_owned();
        self.0.settler.give_back(queue, ReturnItem { receipts, how, reason }).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        receipts: Vec<Receipt>,
        by: Option<Duration>,
    ) -> QueueResult<Vec<QueueResult<()>>> {
        self.0.settler.extend(queue, receipts, by).await
    }

    fn give_back_later(&self, queue: &QueueName, receipts: Vec<Receipt>) {
        GiveBack::give_back(&*self.0.back, queue, receipts);
    }

    async fn call(
        &self,
        queue: &QueueName,
        message: Outgoing,
        timeout: Duration,
    ) -> QueueResult<(MessageId, Bytes)> {
        self.0.calls.call(queue, message, timeout).await
    }

    async fn reply(&self, queue: &QueueName, receipt: Receipt, content: Bytes) -> QueueResult<()> {
        self.0.settler.reply(queue, receipt, content).await
    }

    async fn get_reply(
        &self,
        queue: &QueueName,
        message_id: &MessageId,
        wait: Duration,
    ) -> QueueResult<Bytes> {
        self.0.calls.get_reply(queue, message_id, wait).await
    }

    async fn create(&self, queue: &QueueName, settings: QueueSettings) -> QueueResult<QueueInfo> {
        self.0.admin.create(queue, &settings).await
    }

    async fn update(&self, queue: &QueueName, change: SettingsChange) -> QueueResult<QueueInfo> {
        self.0.admin.update(queue, &change).await
    }

    async fn info(&self, queue: &QueueName) -> QueueResult<QueueInfo> {
        self.0.admin.info(queue).await
    }

    async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        shown: impl Fn(&QueueName) -> bool + Send + Sync,
    ) -> QueueResult<Page<(QueueName, QueueInfo)>> {
        self.0.admin.list(after, limit, shown).await
    }

    async fn delete(&self, queue: &QueueName) -> QueueResult<()> {
        self.0.admin.delete(queue).await
    }

    async fn purge(&self, queue: &QueueName) -> QueueResult<u64> {
        self.0.admin.purge(queue).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> QueueResult<()> {
        self.0.admin.pause(queue, paused).await
    }

    async fn peek(
        &self,
        queue: &QueueName,
        state: PeekState,
        limit: usize,
    ) -> QueueResult<Vec<Peeked>> {
        self.0.admin.peek(queue, state, limit).await
    }

    async fn dead_letters(
        &self,
        queue: &QueueName,
        after: Option<u64>,
        limit: usize,
    ) -> QueueResult<Page<DeadLetter>> {
        self.0.dead.list(queue, after, limit).await
    }

    async fn redrive(
        &self,
        queue: &QueueName,
        limit: Option<u64>,
        to: Option<&QueueName>,
        max_rate: Option<f64>,
    ) -> QueueResult<u64> {
        self.0.dead.redrive(queue, limit, to, max_rate).await
    }

    async fn delete_dead_letters(
        &self,
        queue: &QueueName,
        which: DeadSelection,
    ) -> QueueResult<u64> {
        self.0.dead.delete(queue, which).await
    }
}
