//! Messages and replies on their way in.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use proto::messagequeue::v1 as full;
use proto::server::messagequeue::v1 as pb;
use svc_observe::context::{self, TRACEPARENT, TRACESTATE};
use svc_runtime::checks::Checks;
use svc_runtime::names;
use xxhash_rust::xxh3::Xxh3;

use crate::model::message::Dedup;
use crate::model::settings::MAX_KEPT;
use crate::model::{Outgoing, Priority};

/// The field number of `Message.headers`.
const HEADERS: u32 = 4;
const MAX_TYPE: usize = 256;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_KEY: usize = 256;
const MAX_HEADER_VALUE: usize = 4_096;
const MAX_KEY: usize = 256;

/// What puts the trace of this request into its messages, for [`outgoing`] and [`call`]. Nothing
/// where none is recorded.
pub fn trace() -> Bytes {
    context::map_entries(HEADERS)
}

/// A message with its options, at `messages[index]`.
pub fn outgoing(
    checks: &mut Checks,
    index: usize,
    outgoing: pb::OutgoingMessage,
    max_bytes: usize,
    trace: &Bytes,
) -> Outgoing {
    let at = |field: &str| format!("messages[{index}].{field}");
    let content = message(checks, &at("message"), &outgoing.message, max_bytes);
    let priority = match pb::Priority::try_from(outgoing.priority) {
        Ok(pb::Priority::Low) => Priority::Low,
        Ok(pb::Priority::Unspecified | pb::Priority::Normal) => Priority::Normal,
        Ok(pb::Priority::High) => Priority::High,
        Err(_) => {
            checks.wrong(at("priority"), "must be one of the known values");
            Priority::Normal
        }
    };
    let (mut delay, mut deliver_at_ms) = (None, None);
    match outgoing.due {
        Some(pb::outgoing_message::Due::Delay(value)) => {
            delay = checks.duration(&at("delay"), Some(value), Duration::ZERO..=MAX_KEPT);
        }
        Some(pb::outgoing_message::Due::DeliverAt(time)) => {
            deliver_at_ms = deliver_at(checks, &at("deliver_at"), time);
        }
        None => {}
    }
    let time_to_live = checks.duration(
        &at("time_to_live"),
        outgoing.time_to_live,
        Duration::from_millis(1)..=MAX_KEPT,
    );
    let ordering_key = outgoing.ordering_key;
    if ordering_key.as_deref().is_some_and(|key| !names::is_key(key)) {
        checks.wrong(at("ordering_key"), names::KEY_RULE);
    }
    if outgoing.dedup_key.as_ref().is_some_and(|key| !(1..=MAX_KEY).contains(&key.len())) {
        checks.wrong(at("dedup_key"), "must be 1 to 256 bytes");
    }
    let mut made = Outgoing {
        message: traced(outgoing.message, content.as_ref(), trace),
        priority,
        ordering_key,
        expects_reply: outgoing.expects_reply,
        delay,
        deliver_at_ms,
        time_to_live,
        dedup: None,
    };
    if let (Some(key), Some(content)) = (outgoing.dedup_key, content) {
        made.dedup = Some(Dedup { key, content: hash(&content, &made) });
    }
    made
}

/// The message of a call.
pub fn call(checks: &mut Checks, encoded: Bytes, max_bytes: usize, trace: &Bytes) -> Outgoing {
    let content = message(checks, "message", &encoded, max_bytes);
    let message = traced(encoded, content.as_ref(), trace);
    Outgoing { message, expects_reply: true, ..Outgoing::default() }
}

/// A message with the trace that it is sent in, unless its sender put one there.
fn traced(encoded: Bytes, content: Option<&full::Message>, trace: &Bytes) -> Bytes {
    match content {
        Some(content) if !trace.is_empty() && !content.headers.contains_key(TRACEPARENT) => {
            [encoded, trace.clone()].concat().into()
        }
        _ => encoded,
    }
}

fn message(
    checks: &mut Checks,
    field: &str,
    encoded: &Bytes,
    max_bytes: usize,
) -> Option<full::Message> {
    if encoded.is_empty() {
        checks.wrong(field, "is required");
        return None;
    }
    let Ok(message) = full::Message::decode(encoded.clone()) else {
        checks.wrong(field, "is no Message");
        return None;
    };
    if message.id.is_some() {
        checks.wrong(
            format!("{field}.id"),
            "must be absent: the service makes it; use dedup_key to make a retry safe",
        );
    }
    if !(1..=MAX_TYPE).contains(&message.r#type.len()) {
        checks.wrong(format!("{field}.type"), "must be 1 to 256 bytes");
    }
    content_type(checks, field, message.content_type.as_deref());
    headers(checks, field, &message);
    let size = match &message.body {
        Some(full::message::Body::BinaryBody(body)) => body.len(),
        Some(full::message::Body::TextBody(body)) => body.len(),
        None => 0,
    };
    if size > max_bytes {
        let problem = format!("has {size} bytes; at most {max_bytes} are allowed");
        checks.because("MESSAGE_TOO_LARGE", format!("{field}.body"), problem);
    }
    Some(message)
}

