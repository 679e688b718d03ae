//! Takes whose answer was lost on its way: what they leased is leased to nobody,
//! and would come again only when the leases end, as if somebody had failed.
//!
//! Every take has a ticket. Redis notes the last one of each taker beside what
//! it leased, so that it can be given back by the ticket alone, unused. A ticket
//! that was given up is void: a take that comes later (a frozen Redis still
//! reads what was sent to it before) leases nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis_link::{Call, values};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::scripts;
use super::store::Store;
use crate::model::QueueName;

/// The pause between two attempts to give back.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it is tried: leases are rarely longer, and these end by themselves.
const LIMIT: Duration = Duration::from_secs(600);

/// Who takes. Takes of one kind and queue are made one after the other.
#[derive(Clone, Copy, Debug)]
pub enum Taker {
    /// The feeder of a queue.
    Feeder,
    /// Those who do not wait.
    AtOnce,
}

/// The right to take once.
#[derive(Debug)]
pub struct Ticket {
    taker: String,
    number: u64,
    epoch: u64,
}

impl Ticket {
    /// The arguments of the take script that name it.
    pub fn arguments(&self, call: &mut Call<'_>) {
        call.arg(&self.taker).arg(self.number);
    }
}

/// Gives out tickets, and gives back what came of lost ones. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Takes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    replica: String,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Goes up with every lost ticket: the taker is another one from then on, so
    /// that what it takes next does not replace what Redis noted of the lost one.
    epoch: AtomicU64,
    next: AtomicU64,
}

impl Takes {
    pub fn new(
        store: Store,
        replica: String,
        tasks: TaskTracker,
        closing: CancellationToken,
    ) -> Self {
        let (epoch, next) = (AtomicU64::new(0), AtomicU64::new(1));
        Self(Arc::new(Inner { store, replica, tasks, closing, epoch, next }))
    }

    /// A ticket for one take.
    pub fn ticket(&self, taker: Taker) -> Ticket {
        let kind = match taker {
            Taker::Feeder => 'f',
            Taker::AtOnce => 'o',
        };
        let epoch = self.0.epoch.load(Ordering::Relaxed);
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        Ticket { taker: format!("{}{kind}{epoch}", self.0.replica), number, epoch }
    }

    /// Has whatever was leased under a ticket given back as soon as Redis can be
    /// reached; to be said before the same taker takes again.
    pub fn lost(&self, queue: &QueueName, ticket: Ticket) {
        let next = ticket.epoch + 1;
        // Many are lost together with a connection: one step for all.
        let _ =
            self.0.epoch.compare_exchange(ticket.epoch, next, Ordering::Relaxed, Ordering::Relaxed);
        let (inner, queue) = (Arc::clone(&self.0), queue.clone());
        self.0.tasks.spawn(async move { inner.give_back(&queue, &ticket).await });
    }
}

impl Inner {
    async fn give_back(&self, queue: &QueueName, ticket: &Ticket) {
        let mut call = Store::call(&scripts::UNTAKE, queue, 2, 64);
        ticket.arguments(&mut call);
        let until = Instant::now() + LIMIT;
        let mut ready = self.store.link().ready();
        while Instant::now() < until {
            // Nobody tells any more only while everything is being dropped.
            let _ = ready.wait_for(|ready| *ready).await;
            // To give back twice does no harm.
            if let Ok(dead) = self.store.read(queue, &call).await {
                return self.store.count_dead(queue, values::unsigned(&dead).unwrap_or(0));
            }
            // A service that stops tries once more, at most.
            if self.closing.is_cancelled() {
                break;
            }
            sleep(PAUSE).await;
        }
        tracing::debug!(%queue, "what a lost take leased comes back when its leases end");
    }
}
