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
    let (mut sequence, mut revision, mut event) = (None, None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name {
            Value::BulkString(name) if name == b"q" => sequence = Some(number(&value)?),
            Value::BulkString(name) if name == b"r" => revision = Some(number(&value)?),
            Value::BulkString(name) if name == b"e" => event = Some(bytes(value)?),
            _ => {}
        }
    }
    match (sequence, event) {
        (Some(sequence), Some(event)) => Ok(StoredEvent { position, sequence, revision, event }),
        _ => Err(LinkError::Protocol("an entry of the log lacks a field")),
    }
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
