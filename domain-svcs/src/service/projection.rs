//! Projections: state in memory that follows topics. Every replica of a service
//! has its own. It is made of all events, or of a snapshot and what followed.

mod follow;
mod keeper;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde::Serialize;
use svc_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::Code;

use super::clients::{Channel, Clients};
use super::event::Head;
use super::failure::Failure;
use super::position::Positions;
use super::snapshot::{Shelf, Snapshots};
use super::up::Up;
use follow::Follower;
use keeper::Keeper;

/// State made of events.
pub trait Projection: Send + Sync + 'static {
    /// Takes in one event. Events of a topic come in order, each once.
    fn apply(&mut self, event: &Head);

    /// Forgets everything: the events come again from the beginning.
    fn reset(&mut self);
}

/// Where a projection starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    /// At the first event of each topic.
    Beginning,
    /// At what comes next.
    End,
}

/// How a projection came to its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// How far each topic was read.
    pub positions: Positions,
    /// Items that were taken from a snapshot.
    pub restored_items: u64,
    /// Events that were read since this process began.
    pub applied_events: u64,
    /// Snapshots that this process kept.
    pub snapshots_saved: u64,
}

/// Reads a projection. Cheap to clone.
#[derive(Debug)]
pub struct Reader<P> {
    state: Arc<RwLock<P>>,
    progress: watch::Receiver<Progress>,
}

impl<P> Clone for Reader<P> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), progress: self.progress.clone() }
    }
}

impl<P: Projection> Reader<P> {
    /// The state as it is now. Not to be held across an await.
    pub fn state(&self) -> RwLockReadGuard<'_, P> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it came to its state.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until the events up to these positions are in.
    ///
    /// # Errors
    /// When they did not come within `patience`.
    pub async fn seen(&self, positions: &Positions, patience: Duration) -> Result<(), Failure> {
        let mut progress = self.progress.clone();
        let reached = |now: &Progress| {
            let mut wanted = positions.iter();
            wanted.all(|(topic, wanted)| now.positions.get(topic).is_some_and(|at| at >= wanted))
        };
        match tokio::time::timeout(patience, progress.wait_for(reached)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::refused(
                Code::Unavailable,
                "NOT_CAUGHT_UP",
                "the events to wait for did not arrive yet: try again",
            )),
        }
    }
}

/// A projection of topics, and the task that keeps it up to date.
pub fn project<P: Projection>(
    event_store: Channel,
    topics: Vec<&'static str>,
    from: From,
    projection: P,
    up: Up,
    shutdown: Shutdown,
) -> (Reader<P>, impl Future<Output = ()> + Send) {
    let (reader, follower) =
        Follower::new(event_store, topics, from, projection, None, up, shutdown);
    (reader, follower.run())
}

/// The same with snapshots: one after at least `every` events, and one at the end.
pub(super) fn project_kept<P: Snapshots>(
    clients: &Clients,
    topics: Vec<&'static str>,
    every: u64,
    projection: P,
    up: Up,
    shutdown: Shutdown,
) -> (Reader<P>, impl Future<Output = ()> + Send + use<P>) {
    let event_store = clients.event_store.clone();
    let shelf = Shelf::new(clients.name, P::VERSION, event_store.clone());
    let keeper = Keeper::new(shelf, every);
    let (reader, follower) =
        Follower::new(event_store, topics, From::Beginning, projection, Some(keeper), up, shutdown);
    (reader, follower.run())
}
