//! Requests as the domain's types, or what is wrong with them, field by field.

use std::time::Duration;

use proto::server::messagequeue::v1 as pb;
use svc_runtime::rpc_error::RpcError;

use super::status;
use crate::model::settings::{MAX_LEASE, MIN_LEASE};
use crate::model::{Durability, MessageId, QueueName, Receipt, SettingsChange};

/// The most items in a request.
pub const MAX_ITEMS: usize = 1_000;
/// The longest wait of a long poll.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// The longest reason of a nack.
const MAX_REASON: usize = 1_024;

/// What is wrong with a request.
#[derive(Debug, Default)]
pub struct Violations {
    list: Vec<(String, String)>,
    reason: Option<&'static str>,
}

impl Violations {
    /// Notes a field.
    pub fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.list.push((field.into(), problem.into()));
        self.reason = Some("INVALID_ARGUMENT");
    }

    /// Notes a field, with a reason of its own if nothing else is wrong.
    pub fn add_as(
        &mut self,
        reason: &'static str,
        field: impl Into<String>,
        problem: impl Into<String>,
    ) {
        self.list.push((field.into(), problem.into()));
        let same = self.reason.is_none_or(|known| known == reason);
        self.reason = Some(if same { reason } else { "INVALID_ARGUMENT" });
    }

    /// The value, unless something is wrong; it is there then.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, RpcError> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => Err(status::invalid_as(self.reason.unwrap_or("INVALID_ARGUMENT"), self.list)),
        }
    }
}

/// A queue's name.
pub fn queue(name: &str) -> Result<QueueName, RpcError> {
    let mut wrong = Violations::default();
    let queue = queue_in(&mut wrong, "queue", name);
    wrong.finish(queue)
}

/// A queue's name among other fields.
pub fn queue_in(wrong: &mut Violations, field: &str, name: &str) -> Option<QueueName> {
    let queue = QueueName::parse(name);
    if queue.is_none() {
        wrong.add_as("INVALID_NAME", field, QueueName::RULE);
    }
    queue
}

/// A message's id.
pub fn message_id(wrong: &mut Violations, text: &str) -> Option<MessageId> {
    let id = MessageId::parse(text);
    if id.is_none() {
        wrong.add("message_id", "must be an id that a send answered");
    }
    id
}

/// How far a write must get.
pub fn durability(wrong: &mut Violations, value: i32) -> Durability {
    match pb::Durability::try_from(value) {
        Ok(pb::Durability::Unspecified) => Durability::Memory,
        Ok(pb::Durability::Fsynced) => Durability::Fsynced,
        Ok(pb::Durability::Replicated) => Durability::Replicated,
        Err(_) => {
            wrong.add("durability", "must be one of the known values");
            Durability::Memory
        }
    }
}

/// A duration that is not negative.
pub fn duration(
    wrong: &mut Violations,
    field: &str,
    value: Option<prost_types::Duration>,
) -> Option<Duration> {
    let value = value?;
    let valid = value.seconds >= 0 && (0..1_000_000_000).contains(&value.nanos);
    let (Ok(seconds), Ok(nanos), true) =
        (u64::try_from(value.seconds), u32::try_from(value.nanos), valid)
    else {
        wrong.add(field, "must be a duration of at least 0");
        return None;
    };
    Some(Duration::new(seconds, nanos))
}

/// A duration within a range.
pub fn duration_within(
    wrong: &mut Violations,
    field: &str,
    value: Option<prost_types::Duration>,
    range: std::ops::RangeInclusive<Duration>,
) -> Option<Duration> {
    let value = duration(wrong, field, value)?;
    if !range.contains(&value) {
        let (least, most) = (range.start(), range.end());
        let (least, most) = (humantime::format_duration(*least), humantime::format_duration(*most));
        wrong.add(field, format!("must be {least} to {most}"));
    }
    Some(value)
}

/// How long a caller may take.
pub fn lease(
    wrong: &mut Violations,
    field: &str,
    value: Option<prost_types::Duration>,
) -> Option<Duration> {
    duration_within(wrong, field, value, MIN_LEASE..=MAX_LEASE)
}

/// How long to wait; not at all if absent.
pub fn wait(wrong: &mut Violations, value: Option<prost_types::Duration>) -> Duration {
    duration_within(wrong, "wait", value, Duration::ZERO..=MAX_WAIT).unwrap_or_default()
}

/// How many, in a range.
pub fn count(
    wrong: &mut Violations,
    field: &str,
    value: Option<u32>,
    default: usize,
    most: usize,
) -> usize {
    let value = value.map_or(default, |value| usize::try_from(value).unwrap_or(usize::MAX));
    if !(1..=most).contains(&value) {
        wrong.add(field, format!("must be 1 to {most}"));
    }
    value
}

/// The size of a page: what asks for more than there is on one gets a full one.
pub fn page_size(wrong: &mut Violations, value: i32) -> usize {
    match usize::try_from(value) {
        Ok(0) => 100,
        Ok(size) => size.min(1_000),
        Err(_) => {
            wrong.add("page_size", "must not be negative");
            0
        }
    }
}

/// Receipts: how many there are is the request's fault, what they say is each one's own.
pub fn receipts(
    wrong: &mut Violations,
    queue: Option<&QueueName>,
    texts: Vec<String>,
) -> Vec<(String, Option<Receipt>)> {
    if texts.is_empty() {
        wrong.add("receipts", "must name 1 to 1,000 receipts");
    } else if texts.len() > MAX_ITEMS {
        wrong.add_as("TOO_MANY_ITEMS", "receipts", "must be 1,000 at most");
        return Vec::new();
    }
    let read = |text: String| {
        let receipt = queue.and_then(|queue| Receipt::parse(queue, &text));
        (text, receipt)
    };
    texts.into_iter().map(read).collect()
}

/// Why something was nacked.
pub fn reason(wrong: &mut Violations, reason: &str) {
    if reason.len() > MAX_REASON {
        wrong.add("reason", "must be 1,024 bytes at most");
    }
}

/// What a request says about settings.
pub fn settings(wrong: &mut Violations, settings: Option<pb::QueueSettings>) -> SettingsChange {
    let settings = settings.unwrap_or_default();
    let backoff = settings.retry_backoff.unwrap_or_default();
    let mut duration_of = |field: &str, value| duration(wrong, &format!("settings.{field}"), value);
    let change = SettingsChange {
        lease: duration_of("lease", settings.lease),
        max_attempts: settings.max_attempts,
        backoff_initial: duration_of("retry_backoff.initial", backoff.initial),
        backoff_max: duration_of("retry_backoff.max", backoff.max),
        backoff_multiplier: backoff.multiplier,
        message_retention: duration_of("message_retention", settings.message_retention),
        max_messages: settings.max_messages,
        dedup_window: duration_of("dedup_window", settings.dedup_window),
        reply_retention: duration_of("reply_retention", settings.reply_retention),
        max_in_flight: settings.max_in_flight,
        max_rate: settings.max_rate,
    };
    for (field, problem) in change.problems() {
        wrong.add(format!("settings.{field}"), problem);
    }
    change
}
