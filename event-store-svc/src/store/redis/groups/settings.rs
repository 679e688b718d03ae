//! A group's settings as fields of its `meta`.

use std::collections::HashMap;
use std::time::Duration;

use redis_link::values::{optional_text, pairs, text};
use redis_link::{LinkError, Value};

use crate::model::{GroupSettings, Ordering, Position, Start};
use crate::store::GroupChange;
use crate::store::redis::entry::optional_position;
use crate::store::redis::topics::millis;

/// All settings of a new group.
pub fn fields(settings: &GroupSettings) -> Vec<(&'static str, String)> {
    let mut fields = change_fields(&GroupChange {
        ack_timeout: Some(settings.ack_timeout),
        max_deliveries: Some(settings.max_deliveries),
        backoff_initial: Some(settings.backoff_initial),
        backoff_max: Some(settings.backoff_max),
        backoff_multiplier: Some(settings.backoff_multiplier),
        ordering: Some(settings.ordering),
        max_in_flight: Some(settings.max_in_flight),
    });
    fields.push(("start", start_text(settings.start)));
    fields
}

/// The settings that change.
pub fn change_fields(change: &GroupChange) -> Vec<(&'static str, String)> {
    let duration = |value: Option<Duration>| value.map(|value| millis(value).to_string());
    let all = [
        ("ack_timeout_ms", duration(change.ack_timeout)),
        ("max_deliveries", change.max_deliveries.map(|count| count.to_string())),
        ("initial_ms", duration(change.backoff_initial)),
        ("max_ms", duration(change.backoff_max)),
        ("multiplier", change.backoff_multiplier.map(|growth| growth.to_string())),
        (
            "ordered",
            change.ordering.map(|ordering| u8::from(ordering == Ordering::Subject).to_string()),
        ),
        ("max_in_flight", change.max_in_flight.map(|count| count.to_string())),
    ];
    all.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

/// What `meta` of a group says.
#[derive(Debug)]
pub struct GroupMeta {
    /// Its settings.
    pub settings: GroupSettings,
    /// The last position that was delivered, or the one it starts after.
    pub checkpoint: Option<Position>,
    /// The sequence there.
    pub checkpoint_sequence: u64,
    /// Anew with each creation and reset.
    pub epoch: u64,
}

impl GroupMeta {
    /// Reads the answer of HGETALL; none: there is no such group.
    pub fn of(value: Value) -> Result<Option<Self>, LinkError> {
        let mut fields = HashMap::new();
        for (field, value) in pairs(value)? {
            fields.insert(text(field)?, value);
        }
        if !fields.contains_key("epoch") {
            return Ok(None);
        }
        let mut get = |field: &str| optional_text(fields.remove(field).unwrap_or(Value::Nil));
        let defaults = GroupSettings::default();
        let settings = GroupSettings {
            start: get("start")?.and_then(|start| start_of(&start)).unwrap_or_default(),
            ack_timeout: duration(get("ack_timeout_ms")?, defaults.ack_timeout),
            max_deliveries: parse(get("max_deliveries")?, defaults.max_deliveries),
            backoff_initial: duration(get("initial_ms")?, defaults.backoff_initial),
            backoff_max: duration(get("max_ms")?, defaults.backoff_max),
            backoff_multiplier: parse(get("multiplier")?, defaults.backoff_multiplier),
            ordering: if get("ordered")?.as_deref() == Some("1") {
                Ordering::Subject
            } else {
                Ordering::None
            },
            max_in_flight: parse(get("max_in_flight")?, defaults.max_in_flight),
        };
        let checkpoint_sequence = parse(get("checkpoint_sequence")?, 0);
        let epoch = parse(get("epoch")?, 0);
        let checkpoint = optional_position(fields.get("checkpoint").unwrap_or(&Value::Nil))?;
        Ok(Some(Self { settings, checkpoint, checkpoint_sequence, epoch }))
    }
}

fn parse<T: std::str::FromStr>(text: Option<String>, default: T) -> T {
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn duration(text: Option<String>, default: Duration) -> Duration {
    text.and_then(|text| text.parse().ok()).map_or(default, Duration::from_millis)
}

/// A start in words: `beginning`, `end`, `after 12-0`, `time 5000` (milliseconds), `sequence 7`.
fn start_text(start: Start) -> String {
    match start {
        Start::Beginning => "beginning".to_owned(),
        Start::End => "end".to_owned(),
        Start::After(position) => format!("after {position}"),
        Start::Time(time) => format!("time {}", millis(time)),
        Start::Sequence(sequence) => format!("sequence {sequence}"),
        Start::Revision(revision) => format!("revision {revision}"),
    }
}

fn start_of(text: &str) -> Option<Start> {
    let (kind, value) = text.split_once(' ').unwrap_or((text, ""));
    Some(match kind {
        "beginning" => Start::Beginning,
        "end" => Start::End,
        "after" => Start::After(Position::parse(value)?),
        "time" => Start::Time(Duration::from_millis(value.parse().ok()?)),
        "sequence" => Start::Sequence(value.parse().ok()?),
        "revision" => Start::Revision(value.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_come_back_as_they_were() {
        for start in [
            Start::Beginning,
            Start::End,
            Start::After(Position { ms: 12, sequence: 3 }),
            Start::Time(Duration::from_millis(5_000)),
            Start::Sequence(7),
        ] {
            assert_eq!(start_of(&start_text(start)), Some(start));
        }
    }

    #[test]
    fn settings_come_back_as_they_were() {
        let settings = GroupSettings {
            ack_timeout: Duration::from_millis(1500),
            backoff_multiplier: 1.5,
            ordering: Ordering::Subject,
            start: Start::Sequence(3),
            ..GroupSettings::default()
        };
        let mut flat = vec![Value::BulkString(b"epoch".to_vec()), Value::BulkString(b"9".to_vec())];
        for (field, value) in fields(&settings) {
            flat.push(Value::BulkString(field.as_bytes().to_vec()));
            flat.push(Value::BulkString(value.into_bytes()));
        }
        let meta = GroupMeta::of(Value::Array(flat)).unwrap().unwrap();
        assert_eq!(meta.settings, settings);
        assert_eq!(meta.epoch, 9);
        assert!(GroupMeta::of(Value::Map(Vec::new())).unwrap().is_none());
    }
}
