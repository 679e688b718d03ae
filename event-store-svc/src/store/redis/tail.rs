//! Tailing: one reader per topic, however many subscribers. What this replica appends is handed to
//! it; of what others append the bell says that there is more, and one XRANGE reads it. The same
//! encoded bytes go to all subscribers through a bounded ring.

mod handed;
mod reader;

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{broadcast, watch};

pub use self::handed::{Epoch, Handing};

use self::handed::Handed;
use self::reader::Reader;
use super::RedisStore;
use crate::error::StoreError;
use crate::model::{Name, Position};
use crate::store::{Result, SharedEvent};

/// Pages that a subscriber may be behind before it has to read for itself.
const RING: usize = 64;

/// Events, in order, for everybody.
pub type Shared = Arc<[SharedEvent]>;

/// The tails of this replica.
#[derive(Debug, Default)]
pub struct Tails {
    tails: DashMap<Name, Arc<Tail>>,
}

impl Tails {
    /// To be asked before an append, so that its outcome can be handed to the tail of its topic, if
    /// there is one.
    pub fn handing(&self, topic: &Name) -> Option<Handing> {
        self.tails.get(topic).map(|tail| Handing::new(tail.clone()))
    }
}

/// What subscribers of a topic share.
#[derive(Debug)]
pub struct Tail {
    ring: broadcast::Sender<Shared>,
    progress: watch::Sender<Progress>,
    handed: Handed,
}

/// How far a tail got.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It does not know yet where the topic ends.
    Starting,
    /// Everything up to here is in the ring, or was there before the ring.
    At(Position),
    /// It is over.
    Ended(StoreError),
}

/// A place in the ring.
#[derive(Debug)]
pub struct Subscription {
    /// Everything after the head at the time of the subscription.
    pub live: broadcast::Receiver<Shared>,
    /// How far the tail got.
    pub progress: watch::Receiver<Progress>,
    /// Weak, so that `live` closes when the tail is over.
    ring: broadcast::WeakSender<Shared>,
}

impl Subscription {
    /// Where the topic ended at some moment after this subscription began: what comes later is in
    /// `live`.
    pub async fn head(&mut self) -> Result<Position> {
        let known =
            self.progress.wait_for(|progress| !matches!(progress, Progress::Starting)).await;
        match known.as_deref() {
            Ok(Progress::At(head)) => Ok(*head),
            Ok(Progress::Ended(error)) => Err(error.clone()),
            Ok(Progress::Starting) | Err(_) => Err(StoreError::StorageUnavailable),
        }
    }

    /// Why there is no more.
    pub fn end(&self) -> StoreError {
        match &*self.progress.borrow() {
            Progress::Ended(error) => error.clone(),
            Progress::Starting | Progress::At(_) => StoreError::StorageUnavailable,
        }
    }

    /// Takes a new place, at the end of the ring; when the tail is over, `live` says so later.
    pub fn renew(&mut self) {
        if let Some(ring) = self.ring.upgrade() {
            self.live = ring.subscribe();
        }
    }
}

impl RedisStore {
    /// A place in the ring of a topic, which need not exist yet.
    pub(super) fn subscribe(&self, topic: &Name) -> Subscription {
        let subscription = |tail: &Arc<Tail>| Subscription {
            live: tail.ring.subscribe(),
            progress: tail.progress.subscribe(),
            ring: tail.ring.downgrade(),
        };
        let mut tail =
            self.tails.tails.entry(topic.clone()).or_insert_with(|| self.start_tail(topic));
        if matches!(*tail.progress.borrow(), Progress::Ended(_)) {
            *tail = self.start_tail(topic);
        }
        subscription(&tail)
    }

    /// The newest position that the tail of a topic knows.
    pub(super) fn tail_head(&self, topic: &Name) -> Option<Position> {
        match *self.tails.tails.get(topic)?.progress.borrow() {
            Progress::At(head) if head > Position::ZERO => Some(head),
            _ => None,
        }
    }

    fn start_tail(&self, topic: &Name) -> Arc<Tail> {
        let tail = Arc::new(Tail {
            ring: broadcast::Sender::new(RING),
            progress: watch::Sender::new(Progress::Starting),
            handed: Handed::default(),
        });
        let reader = Reader::new(self.clone(), topic.clone(), tail.clone());
        let bell = self.link.bells().subscribe(&self.keys(topic).bell());
        tokio::spawn(reader.run(bell));
        tail
    }
}
