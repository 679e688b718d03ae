//! Entries of the log, as Redis answers them.

use redis_link::values::{Items, array, bytes};
use redis_link::{LinkError, Value};

use crate::model::{Position, StoredEvent};

/// Reads the answer of XRANGE and its like.
pub fn entries(value: Value) -> Result<Vec<StoredEvent>, LinkError> {
    array(value)?.into_iter().map(entry).collect()
}

/// Reads one entry: its id and its fields (see `TopicKeys::log`).
pub fn entry(value: Value) -> Result<StoredEvent, LinkError> {
    let mut items = Items::of(value)?;
    let position = position(&items.next_value()?)?;
    let mut fields = array(items.next_value()?)?.into_iter();
    let (mut revision, mut event) = (None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name {
            Value::BulkString(name) if name == b"r" => revision = Some(number(&value)?),
            Value::BulkString(name) if name == b"e" => event = Some(bytes(value)?),
            _ => {}
        }
    }
    let event = event.ok_or(LinkError::Protocol("an entry of the log lacks its event"))?;
    Ok(StoredEvent { position, revision, event })
}

/// Reads a position.
pub fn position(value: &Value) -> Result<Position, LinkError> {
    let text = match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text.as_str()),
        _ => None,
    };
    text.and_then(Position::parse).ok_or(LinkError::Protocol("a position was expected"))
}

/// Reads a position where "" and nil mean that there is none.
pub fn optional_position(value: &Value) -> Result<Option<Position>, LinkError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) if bytes.is_empty() => Ok(None),
        other => position(other).map(Some),
    }
}

/// Reads a number.
pub fn number(value: &Value) -> Result<u64, LinkError> {
    redis_link::values::unsigned(value)
}

/// Reads a number where "" and nil mean that there is none.
pub fn optional_number(value: &Value) -> Result<Option<u64>, LinkError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) if bytes.is_empty() => Ok(None),
        other => number(other).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any answer that Redis could give, with what an entry is made of among it.
    fn answer() -> impl Strategy<Value = Value> {
        let known = prop_oneof![Just("r"), Just("s"), Just("e"), Just("12-3"), Just("7")];
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            known.prop_map(|text| Value::BulkString(text.as_bytes().to_vec())),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::BulkString),
            ".{0,8}".prop_map(Value::SimpleString),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop::collection::vec(inner, 0..8).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn whatever_is_stored_is_read_or_refused(value in answer()) {
            // Either is fine; a panic is not.
            let _ = entries(value.clone());
            let _ = entry(value.clone());
            let _ = optional_position(&value);
            let _ = optional_number(&value);
        }
    }

    #[test]
    fn an_entry_is_read_whatever_the_order_of_its_fields() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = Value::Array(["s", "order-1", "r", "4", "e", "event"].map(text).into());
        let read = entry(Value::Array(vec![text("12-3"), fields])).unwrap();
        assert_eq!(read.position, Position { ms: 12, sequence: 3 });
        assert_eq!((read.revision, &read.event[..]), (Some(4), &b"event"[..]));
        let lacking = Value::Array(vec![text("12-3"), Value::Array(vec![text("r"), text("9")])]);
        assert!(entry(lacking).is_err());
    }
}
