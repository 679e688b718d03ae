//! What differs from run to run in what a command prints: ids that a service has made, positions,
//! times, receipts, rates.

use serde_json::{Map, Value};

/// Fields whose values differ from run to run, as grpcurl and the REST API spell them.
const MASKED: [&str; 19] = [
    "bytes",
    "createdAt",
    "deadAt",
    "dueAt",
    "firstPosition",
    "headPosition",
    "lastDeliveredPosition",
    "lastPosition",
    "lastSeen",
    "leaseExpiresAt",
    "messageId",
    "message_id",
    "parkedAt",
    "position",
    "receipt",
    "receipts",
    "recordedAt",
    "savedAt",
    "sentAt",
];

/// Fields that are not printed at all when they are zero, which is a matter of time.
const LEFT_OUT: [&str; 5] =
    ["ackedPerSecond", "appendedPerSecond", "oldestAge", "oldestPendingAge", "sentPerSecond"];

/// JSON without what differs.
pub fn value(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(self::value),
        Value::Object(object) => fields(object),
        Value::String(said) => *said = text(said),
        _ => {}
    }
}

fn fields(object: &mut Map<String, Value>) {
    object.retain(|name, value| {
        // How many consumers a queue has, not the list of those that a group has.
        let is_count = name == "consumers" && value.is_number();
        !is_count && !LEFT_OUT.contains(&name.as_str())
    });
    for (name, field) in object.iter_mut() {
        let is_made_up = name == "id" && field.as_str().is_some_and(is_made_up);
        if MASKED.contains(&name.as_str()) || is_made_up {
            *field = Value::String(format!("<{name}>"));
        } else {
            value(field);
        }
    }
}

/// Text without the ids and positions in it.
pub fn text(said: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut masked = String::new();
    let mut rest = said;
    while let Some(start) = rest.find(is_part) {
        let length = rest[start..].find(|c| !is_part(c)).unwrap_or(rest.len() - start);
        let word = &rest[start..start + length];
        masked.push_str(&rest[..start]);
        masked.push_str(if is_made_up(word) || is_position(word) { "<…>" } else { word });
        rest = &rest[start + length..];
    }
    masked.push_str(rest);
    masked
}

/// An id that a service has made, rather than the one who wrote the example.
fn is_made_up(id: &str) -> bool {
    id.len() >= 32 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// `<milliseconds>-<number>`.
fn is_position(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let parts = word.split_once('-');
    parts.is_some_and(|(time, number)| time.len() == 13 && digits(time) && digits(number))
}
