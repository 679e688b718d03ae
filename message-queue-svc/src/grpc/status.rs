//! Errors of the engine as clients see them: the one place that maps them.

use std::time::Duration;

use svc_runtime::rpc_error::RpcError;
use tonic::Code;

use crate::error::QueueError;
use crate::model::Durability;

/// The domain of all reasons.
pub const DOMAIN: &str = "messagequeue.v1";

/// When a full queue or a Redis that is away is worth another try.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// Begins an error of this service.
pub fn error(code: Code, reason: &'static str, message: impl Into<String>) -> RpcError {
    RpcError::new(code, reason, DOMAIN, message)
}

/// Maps an error to what a client gets.
pub fn of(engine_error: &QueueError) -> RpcError {
    match engine_error {
        QueueError::QueueNotFound(queue) => error(
            Code::NotFound,
            "QUEUE_NOT_FOUND",
            format!("queue {queue} does not exist; create it with CreateQueue"),
        )
        .fact("queue", queue),
        QueueError::MessageNotFound(id) => error(
            Code::NotFound,
            "MESSAGE_NOT_FOUND",
            "there is no such message that expects a reply, or its reply is no longer kept; check queue and message_id",
        )
        .fact("message_id", id),
        QueueError::AlreadyExists(queue) => error(
            Code::AlreadyExists,
            "ALREADY_EXISTS",
            format!("queue {queue} exists with other settings; change them with UpdateQueue"),
        )
        .fact("queue", queue),
        QueueError::BadSettings { field, problem } => {
            RpcError::wrong(DOMAIN, format!("settings.{field}"), *problem)
        }
        QueueError::IdReused { index } => error(
            Code::AlreadyExists,
            "ID_REUSED",
            format!(
                "the dedup_key of messages[{index}] was used for another content; use a new key, or send the same again as it was"
            ),
        )
        .fact("index", index),
        QueueError::QueueFull(queue) => error(
            Code::ResourceExhausted,
            "QUEUE_FULL",
            format!("queue {queue} holds as many messages as it may; nothing was sent, try again later"),
        )
        .fact("queue", queue)
        .retry_after(RETRY_SOON),
        QueueError::LeaseLost => error(
            Code::FailedPrecondition,
            "LEASE_LOST",
            "the lease of this receipt ran out or was given up; the message is delivered again or was handled by another",
        ),
        QueueError::NoReplyExpected => error(
            Code::FailedPrecondition,
            "NO_REPLY_EXPECTED",
            "the sender of this message does not wait for a reply; use Ack",
        ),
        QueueError::AlreadyReplied => error(
            Code::FailedPrecondition,
            "ALREADY_REPLIED",
            "this message was replied to; nothing is left to do",
        ),
        QueueError::CallTimeout { message_id, withdrawn } => {
            let (state, message) = if *withdrawn {
                ("withdrawn", "no reply in time; nobody had taken the message, and nobody will")
            } else {
                ("in_progress", "no reply in time; the message is or will be handled, ask for its reply with GetReply")
            };
            error(Code::DeadlineExceeded, "CALL_TIMEOUT", message)
                .fact("message_id", message_id)
                .fact("state", state)
        }
        QueueError::DurabilityUnavailable(durability) => error(
            Code::FailedPrecondition,
            "DURABILITY_UNAVAILABLE",
            format!("{}; nothing was sent", unavailable(*durability)),
        ),
        QueueError::StorageFull => error(
            Code::ResourceExhausted,
            "STORAGE_FULL",
            "the storage is full; nothing was written. Receiving and acking still work",
        ),
        QueueError::RateLimited { retry_after } => error(
            Code::ResourceExhausted,
            "RATE_LIMITED",
            "too much is waiting; nothing was written, try again a little later",
        )
        .retry_after(*retry_after),
        QueueError::StorageUnavailable => error(
            Code::Unavailable,
            "STORAGE_UNAVAILABLE",
            "the storage cannot be reached; nothing was written, try again",
        )
        .retry_after(RETRY_SOON),
        QueueError::ShuttingDown => error(
            Code::Unavailable,
            "SHUTTING_DOWN",
            "this replica is stopping; nothing was written, try another",
        ),
        QueueError::OutcomeUnknown => error(
            Code::Unknown,
            "OUTCOME_UNKNOWN",
            "the connection to the storage was lost on the way: this may or may not have happened; a retry with the same dedup keys or receipts is safe",
        ),
        QueueError::Corrupt => error(
            Code::Internal,
            "INTERNAL",
            "what is stored cannot be understood; the service's log says more",
        ),
    }
}

fn unavailable(durability: Durability) -> &'static str {
    match durability {
        Durability::Memory => "this durability is always available",
        Durability::Fsynced => {
            "this Redis promises no fsync (it needs appendonly, with appendfsync always or Redis 7.2)"
        }
        Durability::Replicated => "no replicas are configured (--redis-min-replicas)",
    }
}
