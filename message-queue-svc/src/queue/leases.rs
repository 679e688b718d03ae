//! Leases, on their way to consumers and back.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::QueueResult;
use crate::model::{QueueName, Receipt};

/// A message that is leased to a consumer.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The encoded Message, with its id.
    pub message: Bytes,
    /// The proof of the lease.
    pub receipt: Receipt,
    /// When it was sent, in ms since 1970.
    pub sent_at_ms: u64,
    /// When the lease ends, in ms since 1970.
    pub expires_at_ms: u64,
    /// How long the lease has left since it was taken.
    pub expires_in: Duration,
}

/// How a lease ends other than by an ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Return {
    /// The attempt failed; the next one after this long, or after the queue's backoff.
    Failed(Option<Duration>),
    /// Not to be delivered again.
    Rejected,
    /// Nobody looked at it: no attempt.
    Unused,
}

/// Takes back leases in the background, as [`Return::Unused`].
pub trait GiveBack: Send + Sync {
    /// Takes them back.
    fn give_back(&self, queue: &QueueName, receipts: Vec<Receipt>);
}

/// Leases on their way to a consumer: dropped anywhere on that way, they are
/// given back at once.
pub struct Leases {
    queue: QueueName,
    leases: Vec<Lease>,
    back: Arc<dyn GiveBack>,
}

impl Leases {
    /// Wraps them.
    #[must_use]
    pub fn new(queue: QueueName, leases: Vec<Lease>, back: Arc<dyn GiveBack>) -> Self {
        Self { queue, leases, back }
    }

    /// The consumer has them: from now on it is responsible.
    #[must_use]
    pub fn accept(mut self) -> Vec<Lease> {
        std::mem::take(&mut self.leases)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

impl Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            // Each goes in front of those before it.
            let receipts = self.leases.drain(..).rev().map(|lease| lease.receipt).collect();
            self.back.give_back(&self.queue, receipts);
        }
    }
}

/// How many messages a consumer can take at present; it may grow while it waits.
#[derive(Clone, Debug)]
pub struct Credit {
    left: Arc<AtomicUsize>,
    most: usize,
}

impl Credit {
    /// All of it: the consumer holds nothing.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(most)), most }
    }

    /// The consumer holds so many.
    pub fn hold(&self, held: usize) {
        self.left.store(self.most.saturating_sub(held), Ordering::Relaxed);
    }

    /// Whether one that holds so many can take more.
    #[must_use]
    pub fn is_left(&self, held: usize) -> bool {
        held < self.most
    }

    /// How many more are possible.
    #[must_use]
    pub fn get(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// Whether the consumer holds nothing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.get() >= self.most
    }
}

/// A consumer's place at a queue.
pub trait Consumer: Send + Sync + 'static {
    /// Waits for messages, as many as there is credit for when they come; at
    /// least one. Cancel-safe: what was leased meanwhile is given back.
    fn next(
        &self,
        credit: &Credit,
        lease: Option<Duration>,
    ) -> impl Future<Output = QueueResult<Leases>> + Send + 'static;
}
