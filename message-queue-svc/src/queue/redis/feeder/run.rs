//! The task of one feeder.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use redis_link::Bell;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::blocking::{self, Popped};
use super::super::{keys, scripts, store::Store};
use super::desk::Turn;
use super::{Feeder, Shared};
use crate::model::QueueName;
use crate::queue::QueueResult;

/// How long a feeder outlives its last consumer: one that polls comes back.
const LINGER: Duration = Duration::from_secs(5);
/// How long a queue is quiet before a connection is spent on waiting for it.
const BLOCK_AFTER: Duration = Duration::from_millis(20);
/// How often a waiting feeder looks although no bell rang: this far apart, or
/// more so that all feeders of a replica together look so often a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_PER_SECOND: u32 = 200;
/// How long what was left to other replicas is theirs (send_take.lua).
const YIELD: Duration = Duration::from_millis(10);

pub struct Run {
    shared: Arc<Shared>,
    feeder: Arc<Feeder>,
    bell: Bell,
    look_at: Instant,
    popped: (mpsc::UnboundedSender<Popped>, mpsc::UnboundedReceiver<Popped>),
    blocking: bool,
    may_block_at: Instant,
}

/// What woke a feeder.
enum Wake {
    Desk,
    Bell(Option<Bytes>),
    Due,
    Look,
    Popped(Popped),
    MayBlock,
    Closing,
}

impl Run {
    pub fn new(shared: Arc<Shared>, feeder: Arc<Feeder>) -> Self {
        let bell = shared.store.link().bells().subscribe(&keys::bell(&feeder.queue));
        feeder.is_stale();
        let now = Instant::now();
        Self {
            shared,
            feeder,
            bell,
            look_at: now + LOOK_EVERY,
            popped: mpsc::unbounded_channel(),
            blocking: false,
            may_block_at: now + BLOCK_AFTER,
        }
    }

    pub async fn run(mut self) {
        while !self.shared.closing.is_cancelled() {
            match self.feeder.turn(&self.shared) {
                Turn::Take(hand) => {
                    hand.take().await;
                    self.look_at = Instant::now() + self.look_interval();
                }
                Turn::Wait => self.wait().await,
                Turn::Rest => {
                    if !self.linger().await {
                        break;
                    }
                }
            }
        }
        self.feeder.close();
        if self.blocking
            && let Some(Popped::Some(_)) = self.popped.1.recv().await
        {
            self.unhand().await;
        }
        self.leave().await;
    }

    async fn wait(&mut self) {
        let sleep_until_then = {
            let mut desk = self.feeder.desk();
            let again = desk.ask_again.unwrap_or(self.look_at);
            desk.asleep_until = Some(again.min(self.look_at));
            again
        };
        let closing = self.shared.closing.clone();
        let wake = tokio::select! {
            () = self.feeder.wake.notified() => Wake::Desk,
            by = self.bell.recv() => Wake::Bell(by),
            Some(popped) = self.popped.1.recv() => Wake::Popped(popped),
            () = sleep_until(sleep_until_then), if sleep_until_then < self.look_at => Wake::Due,
            () = sleep_until(self.look_at) => Wake::Look,
            () = sleep_until(self.may_block_at), if !self.blocking => Wake::MayBlock,
            () = closing.cancelled() => Wake::Closing,
        };
        match wake {
            Wake::Desk | Wake::Closing => {}
            Wake::Bell(by) => self.rung(by.as_deref().unwrap_or_default()),
            Wake::Due => {
                self.feeder.desk().ask_again = None;
                self.feeder.is_stale();
            }
            Wake::Look => self.look(),
            Wake::Popped(popped) => self.popped(&popped),
            Wake::MayBlock => self.block(),
        }
    }

    /// Something is ready; if this replica left it to others, it waits a little.
    fn rung(&self, by: &[u8]) {
        if by.strip_prefix(b"-") != Some(self.shared.replica.as_bytes()) {
            return self.feeder.is_stale();
        }
        let (mut desk, later) = (self.feeder.desk(), Instant::now() + YIELD);
        desk.ask_again = Some(desk.ask_again.map_or(later, |again| again.min(later)));
    }

    /// Looks although nothing rang, unless others have just done so.
    fn look(&mut self) {
        let interval = self.look_interval();
        let mut desk = self.feeder.desk();
        match desk.taken_at {
            Some(taken) if taken + LOOK_EVERY / 2 > self.look_at => {
                self.look_at = taken + interval;
            }
            _ => {
                desk.ask_again = None;
                self.look_at = Instant::now() + interval;
                drop(desk);
                self.feeder.is_stale();
            }
        }
    }

    fn popped(&mut self, popped: &Popped) {
        self.blocking = false;
        let mut desk = self.feeder.desk();
        desk.blocking = false;
        match popped {
            Popped::Some(entry) => {
                let leased = desk.leased_meanwhile.contains(entry);
                drop(desk);
                if !leased {
                    self.feeder.is_stale();
                }
            }
            Popped::Nothing => {}
            Popped::Busy => self.may_block_at = Instant::now() + self.look_interval(),
        }
    }

    /// Waits in a blocking take, if the queue has been quiet.
    fn block(&mut self) {
        let mut desk = self.feeder.desk();
        if let Some(quiet) = desk.taken_at.map(|taken| taken + BLOCK_AFTER)
            && quiet > Instant::now()
        {
            self.may_block_at = quiet;
            return;
        }
        desk.blocking = true;
        desk.leased_meanwhile.clear();
        drop(desk);
        self.blocking = true;
        let (store, queue) = (self.shared.store.clone(), self.feeder.queue.clone());
        self.shared.tasks.spawn(blocking::pop(store, queue, self.popped.0.clone()));
    }

    /// Waits for a consumer; false if none came back.
    async fn linger(&mut self) -> bool {
        let closing = self.shared.closing.clone();
        if self.blocking {
            // What it may still pop is for others.
            tokio::select! {
                () = self.feeder.wake.notified() => {}
                () = closing.cancelled() => {}
                Some(popped) = self.popped.1.recv() => {
                    self.blocking = false;
                    self.feeder.desk().blocking = false;
                    if let Popped::Some(_) = popped {
                        self.unhand().await;
                    }
                }
            }
            return true;
        }
        tokio::select! {
            () = self.feeder.wake.notified() => true,
            () = closing.cancelled() => true,
            () = sleep(LINGER) => {
                let unused = |_: &QueueName, feeder: &Arc<Feeder>| {
                    feeder.consumers.load(Ordering::Relaxed) == 0
                };
                self.shared.feeders.remove_if(&self.feeder.queue, unused).is_none()
            }
        }
    }

    async fn unhand(&self) {
        let call = Store::call(&scripts::UNHAND, &self.feeder.queue, 0, 0);
        let done: QueueResult<_> = self.shared.store.write(&self.feeder.queue, &call).await;
        if let Err(error) = done {
            tracing::debug!(%error, "a handed off message waits for the next look");
        }
    }

    async fn leave(&self) {
        let was_present = self.feeder.desk().was_present();
        if was_present {
            let mut call = Store::call(&scripts::PRESENCE, &self.feeder.queue, 1, 32);
            call.arg(&self.shared.replica);
            // It runs out by itself, too.
            let _ = self.shared.store.write(&self.feeder.queue, &call).await;
        }
    }

    fn look_interval(&self) -> Duration {
        let feeders = u32::try_from(self.shared.feeders.len()).unwrap_or(u32::MAX);
        let spread = Duration::from_secs(1) * feeders / LOOKS_PER_SECOND;
        LOOK_EVERY.max(spread).mul_f64(rand::random_range(0.8..1.2))
    }
}
