//! What can go wrong, as one closed set. `grpc/status.rs` maps each to a status and a reason.

use std::time::Duration;

use crate::model::{Durability, Name, Position};

impl StoreError {
    /// Whether an append that failed so may yet succeed, or has, when it is repeated.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::StorageUnavailable
                | Self::TopicDeleting(_)
                | Self::ShuttingDown
                | Self::OutcomeUnknown
        )
    }
}

/// Why an operation was refused or failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The topic does not exist.
    #[error("topic {0} not found")]
    TopicNotFound(Name),

    /// The group does not exist.
    #[error("group {group} of topic {topic} not found")]
    GroupNotFound {
        /// The topic.
        topic: Name,
        /// The group.
        group: Name,
    },

    /// The subject has no snapshot.
    #[error("no snapshot of {subject} in topic {topic}")]
    SnapshotNotFound {
        /// The topic.
        topic: Name,
        /// The subject.
        subject: String,
    },

    /// The topic or group exists with other settings.
    #[error("{0} exists with other settings")]
    AlreadyExists(String),

    /// A subject is not as expected; nothing was appended.
    #[error("subject {subject}: expected {expected}, is {actual}")]
    RevisionConflict {
        /// The subject.
        subject: String,
        /// What was expected: a revision, `no_events` or `exists`.
        expected: String,
        /// What it is: a revision or `no_events`.
        actual: String,
    },

    /// An event id is known with other content; nothing was appended.
    #[error("event id {0} was used with other content")]
    IdReused(String),

    /// The topic never reached the position.
    #[error("topic {topic} has not reached {position}")]
    PositionBeyondHead {
        /// The topic.
        topic: Name,
        /// The position, or a sequence.
        position: String,
        /// The newest position there is.
        head: Option<Position>,
    },

    /// Events after the position are no longer kept.
    #[error("topic {topic}: events after {position} are gone")]
    PositionTrimmed {
        /// The topic.
        topic: Name,
        /// The position, sequence or revision.
        position: String,
        /// The oldest position that is left.
        first: Option<Position>,
    },

    /// A snapshot's revision is beyond its subject's last.
    #[error("snapshot beyond revision {last:?}")]
    SnapshotBeyondSubject {
        /// The subject's last revision.
        last: Option<u64>,
    },

    /// This Redis cannot give the durability.
    #[error("durability {0:?} is not available")]
    DurabilityUnavailable(Durability),

    /// Redis is full; nothing was written.
    #[error("storage is full")]
    StorageFull,

    /// Too much is waiting; nothing was written.
    #[error("too much is waiting")]
    RateLimited {
        /// When a retry makes sense.
        retry_after: Duration,
    },

    /// Redis cannot be reached; nothing was written.
    #[error("storage is unavailable")]
    StorageUnavailable,

    /// The topic is being deleted; nothing was written.
    #[error("topic {0} is being deleted")]
    TopicDeleting(Name),

    /// The service is stopping; nothing was written.
    #[error("shutting down")]
    ShuttingDown,

    /// It may or may not have been written.
    #[error("the outcome is unknown")]
    OutcomeUnknown,

    /// A lease went to someone else or ran out.
    #[error("the lease was lost")]
    LeaseLost,

    /// What is stored is not what the service wrote: a bug, or somebody else's keys.
    #[error("stored data cannot be read")]
    Corrupt,
}
