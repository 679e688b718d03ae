//! Requests as the domain's types, or what is wrong with them, field by field.

use std::time::Duration;

use proto::server::messagequeue::v1 as pb;
use svc_runtime::checks::{Checks, MAX_ITEMS, MAX_LEASE};
use svc_runtime::rpc_error::RpcError;

use super::status::DOMAIN;
use crate::model::settings::{MAX_KEPT, MIN_LEASE};
use crate::model::{Durability, MessageId, QueueName, Receipt, SettingsChange};

/// The longest wait of a long poll.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// The longest reason of a nack.
const MAX_REASON: usize = 1_024;
/// The longest dedup window and reply retention.
const DAY: Duration = Duration::from_secs(86_400);
/// The shortest message and reply retention.
const SECOND: Duration = Duration::from_secs(1);

/// Begins the checks of a request.
pub fn begin() -> Checks {
    Checks::of(DOMAIN)
}

/// A queue's name.
pub fn queue(name: &str) -> Result<QueueName, RpcError> {
    let mut checks = begin();
    let queue = queue_in(&mut checks, "queue", name);
    checks.done(queue)
}

/// A queue's name among other fields.
pub fn queue_in(checks: &mut Checks, field: &str, name: &str) -> Option<QueueName> {
    let queue = QueueName::parse(name);
    if queue.is_none() {
        checks.because("INVALID_NAME", field, QueueName::RULE);
    }
    queue
}

/// A message's id.
pub fn message_id(checks: &mut Checks, text: &str) -> Option<MessageId> {
    let id = MessageId::parse(text);
    if id.is_none() {
        checks.wrong("message_id", "must be an id that a send answered");
    }
    id
}

/// How far a write must get.
pub fn durability(checks: &mut Checks, value: i32) -> Durability {
    match pb::Durability::try_from(value) {
        Ok(pb::Durability::Unspecified) => Durability::Memory,
        Ok(pb::Durability::Fsynced) => Durability::Fsynced,
        Ok(pb::Durability::Replicated) => Durability::Replicated,
        Err(_) => {
            checks.wrong("durability", "must be one of the known values");
            Durability::Memory
        }
    }
}

/// How long a caller may take.
pub fn lease(
    checks: &mut Checks,
    field: &str,
    value: Option<prost_types::Duration>,
) -> Option<Duration> {
    checks.duration(field, value, MIN_LEASE..=MAX_LEASE)
}

/// How long to wait; not at all if absent.
pub fn wait(checks: &mut Checks, value: Option<prost_types::Duration>) -> Duration {
    checks.duration("wait", value, Duration::ZERO..=MAX_WAIT).unwrap_or_default()
}

/// How many, in a range.
pub fn count(
    checks: &mut Checks,
    field: &str,
    value: Option<u32>,
    default: u32,
    most: u32,
) -> usize {
    let value = checks.number(field, value, 1..=most).unwrap_or(default);
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// How many a second.
pub fn rate(checks: &mut Checks, field: &str, value: Option<f64>) {
    if value.is_some_and(|rate| !(0.001..=1e9).contains(&rate)) {
        checks.wrong(field, "must be 0.001 to 1,000,000,000");
    }
}

/// Receipts: how many there are is the request's fault, what they say is each one's own.
pub fn receipts(
    checks: &mut Checks,
    queue: Option<&QueueName>,
    texts: Vec<String>,
) -> Vec<(String, Option<Receipt>)> {
    if !checks.length("receipts", texts.len(), MAX_ITEMS) {
        return Vec::new();
    }
    let read = |text: String| {
        let receipt = queue.and_then(|queue| Receipt::parse(queue, &text));
        (text, receipt)
    };
    texts.into_iter().map(read).collect()
}

/// Why something was nacked.
pub fn reason(checks: &mut Checks, reason: &str) {
    if reason.len() > MAX_REASON {
        checks.wrong("reason", "must be 1,024 bytes at most");
    }
}

/// What a request says about settings.
pub fn settings(checks: &mut Checks, settings: Option<pb::QueueSettings>) -> SettingsChange {
    let settings = settings.unwrap_or_default();
    let pb::Backoff { initial, max, multiplier } = settings.retry_backoff.unwrap_or_default();
    let backoff = checks.backoff("settings.retry_backoff", initial, max, multiplier);
    let lease = lease(checks, "settings.lease", settings.lease);
    let retention = "settings.message_retention";
    let for_ever = settings.message_retention == Some(prost_types::Duration::default());
    let window = Duration::ZERO..=DAY;
    if settings.max_rate != Some(0.0) {
        rate(checks, "settings.max_rate", settings.max_rate);
    }
    SettingsChange {
        lease,
        max_attempts: checks.number("settings.max_attempts", settings.max_attempts, 1..=1_000),
        backoff_initial: backoff.initial,
        backoff_max: backoff.max,
        backoff_multiplier: backoff.multiplier,
        message_retention: if for_ever {
            Some(Duration::ZERO)
        } else {
            checks.duration(retention, settings.message_retention, SECOND..=MAX_KEPT)
        },
        max_messages: settings.max_messages,
        dedup_window: checks.duration("settings.dedup_window", settings.dedup_window, window),
        reply_retention: checks.duration(
            "settings.reply_retention",
            settings.reply_retention,
            SECOND..=DAY,
        ),
        max_in_flight: settings.max_in_flight,
        max_rate: settings.max_rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_by_name() {
        let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let fields_of = |asked: pb::QueueSettings| {
            let mut checks = begin();
            settings(&mut checks, Some(asked));
            let wrong = checks.done(Some(())).err().map(|error| error.violations);
            let fields = wrong.unwrap_or_default().into_iter();
            fields.map(|(field, _)| field.replace("settings.", "")).collect::<Vec<_>>()
        };
        let wrong = pb::QueueSettings {
            lease: duration(0, 999_000_000),
            max_attempts: Some(0),
            retry_backoff: Some(pb::Backoff { multiplier: Some(f64::NAN), ..Default::default() }),
            message_retention: duration(90 * 86_400, 1),
            dedup_window: duration(86_400, 1),
            reply_retention: duration(0, 0),
            max_rate: Some(f64::NAN),
            ..Default::default()
        };
        let mut fields = fields_of(wrong);
        fields.sort();
        assert_eq!(
            fields,
            [
                "dedup_window",
                "lease",
                "max_attempts",
                "max_rate",
                "message_retention",
                "reply_retention",
                "retry_backoff.multiplier"
            ]
        );
        let without_limits = pb::QueueSettings {
            message_retention: duration(0, 0),
            dedup_window: duration(0, 0),
            max_rate: Some(0.0),
            ..Default::default()
        };
        assert_eq!(fields_of(without_limits), Vec::<String>::new());
    }
}
