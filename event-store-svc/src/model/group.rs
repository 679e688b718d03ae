//! Consumer groups: settings, figures, deliveries and what becomes of them.

use std::time::Duration;

use super::{Name, Position, Receipt, Start, StoredEvent};

/// Which order a group keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// None.
    #[default]
    None,
    /// A subject's next event only after the one before it is done.
    Subject,
}

/// How a group works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupSettings {
    /// Where it started.
    pub start: Start,
    /// How long a delivery may take.
    pub ack_timeout: Duration,
    /// After how many failures an event is parked.
    pub max_deliveries: u32,
    /// Wait before the first retry.
    pub backoff_initial: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Growth of the wait.
    pub backoff_multiplier: f64,
    /// The order that is kept.
    pub ordering: Ordering,
    /// How many events a consumer may hold.
    pub max_in_flight: u32,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            start: Start::Beginning,
            ack_timeout: Duration::from_secs(30),
            max_deliveries: 5,
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            backoff_multiplier: 2.0,
            ordering: Ordering::None,
            max_in_flight: 256,
        }
    }
}

/// A group and how it does.
#[derive(Clone, Debug)]
pub struct Group {
    /// The topic.
    pub topic: Name,
    /// Its name.
    pub name: Name,
    /// How it works.
    pub settings: GroupSettings,
    /// Events not yet delivered.
    pub lag: u64,
    /// Events delivered and not done.
    pub pending: u64,
    /// How long ago the oldest of them was recorded.
    pub oldest_pending_age: Option<Duration>,
    /// Events set aside.
    pub parked: u64,
    /// Its members.
    pub consumers: Vec<Consumer>,
    /// Acks a second over the last minute.
    pub acked_per_second: f64,
    /// The last position that was delivered.
    pub last_delivered: Option<Position>,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// Events that it holds.
    pub in_flight: u64,
    /// When it was last seen, since 1970.
    pub last_seen: Duration,
}

/// An event handed to a consumer.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event.
    pub event: StoredEvent,
    /// 1 the first time.
    pub delivery_count: u32,
    /// When the lease ends, since 1970.
    pub lease_expires_at: Duration,
    /// The proof of the lease.
    pub receipt: Receipt,
}

/// What to do with an event that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NackAction {
    /// Deliver it again: after the delay, or the group's backoff.
    Retry {
        /// When.
        delay: Option<Duration>,
    },
    /// Set it aside.
    Park,
    /// Count it as done.
    Skip,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// It is done.
    Ack,
    /// It could not be handled.
    Nack {
        /// What to do.
        action: NackAction,
        /// Why.
        reason: String,
    },
    /// It needs more time: so much from now, or the group's `ack_timeout`.
    Extend {
        /// How much.
        by: Option<Duration>,
    },
    /// It was not used: delivered again at once, and not counted as a failure.
    GiveBack,
}

/// An event set aside.
#[derive(Clone, Debug)]
pub struct ParkedEvent {
    /// Its position.
    pub position: Position,
    /// The event, while the topic keeps it.
    pub event: Option<StoredEvent>,
    /// How often its delivery failed.
    pub delivery_count: u32,
    /// Why.
    pub reason: String,
    /// When, since 1970.
    pub parked_at: Duration,
    /// Names it.
    pub receipt: Receipt,
}

/// Which parked events.
#[derive(Clone, Debug)]
pub enum ParkedSelection {
    /// So many of the oldest.
    Oldest(u32),
    /// These.
    Receipts(Vec<Receipt>),
}

/// Where a page of parked events ended: what is parked later follows, whatever became of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedPlace {
    /// When the last one was parked, in milliseconds since 1970.
    pub at: u64,
    /// Which one it was.
    pub position: Position,
}

impl ParkedPlace {
    /// Reads a place.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (at, position) = text.split_once(' ')?;
        Some(Self { at: at.parse().ok()?, position: Position::parse(position)? })
    }
}

impl std::fmt::Display for ParkedPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.at, self.position)
    }
}
