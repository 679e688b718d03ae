//! Leases that nobody uses go back to the group, again and again while Redis is away: otherwise
//! their events would wait until the leases run out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::deliver::Caller;
use super::runner::Key;
use crate::error::StoreError;
use crate::model::{Delivery, Name, Receipt, Settle};
use crate::store::redis::RedisStore;
use crate::store::{Groups as _, Result};

/// After this long the leases are left to run out.
const LONGEST: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// Items of one call.
const STEP: usize = 1_000;
/// Callers that wait to be used again.
const IDLE_CALLERS: usize = 64;

/// Callers of single fetches: taken for a fetch and put back after it, so that Redis remembers as
/// many as there are fetches at once.
#[derive(Debug, Default)]
pub struct Fetchers {
    idle: Mutex<Vec<Caller>>,
}

impl RedisStore {
    /// Gives leases back, behind the caller's back.
    pub(in crate::store::redis) fn return_leases(
        &self,
        (topic, group): &Key,
        receipts: Vec<Receipt>,
    ) {
        if receipts.is_empty() {
            return;
        }
        let (store, topic, group) = (self.clone(), topic.clone(), group.clone());
        tokio::spawn(async move {
            let mut patience = Patience::new(&topic, &group);
            for receipts in receipts.chunks(STEP) {
                let items: Vec<_> =
                    receipts.iter().map(|receipt| (*receipt, Settle::GiveBack)).collect();
                while patience.again(store.settle(&topic, &group, items.clone()).await).await {}
            }
        });
    }

    /// Gives back deliveries that nobody saw.
    pub(in crate::store::redis) fn return_unseen(&self, key: &Key, unseen: &[Delivery]) {
        self.return_leases(key, unseen.iter().map(|delivery| delivery.receipt).collect());
    }

    /// Gives back what the last calls of a caller may have delivered to nobody.
    pub(in crate::store::redis) fn return_owed(&self, (topic, group): &Key, mut caller: Caller) {
        if !caller.is_owed() {
            return;
        }
        let (store, topic, group) = (self.clone(), topic.clone(), group.clone());
        tokio::spawn(async move {
            let mut patience = Patience::new(&topic, &group);
            while patience.again(store.deliver(&topic, &group, &mut caller, &[]).await).await {}
        });
    }

    /// Delivers to one consumer, once.
    pub(in crate::store::redis) async fn deliver_once(
        &self,
        topic: &Name,
        group: &Name,
        consumer: &Name,
        max_events: u32,
    ) -> Result<Vec<Delivery>> {
        let caller = self.fetchers.idle().pop().unwrap_or_default();
        let mut fetch = Fetch { store: self.clone(), key: (topic.clone(), group.clone()), caller };
        let wanted = [(consumer, max_events)];
        let mut answer = self.deliver(topic, group, &mut fetch.caller, &wanted).await?;
        Ok(answer.by_consumer.pop().unwrap_or_default())
    }
}

impl Fetchers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Caller>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way; its client may go away at any moment.
struct Fetch {
    store: RedisStore,
    key: Key,
    caller: Caller,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let caller = std::mem::take(&mut self.caller);
        if caller.is_owed() {
            self.store.return_owed(&self.key, caller);
            return;
        }
        let mut idle = self.store.fetchers.idle();
        if idle.len() < IDLE_CALLERS {
            idle.push(caller);
        }
    }
}

/// Says how long to try.
struct Patience<'a> {
    topic: &'a Name,
    group: &'a Name,
    start: Instant,
}

impl<'a> Patience<'a> {
    fn new(topic: &'a Name, group: &'a Name) -> Self {
        Self { topic, group, start: Instant::now() }
    }

    /// Whether to try again, after a pause.
    async fn again<T>(&mut self, attempt: Result<T>) -> bool {
        let Err(error) = attempt else {
            return false;
        };
        let away = matches!(error, StoreError::StorageUnavailable | StoreError::OutcomeUnknown);
        if away && self.start.elapsed() < LONGEST {
            sleep(PAUSE).await;
            return true;
        }
        // Their leases run out instead, if the group is still there.
        let (topic, group) = (self.topic.as_str(), self.group.as_str());
        tracing::warn!(topic, group, %error, "could not give deliveries back");
        false
    }
}
