//! What can go wrong, as one closed set. `grpc/status.rs` maps each to a status and a reason.

use std::time::Duration;

use crate::model::{Durability, QueueName};

/// Why an operation was refused or failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueueError {
    /// The queue does not exist.
    #[error("queue {0} not found")]
    QueueNotFound(QueueName),

    /// There is no such message that expects a reply, or its reply is no longer kept.
    #[error("message {0} not found")]
    MessageNotFound(String),

    /// The queue exists with other settings.
    #[error("queue {0} exists with other settings")]
    AlreadyExists(QueueName),

    /// A settings change leads to settings that contradict each other.
    #[error("{field} {problem}")]
    BadSettings {
        /// Which setting.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A dedup key is known with other content; nothing was sent.
    #[error("dedup key of message {index} was used with other content")]
    IdReused {
        /// Which message of the request.
        index: usize,
    },

    /// The queue holds as many messages as it may; nothing was sent.
    #[error("queue {0} is full")]
    QueueFull(QueueName),

    /// A receipt's lease ran out or went to someone else.
    #[error("the lease was lost")]
    LeaseLost,

    /// The message expects no reply.
    #[error("the message expects no reply")]
    NoReplyExpected,

    /// The message was replied to before.
    #[error("the message has a reply")]
    AlreadyReplied,

    /// No reply came in time.
    #[error("no reply in time")]
    CallTimeout {
        /// The message.
        message_id: String,
        /// Whether nobody had taken it, and nobody will.
        withdrawn: bool,
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

    /// The service is stopping; nothing was written.
    #[error("shutting down")]
    ShuttingDown,

    /// It may or may not have been written.
    #[error("the outcome is unknown")]
    OutcomeUnknown,

    /// What is stored is not what the service wrote: a bug, or somebody else's keys.
    #[error("stored data cannot be read")]
    Corrupt,
}
