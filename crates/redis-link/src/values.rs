//! Taking answers apart: ints, bytes and arrays out of [`Value`], without
//! copying, and with [`LinkError::Protocol`] for anything unexpected.

use bytes::Bytes;

use crate::{LinkError, Value};

/// A field of what INFO answers.
#[must_use]
pub fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields.find(|(field, _)| *field == name).map(|(_, value)| value)
}

/// A whole number (also one that Redis keeps as text).
///
/// # Errors
/// When it is none.
pub fn int(value: &Value) -> Result<i64, LinkError> {
    match value {
        Value::Int(int) => Ok(*int),
        Value::Boolean(yes) => Ok(i64::from(*yes)),
        Value::BulkString(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(LinkError::Protocol("a number was expected")),
        _ => Err(LinkError::Protocol("a number was expected")),
    }
}

/// A whole number of at least zero.
///
/// # Errors
/// When it is none.
pub fn unsigned(value: &Value) -> Result<u64, LinkError> {
    u64::try_from(int(value)?).map_err(|_| LinkError::Protocol("a number below zero"))
}

/// A string of bytes, taken over without a copy.
///
/// # Errors
/// When it is something else, nil included.
pub fn bytes(value: Value) -> Result<Bytes, LinkError> {
    optional_bytes(value)?.ok_or(LinkError::Protocol("bytes were expected, not nil"))
}

/// A string of bytes, or nil.
///
/// # Errors
/// When it is something else.
pub fn optional_bytes(value: Value) -> Result<Option<Bytes>, LinkError> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(Some(text.into())),
        Value::Okay => Ok(Some(Bytes::from_static(b"OK"))),
        Value::Nil => Ok(None),
        _ => Err(LinkError::Protocol("bytes were expected")),
    }
}

/// A UTF-8 string.
///
/// # Errors
/// When it is something else, nil included.
pub fn text(value: Value) -> Result<String, LinkError> {
    optional_text(value)?.ok_or(LinkError::Protocol("a text was expected, not nil"))
}

/// A UTF-8 string, or nil.
///
/// # Errors
/// When it is something else.
pub fn optional_text(value: Value) -> Result<Option<String>, LinkError> {
    let utf8 =
        |bytes| String::from_utf8(bytes).map_err(|_| LinkError::Protocol("the text is not utf-8"));
    match value {
        Value::BulkString(bytes) => utf8(bytes).map(Some),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(Some(text)),
        Value::Okay => Ok(Some("OK".to_owned())),
        Value::Nil => Ok(None),
        _ => Err(LinkError::Protocol("a text was expected")),
    }
}

/// An array or set; nil is an empty one, as Redis means it.
///
/// # Errors
/// When it is something else.
pub fn array(value: Value) -> Result<Vec<Value>, LinkError> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        Value::Nil => Ok(Vec::new()),
        _ => Err(LinkError::Protocol("an array was expected")),
    }
}

/// A map, also where it is written as one flat array (RESP2, scripts) or as
/// an array of pairs (ZRANGE WITHSCORES under RESP3).
///
/// # Errors
/// When it is something else.
pub fn pairs(value: Value) -> Result<Vec<(Value, Value)>, LinkError> {
    let items = match value {
        Value::Map(pairs) => return Ok(pairs),
        other => array(other)?,
    };
    if items.iter().all(|item| matches!(item, Value::Array(pair) if pair.len() == 2)) {
        return items.into_iter().map(|pair| Items::of(pair)?.next_pair()).collect();
    }
    if items.len() % 2 != 0 {
        return Err(LinkError::Protocol("a map was expected"));
    }
    let mut items = Items(items.into_iter());
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while !items.is_empty() {
        pairs.push(items.next_pair()?);
    }
    Ok(pairs)
}

/// The items of an array, one after the other.
#[derive(Debug)]
pub struct Items(std::vec::IntoIter<Value>);

impl Items {
    /// The items of `value`.
    ///
    /// # Errors
    /// When it is not an array.
    pub fn of(value: Value) -> Result<Self, LinkError> {
        array(value).map(|items| Self(items.into_iter()))
    }

    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// The next one.
    ///
    /// # Errors
    /// When there is none.
    pub fn next_value(&mut self) -> Result<Value, LinkError> {
        self.0.next().ok_or(LinkError::Protocol("the array is too short"))
    }

    /// The next one, a number.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn next_int(&mut self) -> Result<i64, LinkError> {
        int(&self.next_value()?)
    }

    /// The next one, a number of at least zero.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn next_unsigned(&mut self) -> Result<u64, LinkError> {
        unsigned(&self.next_value()?)
    }

    /// The next one, bytes.
    ///
    /// # Errors
    /// When there is none, or it is not that.
    pub fn next_bytes(&mut self) -> Result<Bytes, LinkError> {
        bytes(self.next_value()?)
    }

    /// The next one, a text.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn next_text(&mut self) -> Result<String, LinkError> {
        text(self.next_value()?)
    }

    /// The next two.
    ///
    /// # Errors
    /// When there are none.
    pub fn next_pair(&mut self) -> Result<(Value, Value), LinkError> {
        Ok((self.next_value()?, self.next_value()?))
    }
}

impl Iterator for Items {
    type Item = Value;
    fn next(&mut self) -> Option<Value> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_in_all_three_shapes() {
        let (key, one) = (Value::BulkString(b"a".to_vec()), Value::Int(1));
        let shapes = [
            Value::Map(vec![(key.clone(), one.clone())]),
            Value::Array(vec![key.clone(), one.clone()]),
            Value::Array(vec![Value::Array(vec![key.clone(), one.clone()])]),
        ];
        for shape in shapes {
            assert_eq!(pairs(shape).unwrap(), [(key.clone(), one.clone())]);
        }
        assert!(pairs(Value::Array(vec![one])).is_err());
    }
}
