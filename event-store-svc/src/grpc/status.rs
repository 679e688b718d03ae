//! Errors of the store as clients see them: the one place that maps them.

use svc_runtime::malformed;
use svc_runtime::rpc_error::RpcError;
use tonic::{Code, Status};

use crate::error::StoreError;
use crate::model::Durability;

/// The domain of all reasons.
pub const DOMAIN: &str = "eventstore.v1";

/// Begins an error of this service.
pub fn error(code: Code, reason: &'static str, message: impl Into<String>) -> RpcError {
    RpcError::new(code, reason, DOMAIN, message)
}

/// What to say of a request of a stream that could not be read.
pub fn unread(refused: Status) -> Status {
    malformed::explain(DOMAIN, refused)
}

/// Maps an error to what a client gets.
pub fn of(error_of_store: &StoreError) -> RpcError {
    match error_of_store {
        StoreError::TopicNotFound(topic) => error(
            Code::NotFound,
            "TOPIC_NOT_FOUND",
            format!("topic {topic} does not exist; append to it or create it first"),
        )
        .fact("topic", topic),
        StoreError::GroupNotFound { topic, group } => error(
            Code::NotFound,
            "GROUP_NOT_FOUND",
            format!("group {group} of topic {topic} does not exist; create it with CreateGroup"),
        )
        .fact("topic", topic)
        .fact("group", group),
        StoreError::SnapshotNotFound { topic, subject } => error(
            Code::NotFound,
            "SNAPSHOT_NOT_FOUND",
            format!("subject {subject} of topic {topic} has no snapshot"),
        )
        .fact("topic", topic)
        .fact("subject", subject),
        StoreError::AlreadyExists(what) => error(
            Code::AlreadyExists,
            "ALREADY_EXISTS",
            format!("{what} exists with other settings; change them with an update"),
        ),
        StoreError::RevisionConflict { subject, expected, actual } => error(
            Code::Aborted,
            "REVISION_CONFLICT",
            format!(
                "subject {subject} was expected at {expected} and is at {actual}; read it again and decide anew"
            ),
        )
        .fact("subject", subject)
        .fact("expected", expected)
        .fact("actual", actual),
        StoreError::IdReused(id) => error(
            Code::AlreadyExists,
            "ID_REUSED",
            format!(
                "event id {id} was used in another append; use a new id, or send the same events again as they were"
            ),
        )
        .fact("id", id),
        StoreError::PositionBeyondHead { topic, position, head } => {
            let head = head.map(|head| head.to_string());
            let known = head.as_deref().unwrap_or("no event");
            let rpc = error(
                Code::OutOfRange,
                "POSITION_BEYOND_HEAD",
                format!(
                    "topic {topic} ends at {known}, before {position}: data was lost behind it; start again from the beginning or the end"
                ),
            )
            .fact("topic", topic)
            .fact("position", position);
            match head {
                Some(head) => rpc.fact("head_position", head),
                None => rpc,
            }
        }
        StoreError::PositionTrimmed { topic, position, first } => {
            let rpc = error(
                Code::OutOfRange,
                "POSITION_TRIMMED",
                format!(
                    "events of topic {topic} after {position} are no longer kept; start at the first one that is left"
                ),
            )
            .fact("topic", topic)
            .fact("position", position);
            match first {
                Some(first) => rpc.fact("first_position", first),
                None => rpc,
            }
        }
        StoreError::SnapshotBeyondSubject { last } => {
            let last = last.map_or("none".to_owned(), |last| last.to_string());
            let description = format!("must be at most the subject's last revision, which is {last}");
            RpcError::wrong(DOMAIN, "revision", description).fact("last_revision", last)
        }
        StoreError::DurabilityUnavailable(durability) => {
            let (name, remedy) = match durability {
                Durability::Replicated => (
                    "DURABILITY_REPLICATED",
                    "connect replicas and set --redis-min-replicas",
                ),
                Durability::Fsynced | Durability::Memory => (
                    "DURABILITY_FSYNCED",
                    "run Redis with appendonly yes, and appendfsync always or a version with WAITAOF",
                ),
            };
            error(
                Code::FailedPrecondition,
                "DURABILITY_UNAVAILABLE",
                format!("this Redis cannot give {name}; ask for less, or {remedy}"),
            )
            .fact("durability", name)
        }
        StoreError::StorageFull => error(
            Code::ResourceExhausted,
            "STORAGE_FULL",
            "the storage is full and nothing was written; set retention, truncate topics or add memory",
        ),
        StoreError::RateLimited { retry_after } => error(
            Code::ResourceExhausted,
            "RATE_LIMITED",
            "too much is waiting for this topic and nothing was written; retry later, or use AppendStream",
        )
        .retry_after(*retry_after),
        StoreError::StorageUnavailable => error(
            Code::Unavailable,
            "STORAGE_UNAVAILABLE",
            "the storage cannot be reached and nothing was written; retry",
        ),
        StoreError::TopicDeleting(topic) => error(
            Code::Unavailable,
            "STORAGE_UNAVAILABLE",
            format!(
                "topic {topic} is being deleted and nothing was written; retry, and if this stays, call DeleteTopic again"
            ),
        )
        .fact("topic", topic),
        StoreError::ShuttingDown => error(
            Code::Unavailable,
            "SHUTTING_DOWN",
            "this replica is shutting down; connect again and go on where you were",
        ),
        StoreError::OutcomeUnknown => error(
            Code::Unknown,
            "OUTCOME_UNKNOWN",
            "it may or may not have been written; retry with the same ids",
        ),
        StoreError::LeaseLost => error(
            Code::FailedPrecondition,
            "LEASE_LOST",
            "the lease of this receipt ran out or was given up; the event is or was delivered again",
        ),
        StoreError::Corrupt => {
            error(Code::Internal, "INTERNAL", "the service failed; its log says more")
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        of(&error).into()
    }
}
