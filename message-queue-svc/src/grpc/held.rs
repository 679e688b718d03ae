//! What the consumers of this replica hold, so that what is settled by a unary
//! call frees the credit of the stream that it was delivered over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use svc_runtime::checks::MAX_LEASE;
use tokio::sync::Notify;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::QueueError;
use crate::model::{QueueName, Receipt};
use crate::queue::{Credit, QueueResult};

/// Which stream holds a receipt, by its hash: of two with the same hash only
/// the later is found, and the other one's credit waits for its lease to end.
#[derive(Clone, Debug, Default)]
pub struct HeldByStreams(Arc<DashMap<u64, Arc<Shared>>>);

impl HeldByStreams {
    /// What a new stream holds: nothing yet. Its credit is what it may hold besides.
    pub fn open(&self, queue: &QueueName, credit: Credit) -> Held {
        let (until, freed) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { until, credit, freed });
        Held { streams: self.clone(), seed: queue.hash64(), shared }
    }

    /// A lease has ended, or what was asked of it failed with this.
    pub fn settled(&self, queue: &QueueName, receipt: &Receipt, result: &QueueResult<()>) {
        if is_over(result) {
            let removed = self.0.remove(&key(queue.hash64(), receipt));
            if let Some((_, stream)) = removed {
                stream.let_go(receipt);
            }
        }
    }

    /// A lease was extended by so much, or failed to be.
    pub fn extended(
        &self,
        queue: &QueueName,
        receipt: &Receipt,
        by: Option<Duration>,
        result: &QueueResult<()>,
    ) {
        if result.is_err() {
            self.settled(queue, receipt, result);
            return;
        }
        // Not looked into while the map is locked: streams lock in the other order.
        let stream = self.0.get(&key(queue.hash64(), receipt)).map(|held| Arc::clone(&held));
        if let Some(stream) = stream
            && let Some(until) = stream.until().get_mut(receipt)
        {
            *until = extended_until(by);
        }
    }
}

/// Whether nobody holds the lease any more.
fn is_over(result: &QueueResult<()>) -> bool {
    matches!(result, Ok(()) | Err(QueueError::LeaseLost | QueueError::AlreadyReplied))
}

/// How long the queue's own lease is, is not known here: long enough.
fn extended_until(by: Option<Duration>) -> Instant {
    Instant::now() + by.unwrap_or(MAX_LEASE)
}

fn key(seed: u64, receipt: &Receipt) -> u64 {
    xxh3_64_with_seed(receipt.entry().as_bytes(), seed)
}

#[derive(Debug)]
struct Shared {
    /// What the client holds, and until when.
    until: Mutex<HashMap<Receipt, Instant>>,
    /// Set under that lock only, so that it never lags behind.
    credit: Credit,
    /// Rung when something was let go of elsewhere, and there was no credit before.
    freed: Notify,
}

impl Shared {
    fn until(&self) -> MutexGuard<'_, HashMap<Receipt, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of something by a unary call. A stream that has credit asks already, and need not
    /// be woken to have more.
    fn let_go(&self, receipt: &Receipt) {
        let mut until = self.until();
        let asks = self.credit.is_left(until.len());
        if until.remove(receipt).is_some() {
            self.credit.hold(until.len());
            if !asks {
                self.freed.notify_one();
            }
        }
    }
}

/// What the client of one stream holds.
#[derive(Debug)]
pub struct Held {
    streams: HeldByStreams,
    seed: u64,
    shared: Arc<Shared>,
}

impl Held {
    pub fn add(&self, receipt: Receipt, until: Instant) {
        self.streams.0.insert(key(self.seed, &receipt), Arc::clone(&self.shared));
        self.shared.until().insert(receipt, until);
    }

    pub fn len(&self) -> usize {
        self.shared.until().len()
    }

    /// Counts the credit anew; answers whether there is any.
    pub fn count(&self) -> bool {
        let until = self.shared.until();
        self.shared.credit.hold(until.len());
        self.shared.credit.is_left(until.len())
    }

    /// Completes when a unary call made credit where there was none.
    pub async fn freed(&self) {
        self.shared.freed.notified().await;
    }

    /// When the first of the leases ends.
    pub fn first_end(&self) -> Option<Instant> {
        self.shared.until().values().min().copied()
    }

    /// A lease was settled over the stream itself.
    pub fn settled(&self, receipt: &Receipt, result: &QueueResult<()>) {
        if is_over(result) {
            self.forget(receipt);
            self.shared.until().remove(receipt);
        }
    }

    /// A lease was extended over the stream itself.
    pub fn extended(&self, receipt: &Receipt, by: Option<Duration>, result: &QueueResult<()>) {
        if result.is_err() {
            self.settled(receipt, result);
        } else if let Some(until) = self.shared.until().get_mut(receipt) {
            *until = extended_until(by);
        }
    }

    /// Lets go of what ended before then.
    pub fn drop_ended(&self, before: Instant) {
        self.shared.until().retain(|receipt, until| {
            let stays = *until > before;
            if !stays {
                self.forget(receipt);
            }
            stays
        });
    }

    /// Lets go of everything, and answers what that was.
    pub fn take_all(&self) -> Vec<Receipt> {
        let all = std::mem::take(&mut *self.shared.until());
        all.into_keys().inspect(|receipt| self.forget(receipt)).collect()
    }

    fn forget(&self, receipt: &Receipt) {
        let own = |_: &u64, stream: &Arc<Shared>| Arc::ptr_eq(stream, &self.shared);
        self.streams.0.remove_if(&key(self.seed, receipt), own);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.take_all();
    }
}
