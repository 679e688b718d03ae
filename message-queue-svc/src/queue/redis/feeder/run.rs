//! The task of one feeder.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis_link::Bell;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::blocking::{self, Popped};
use super::super::take::{MAX_ITEMS, Taken, take};
use super::super::{keys, scripts, store::Store};
use super::{Ask, Feeder, Shared};
use crate::error::QueueError;
use crate::model::QueueName;
use crate::queue::{Lease, Leases, QueueResult};

/// How long a feeder outlives its last consumer: one that polls comes back.
const LINGER: Duration = Duration::from_secs(5);
/// How long a queue is empty before a connection is spent on waiting for it.
const BLOCK_AFTER: Duration = Duration::from_millis(20);
/// How often a waiting feeder looks although no bell rang: this far apart, or
/// more so that all feeders of a replica together look so often a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_PER_SECOND: u32 = 200;
/// How often a replica says that it has consumers.
const PRESENCE_EVERY: Duration = Duration::from_secs(10);

pub struct Run {
    shared: Arc<Shared>,
    feeder: Arc<Feeder>,
    queue: QueueName,
    queued: mpsc::UnboundedReceiver<Ask>,
    asks: VecDeque<Ask>,
    bell: Bell,
    /// Whether there may be something to take.
    stale: bool,
    ask_again: Option<Instant>,
    look_at: Instant,
    popped: (mpsc::UnboundedSender<Popped>, mpsc::UnboundedReceiver<Popped>),
    blocking: bool,
    may_block_at: Instant,
    /// Ids of the last batch: the blocking take may have announced one of them.
    last_batch: Vec<String>,
    present: Option<(usize, Instant)>,
}

/// What woke a feeder.
enum Wake {
    Ask(Option<Ask>),
    Bell,
    Due,
    Look,
    Popped(Popped),
    MayBlock,
}

impl Run {
    pub fn new(
        shared: Arc<Shared>,
        feeder: Arc<Feeder>,
        queue: QueueName,
        queued: mpsc::UnboundedReceiver<Ask>,
    ) -> Self {
        let bell = shared.store.link().bells().subscribe(&keys::bell(&queue));
        Self {
            shared,
            feeder,
            queue,
            queued,
            asks: VecDeque::new(),
            bell,
            stale: true,
            ask_again: None,
            look_at: Instant::now(),
            popped: mpsc::unbounded_channel(),
            blocking: false,
            may_block_at: Instant::now(),
            last_batch: Vec::new(),
            present: None,
        }
    }

    pub async fn run(mut self) {
        let closing = self.shared.closing.clone();
        closing.run_until_cancelled(self.feed()).await;
        self.asks.clear();
        self.queued.close();
        if self.blocking
            && let Some(Popped::Some(_)) = self.popped.1.recv().await
        {
            self.unhand().await;
        }
        self.leave().await;
    }

    async fn feed(&mut self) {
        loop {
            while let Ok(ask) = self.queued.try_recv() {
                self.asks.push_back(ask);
            }
            self.asks.retain(|ask| !ask.answer.is_closed());
            if !self.asks.is_empty() {
                if self.stale {
                    self.take().await;
                } else {
                    self.wait().await;
                }
            } else if !self.linger().await {
                return;
            }
        }
    }

    /// Takes once for all who want the same lease, and deals it out.
    async fn take(&mut self) {
        let lease = self.asks.front().and_then(|ask| ask.lease);
        let same = self.asks.iter().filter(|ask| ask.lease == lease);
        let wanted = same.map(|ask| ask.max).sum::<usize>().min(MAX_ITEMS);
        let presence = self.presence();
        let present = presence.map(|consumers| (self.shared.replica.as_str(), consumers));
        let taken = take(&self.shared.store, &self.queue, wanted, lease, present).await;
        match taken {
            Ok(taken) => self.deal(taken, wanted, lease),
            Err(error) => self.refuse(&error),
        }
    }

    fn deal(&mut self, taken: Taken, wanted: usize, lease: Option<Duration>) {
        let now = Instant::now();
        self.stale = taken.leases.len() == wanted;
        self.ask_again = taken.ask_again.map(|after| now + after);
        self.look_at = now + self.look_interval();
        self.may_block_at = self.may_block_at.max(now + BLOCK_AFTER);
        self.last_batch.clear();
        if let Some(first) = taken.leases.first() {
            self.shared.hints.come_back(&self.queue, first.expires_in);
            if self.blocking {
                let ids = taken.leases.iter().map(|lease| lease.receipt.entry().to_owned());
                self.last_batch.extend(ids);
            }
        }
        let mut left = taken.leases;
        let share = (left.len() / self.asks.len().max(1)).max(1);
        let mut others = VecDeque::new();
        while !left.is_empty() {
            let Some(ask) = self.asks.pop_front() else { break };
            if ask.lease != lease {
                others.push_back(ask);
                continue;
            }
            let last = self.asks.iter().all(|ask| ask.lease != lease);
            let count = if last { ask.max } else { share.min(ask.max) };
            let rest = left.split_off(count.min(left.len()));
            self.answer(ask, std::mem::replace(&mut left, rest));
        }
        // More than was asked for cannot come; given back, if it did.
        drop(self.wrap(left));
        // Those who want another lease are in front the next time. If there was
        // less than wanted, there is nothing for them either.
        others.append(&mut self.asks);
        self.asks = others;
    }

