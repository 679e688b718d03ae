//! Feeders: one task per queue with consumers here, which takes for all of
//! them and deals out what it gets.
//!
//! An empty queue is not polled. Its feeder waits for the bell, which every
//! script rings that makes something ready. A queue that stays empty also
//! waits in BRPOPLPUSH ready → handoff (`blocking.rs`), which no lost bell can
//! miss, as long as there are pooled connections; queues beyond those make do
//! with the bell and a slow look now and then.

mod run;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keeper::Hints;
use super::store::Store;
use crate::error::QueueError;
use crate::model::QueueName;
use crate::queue::{Consumer, GiveBack, Leases, QueueResult};

/// The feeders of this replica.
#[derive(Clone)]
pub struct Feeders {
    shared: Arc<Shared>,
}

struct Shared {
    feeders: DashMap<QueueName, Arc<Feeder>>,
    store: Store,
    replica: String,
    back: Arc<dyn GiveBack>,
    hints: Hints,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// One queue's.
struct Feeder {
    asks: mpsc::UnboundedSender<Ask>,
    consumers: AtomicUsize,
}

/// A consumer that wants messages. One that no longer waits has closed `answer`.
struct Ask {
    max: usize,
    lease: Option<Duration>,
    answer: oneshot::Sender<QueueResult<Leases>>,
}

impl Feeders {
    pub fn new(
        store: Store,
        replica: String,
        back: Arc<dyn GiveBack>,
        hints: Hints,
        tasks: TaskTracker,
    ) -> Self {
        let (feeders, closing) = (DashMap::new(), CancellationToken::new());
        Self { shared: Arc::new(Shared { feeders, store, replica, back, hints, tasks, closing }) }
    }

    /// Ends all feeders; whoever still waits is told that the service stops.
    pub fn close(&self) {
        self.shared.closing.cancel();
    }

    /// Takes a place at a queue.
    pub fn join(&self, queue: &QueueName) -> Seat {
        let entry = self.shared.feeders.entry(queue.clone());
        let feeder = entry.or_insert_with(|| {
            let (asks, queued) = mpsc::unbounded_channel();
            let feeder = Arc::new(Feeder { asks, consumers: AtomicUsize::new(0) });
            let task =
                run::Run::new(Arc::clone(&self.shared), Arc::clone(&feeder), queue.clone(), queued);
            self.shared.tasks.spawn(task.run());
            feeder
        });
        // Counted while the map's entry is locked: a feeder leaves the map
        // only while it has no consumers.
        feeder.consumers.fetch_add(1, Ordering::Relaxed);
        Seat { feeder: Arc::clone(&feeder) }
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
    async fn next(&self, max: usize, lease: Option<Duration>) -> QueueResult<Leases> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { max, lease, answer };
        if self.feeder.asks.send(ask).is_err() {
            return Err(QueueError::ShuttingDown);
        }
        answered.await.unwrap_or(Err(QueueError::ShuttingDown))
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