fn content_type(checks: &mut Checks, field: &str, value: Option<&str>) {
    if value.is_some_and(|value| value.len() > MAX_TYPE) {
        checks.wrong(format!("{field}.content_type"), "must be 256 bytes at most");
    }
}

fn headers(checks: &mut Checks, field: &str, message: &full::Message) {
    if message.headers.len() > MAX_HEADERS {
        checks.wrong(format!("{field}.headers"), "must be 64 entries at most");
    }
    let long = |(key, value): &(&String, &String)| {
        !(1..=MAX_HEADER_KEY).contains(&key.len()) || value.len() > MAX_HEADER_VALUE
    };
    if message.headers.iter().any(|entry| long(&entry)) {
        checks.wrong(
            format!("{field}.headers"),
            "must have keys of 1 to 256 bytes and values of at most 4,096 bytes",
        );
    }
}

fn deliver_at(checks: &mut Checks, field: &str, time: prost_types::Timestamp) -> Option<u64> {
    let nanos_valid = (0..1_000_000_000).contains(&time.nanos);
    let ms = time.seconds.checked_mul(1_000).map(|ms| ms + i64::from(time.nanos) / 1_000_000);
    let (Some(ms), true) = (ms, nanos_valid) else {
        checks.wrong(field, "must be a time");
        return None;
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Only to refuse nonsense; what counts later is Redis' clock.
    let latest = now.unwrap_or_default() + MAX_KEPT + Duration::from_secs(3_600);
    let ms = u64::try_from(ms).unwrap_or(0);
    if u128::from(ms) > latest.as_millis() {
        checks.wrong(field, "must be at most 90 days ahead");
    }
    // 0 would mean that there is none.
    Some(ms.max(1))
}

/// A hash of all that a repeat must have the same. Over what was decoded: maps
/// have no order in an encoded message. Not the trace: a retry may be part of another.
fn hash(message: &full::Message, outgoing: &Outgoing) -> u128 {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(bytes);
    };
    part(message.r#type.as_bytes());
    part(message.content_type.as_deref().unwrap_or_default().as_bytes());
    let same = |(key, _): &(&String, &String)| *key != TRACEPARENT && *key != TRACESTATE;
    for (key, value) in message.headers.iter().filter(same) {
        part(key.as_bytes());
        part(value.as_bytes());
    }
    match &message.body {
        Some(full::message::Body::BinaryBody(body)) => part(body),
        Some(full::message::Body::TextBody(body)) => part(body.as_bytes()),
        None => part(b""),
    }
    part(outgoing.ordering_key.as_deref().unwrap_or_default().as_bytes());
    part(format!("{:?} {}", outgoing.priority, outgoing.expects_reply).as_bytes());
    hash.digest128()
}

/// An encoded reply.
pub fn reply(checks: &mut Checks, encoded: &Bytes, max_bytes: usize) {
    if encoded.is_empty() {
        checks.wrong("reply", "is required");
        return;
    }
    let Ok(reply) = full::ReplyContent::decode(encoded.clone()) else {
        checks.wrong("reply", "is no ReplyContent");
        return;
    };
    match reply.result {
        None => checks.wrong("reply", "must have a body or an error"),
        Some(full::reply_content::Result::Error(error)) => {
            if error.encoded_len() > max_bytes {
                let problem = format!("must be {max_bytes} bytes at most");
                checks.because("MESSAGE_TOO_LARGE", "reply.error", problem);
            }
        }
        Some(full::reply_content::Result::Body(body)) => {
            content_type(checks, "reply.body", body.content_type.as_deref());
            let size = match &body.body {
                Some(full::reply_body::Body::BinaryBody(body)) => body.len(),
                Some(full::reply_body::Body::TextBody(body)) => body.len(),
                None => 0,
            };
            if size > max_bytes {
                let problem = format!("has {size} bytes; at most {max_bytes} are allowed");
                checks.because("MESSAGE_TOO_LARGE", "reply.body", problem);
            }
        }
    }
}