    fn answer(&self, ask: Ask, leases: Vec<Lease>) {
        // Comes back as an error if nobody waits any more, and is given back then.
        let _ = ask.answer.send(Ok(self.wrap(leases)));
    }

    fn wrap(&self, leases: Vec<Lease>) -> Leases {
        Leases::new(self.queue.clone(), leases, Arc::clone(&self.shared.back))
    }

    /// Consumers decide whether they wait on; here, not before the next look.
    fn refuse(&mut self, error: &QueueError) {
        for ask in self.asks.drain(..) {
            let _ = ask.answer.send(Err(error.clone()));
        }
        self.look_at = Instant::now() + LOOK_EVERY;
    }

    async fn wait(&mut self) {
        let far = Instant::now() + Duration::from_secs(3_600);
        let wake = tokio::select! {
            ask = self.queued.recv() => Wake::Ask(ask),
            () = self.bell.rung() => Wake::Bell,
            Some(popped) = self.popped.1.recv() => Wake::Popped(popped),
            () = sleep_until(self.ask_again.unwrap_or(far)), if self.ask_again.is_some() => Wake::Due,
            () = sleep_until(self.look_at) => Wake::Look,
            () = sleep_until(self.may_block_at), if !self.blocking => Wake::MayBlock,
        };
        match wake {
            Wake::Ask(ask) => self.asks.extend(ask),
            Wake::Bell | Wake::Due | Wake::Look => self.stale = true,
            Wake::Popped(popped) => {
                self.blocking = false;
                match popped {
                    Popped::Some(entry) => self.stale = !self.last_batch.contains(&entry),
                    Popped::Nothing => {}
                    Popped::Busy => self.may_block_at = Instant::now() + self.look_interval(),
                }
            }
            Wake::MayBlock => {
                self.blocking = true;
                let (store, queue) = (self.shared.store.clone(), self.queue.clone());
                let task = blocking::pop(store, queue, self.popped.0.clone());
                self.shared.tasks.spawn(task);
            }
        }
    }

    /// Waits for a consumer; false if none came back.
    async fn linger(&mut self) -> bool {
        if self.blocking {
            // What it may still pop is for others.
            tokio::select! {
                ask = self.queued.recv() => self.asks.extend(ask),
                Some(popped) = self.popped.1.recv() => {
                    self.blocking = false;
                    if let Popped::Some(_) = popped {
                        self.unhand().await;
                    }
                }
            }
            self.stale = true;
            return true;
        }
        tokio::select! {
            ask = self.queued.recv() => {
                self.asks.extend(ask);
                // While nobody waited nobody listened.
                self.stale = true;
                true
            }
            () = sleep(LINGER) => {
                let feeders = &self.shared.feeders;
                let unused = |_: &QueueName, feeder: &Arc<Feeder>| {
                    feeder.consumers.load(Ordering::Relaxed) == 0
                };
                feeders.remove_if(&self.queue, unused).is_none()
            }
        }
    }

    async fn unhand(&self) {
        let call = Store::call(&scripts::UNHAND, &self.queue, 0, 0);
        let done: QueueResult<_> = self.shared.store.write(&self.queue, &call).await;
        if let Err(error) = done {
            tracing::debug!(%error, "a handed off message waits for the next look");
        }
    }

    async fn leave(&self) {
        if self.present.is_some() {
            let mut call = Store::call(&scripts::PRESENCE, &self.queue, 1, 32);
            call.arg(&self.shared.replica);
            // It runs out by itself, too.
            let _ = self.shared.store.write(&self.queue, &call).await;
        }
    }

    /// How many consumers there are, if that is to be written down again.
    fn presence(&mut self) -> Option<usize> {
        let consumers = self.feeder.consumers.load(Ordering::Relaxed);
        let now = Instant::now();
        let known = self.present.is_some_and(|(count, until)| count == consumers && now < until);
        if known {
            return None;
        }
        self.present = Some((consumers, now + PRESENCE_EVERY));
        Some(consumers)
    }

    fn look_interval(&self) -> Duration {
        let feeders = u32::try_from(self.shared.feeders.len()).unwrap_or(u32::MAX);
        let spread = Duration::from_secs(1) * feeders / LOOKS_PER_SECOND;
        LOOK_EVERY.max(spread).mul_f64(rand::random_range(0.8..1.2))
    }
}
