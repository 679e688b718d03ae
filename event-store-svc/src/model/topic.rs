//! Topics: their settings and figures.

use std::time::Duration;

use super::{Name, Position};

/// How long event ids are remembered unless the topic says otherwise.
pub const DEFAULT_DEDUP_WINDOW: Duration = Duration::from_secs(120);

/// What is kept; the oldest events go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many events.
    pub max_events: Option<u64>,
    /// How old events may get.
    pub max_age: Option<Duration>,
    /// How many bytes of encoded events.
    pub max_bytes: Option<u64>,
    /// Spare what a group has not done yet.
    pub keep_unacknowledged: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_events: None, max_age: None, max_bytes: None, keep_unacknowledged: true }
    }
}

impl Retention {
    /// Whether anything ever goes.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.max_events.is_some() || self.max_age.is_some() || self.max_bytes.is_some()
    }
}

/// How a topic works. In a change, what is absent stays as it is; in a creation, it is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// What is kept.
    pub retention: Option<Retention>,
    /// How long event ids are remembered, at least.
    pub dedup_window: Option<Duration>,
}

/// A topic and its figures.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Name,
    /// What is kept.
    pub retention: Retention,
    /// How long event ids are remembered, at least.
    pub dedup_window: Duration,
    /// Events that are kept.
    pub events: u64,
    /// Position of the oldest event kept.
    pub first: Option<Position>,
    /// Position of the newest event there ever was.
    pub last: Option<Position>,
    /// Sequence of the newest event there ever was.
    pub last_sequence: Option<u64>,
    /// Bytes of the encoded events that are kept.
    pub bytes: u64,
    /// Subjects that have had events.
    pub subjects: u64,
    /// Its consumer groups, sorted.
    pub groups: Vec<Name>,
    /// Appends a second over the last minute.
    pub appended_per_second: f64,
    /// When it was created, since 1970.
    pub created: Duration,
}
