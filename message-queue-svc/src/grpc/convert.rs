//! The domain's types as answers.

use std::time::Duration;

use proto::server::messagequeue::v1 as pb;
use svc_runtime::rpc_error::RpcError;

use super::status;
use crate::error::QueueError;
use crate::model::{Durability, MessageId, QueueName, QueueSettings};
use crate::queue::{DeadLetter, DeadReason, Lease, PeekState, Peeked, QueueInfo, SendOutcome};

/// A time, from ms since 1970.
pub fn timestamp(ms: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000,
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// The answer to a send.
pub fn sent(outcomes: Vec<SendOutcome>, durability: Durability) -> pb::SendResponse {
    let result = |outcome: SendOutcome| pb::SendResult {
        message_id: outcome.message_id,
        deduplicated: outcome.deduplicated,
    };
    let durability = match durability {
        Durability::Memory => pb::Durability::Unspecified,
        Durability::Fsynced => pb::Durability::Fsynced,
        Durability::Replicated => pb::Durability::Replicated,
    };
    pb::SendResponse {
        results: outcomes.into_iter().map(result).collect(),
        durability: durability.into(),
    }
}

/// A leased message.
pub fn delivery(queue: &QueueName, lease: Lease) -> pb::Delivery {
    let expects_reply =
        MessageId::parse(lease.receipt.message_id()).is_some_and(|id| id.expects_reply());
    pb::Delivery {
        receipt: lease.receipt.text(queue),
        attempt: lease.receipt.failures().saturating_add(1),
        sent_at: Some(timestamp(lease.sent_at_ms)),
        lease_expires_at: Some(timestamp(lease.expires_at_ms)),
        expects_reply,
        message: lease.message,
    }
}

/// What became of a receipt.
pub fn outcome(receipt: String, result: Result<(), QueueError>) -> pb::Outcome {
    pb::Outcome { receipt, error: result.err().map(|error| status::of(&error).into()) }
}

/// What is said of something that is no receipt.
pub fn no_receipt(receipt: String) -> pb::Outcome {
    let problem = "is no receipt of this queue; use it as it was delivered";
    let error = RpcError::wrong(status::DOMAIN, "receipts", problem);
    pb::Outcome { receipt, error: Some(error.into()) }
}

/// A queue with its figures.
#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
pub fn queue(name: &QueueName, info: &QueueInfo) -> pb::Queue {
    pb::Queue {
        queue: name.to_string(),
        settings: Some(settings(&info.settings)),
        ready: info.ready,
        in_flight: info.in_flight,
        delayed: info.delayed,
        dead_letters: info.dead_letters,
        oldest_age: info.oldest_age.map(duration),
        sent_per_second: info.sent_last_minute as f64 / 60.0,
        acked_per_second: info.acked_last_minute as f64 / 60.0,
        consumers: info.consumers,
        paused: info.paused,
        created_at: Some(timestamp(info.created_at_ms)),
    }
}

fn settings(settings: &QueueSettings) -> pb::QueueSettings {
    pb::QueueSettings {
        lease: Some(duration(settings.lease)),
        max_attempts: Some(settings.max_attempts),
        retry_backoff: Some(pb::Backoff {
            initial: Some(duration(settings.backoff_initial)),
            max: Some(duration(settings.backoff_max)),
            multiplier: Some(settings.backoff_multiplier),
        }),
        message_retention: settings.message_retention.map(duration),
        max_messages: settings.max_messages,
        dedup_window: Some(duration(settings.dedup_window)),
        reply_retention: Some(duration(settings.reply_retention)),
        max_in_flight: settings.max_in_flight,
        max_rate: settings.max_rate,
    }
}

/// A message that was looked at.
pub fn peeked(state: PeekState, peeked: Peeked) -> pb::PeekedMessage {
    let state = match state {
        PeekState::Ready => pb::MessageState::Ready,
        PeekState::Delayed => pb::MessageState::Delayed,
        PeekState::InFlight => pb::MessageState::InFlight,
    };
    pb::PeekedMessage {
        message: peeked.message,
        state: state.into(),
        sent_at: Some(timestamp(peeked.sent_at_ms)),
        due_at: peeked.due_at_ms.map(timestamp),
        failed_attempts: peeked.failures,
    }
}

/// A dead letter.
pub fn dead_letter(letter: DeadLetter) -> pb::DeadLetter {
    let reason = match letter.reason {
        DeadReason::MaxAttempts => pb::DeadLetterReason::MaxAttempts,
        DeadReason::Expired => pb::DeadLetterReason::Expired,
        DeadReason::Rejected => pb::DeadLetterReason::Rejected,
    };
    pb::DeadLetter {
        message: letter.message,
        reason: reason.into(),
        attempts: letter.attempts,
        last_error: letter.last_error,
        sent_at: Some(timestamp(letter.sent_at_ms)),
        dead_at: Some(timestamp(letter.dead_at_ms)),
    }
}
