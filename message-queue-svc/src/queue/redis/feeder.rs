//! Feeders: one desk per queue with consumers here, at which they ask, and one
//! task that takes for all of them and deals out what it gets.
//!
//! An empty queue is not polled. Its feeder waits for the bell, which every
//! script rings that makes something ready. A queue that stays empty also
//! waits in BRPOPLPUSH ready → handoff (`blocking.rs`), which no lost bell can
//! miss, as long as there are pooled connections; queues beyond those make do
//! with the bell and a slow look now and then.
//!
//! A send that comes while consumers wait here borrows the feeder's hand
//! ([`Feeders::lend`]): it takes for them in the same script call that stores its
//! messages.

mod desk;
mod run;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use dashmap::DashMap;
use std::time::Duration;
use svc_observe::metrics::series::QueueCounters;
use svc_runtime::turn::others_turn;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keeper::Hints;
use super::store::Store;
use super::untake::Takes;
use crate::error::QueueError;
use crate::model::QueueName;
use crate::queue::{Consumer, Credit, GiveBack, Leases, QueueResult};
pub use desk::Hand;
use desk::{Ask, Desk};

/// The feeders of this replica.
#[derive(Clone)]
pub struct Feeders {
    shared: Arc<Shared>,
}

/// What feeders share.
pub struct Shared {
    feeders: DashMap<QueueName, Arc<Feeder>>,
    store: Store,
    replica: String,
    back: Arc<dyn GiveBack>,
    hints: Hints,
    takes: Takes,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// What a feeder is made of.
pub struct Parts {
    pub store: Store,
    pub replica: String,
    pub back: Arc<dyn GiveBack>,
    pub hints: Hints,
    pub takes: Takes,
    pub tasks: TaskTracker,
    pub closing: CancellationToken,
}

/// One queue's.
pub struct Feeder {
    queue: QueueName,
    desk: Mutex<Desk>,
    /// Rung when the task has to look at the desk.
    wake: Notify,
    consumers: AtomicUsize,
    /// There from the first delivery on: a label is not spent on who only waits.
    counters: OnceLock<Arc<QueueCounters>>,
}

impl Feeder {
    fn counters(&self, store: &Store) -> Arc<QueueCounters> {
        Arc::clone(self.counters.get_or_init(|| store.counters(&self.queue)))
    }
}

impl Feeders {
    pub fn new(parts: Parts) -> Self {
        let Parts { store, replica, back, hints, takes, tasks, closing } = parts;
        let feeders = DashMap::new();
        let shared = Shared { feeders, store, replica, back, hints, takes, tasks, closing };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a place at a queue.
    pub fn join(&self, queue: &QueueName) -> Seat {
        let entry = self.shared.feeders.entry(queue.clone());
        let feeder = entry.or_insert_with(|| {
            let feeder = Arc::new(Feeder {
                queue: queue.clone(),
                desk: Mutex::default(),
                wake: Notify::new(),
                consumers: AtomicUsize::new(0),
                counters: OnceLock::new(),
            });
            let task = run::Run::new(Arc::clone(&self.shared), Arc::clone(&feeder));
            self.shared.tasks.spawn(task.run());
            feeder
        });
        // Counted while the map's entry is locked: a feeder leaves the map
        // only while it has no consumers.
        feeder.consumers.fetch_add(1, Ordering::Relaxed);
        Seat { feeder: Arc::clone(&feeder) }
    }

    /// The right to take for those who wait at a queue; to be used or dropped soon, as nobody else
    /// takes meanwhile.
    pub async fn lend(&self, queue: &QueueName) -> Option<Hand> {
        let feeder = Arc::clone(&*self.shared.feeders.get(queue)?);
        let hand = Hand::lend(&self.shared, &feeder);
        if hand.is_some() || !feeder.may_be_asked() {
            return hand;
        }
        // Those who were served just now ask again when it is their turn.
        others_turn().await;
        Hand::lend(&self.shared, &feeder)
    }
}

impl fmt::Debug for Feeders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeders").field("queues", &self.shared.feeders.len()).finish()
    }
}

/// A consumer's place at a queue.
pub struct Seat {
    feeder: Arc<Feeder>,
}

impl Consumer for Seat {
    fn next(
        &self,
        credit: &Credit,
        lease: Option<Duration>,
    ) -> impl Future<Output = QueueResult<Leases>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { credit: credit.clone(), lease, answer };
        let open = self.feeder.ask(ask);
        async move {
            if !open {
                return Err(QueueError::ShuttingDown);
            }
            answered.await.unwrap_or(Err(QueueError::ShuttingDown))
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.feeder.consumers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}
