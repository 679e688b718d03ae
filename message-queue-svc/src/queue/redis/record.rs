//! How a message is packed in Redis; `scripts/lib.lua` says the same.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::error::QueueError;
use crate::model::{MessageId, Outgoing, Priority, Receipt};
use crate::queue::{DeadLetter, DeadReason, Lease, QueueResult};

/// The two times in front of a record, which the script writes.
const TIMES: usize = 12;

/// A message as the send script gets it.
#[derive(Debug)]
pub struct Prepared {
    /// Its id.
    pub id: MessageId,
    /// Its record without the times.
    pub record: Bytes,
    /// Its options, packed; empty for none.
    pub options: Bytes,
    /// Whether nothing but its record is needed to store it.
    pub is_plain: bool,
    /// Whether it goes to the end of the normal list, where it is to go at once.
    pub is_next: bool,
}

impl Prepared {
    /// Packs a message. `reply_to`: the channel on which its sender waits.
    pub fn new(message: &Outgoing, reply_to: &str) -> Self {
        let id = MessageId::new(message);
        let key = message.ordering_key.as_deref().unwrap_or_default();
        let mut record = BytesMut::with_capacity(
            3 + key.len() + reply_to.len() + 2 + MessageId::LEN + message.message.len(),
        );
        // Keys are at most 256 bytes, channels of replicas far below.
        record.put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
        record.put_slice(key.as_bytes());
        record.put_u8(u8::try_from(reply_to.len()).unwrap_or(u8::MAX));
        record.put_slice(reply_to.as_bytes());
        // Message.id, as protobuf encodes field 1; the message follows as it came.
        record.put_slice(&[0x0a, 33]);
        record.put_slice(id.as_str().as_bytes());
        record.put_slice(&message.message);
        let (options, ordered) = (options(message), message.ordering_key.is_some());
        let due =
            message.delay.is_some_and(|delay| !delay.is_zero()) || message.deliver_at_ms.is_some();
        Self {
            id,
            record: record.freeze(),
            is_plain: options.is_empty() && !ordered,
            is_next: !due && !ordered && message.priority == Priority::Normal,
            options,
        }
    }

    /// Its first lease, taken in the call that stored it.
    pub fn first_lease(&self, now_ms: u64, expires_at_ms: u64) -> QueueResult<Lease> {
        Ok(Lease {
            message: message_of(&self.record)?,
            receipt: Receipt::of_entry(self.id.as_str().to_owned()),
            sent_at_ms: now_ms,
            expires_at_ms,
            expires_in: Duration::from_millis(expires_at_ms.saturating_sub(now_ms)),
        })
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.record.len() + self.options.len() + MessageId::LEN
    }
}

fn options(message: &Outgoing) -> Bytes {
    let plain = message.delay.is_none()
        && message.deliver_at_ms.is_none()
        && message.time_to_live.is_none()
        && message.dedup.is_none();
    if plain {
        return Bytes::new();
    }
    let mut options = BytesMut::with_capacity(34 + 64);
    options.put_uint(message.delay.map_or(0, millis), 6);
    options.put_uint(message.deliver_at_ms.unwrap_or(0), 6);
    options.put_uint(message.time_to_live.map_or(0, |ttl| millis(ttl).max(1)), 6);
    if let Some(dedup) = &message.dedup {
        options.put_u128(dedup.content);
        options.put_slice(dedup.key.as_bytes());
    }
    options.freeze()
}

/// Whole milliseconds, rounded up: a wait is never shorter than asked for.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// When a record was sent, and its encoded Message.
pub fn unpack(record: &Bytes) -> QueueResult<(u64, Bytes)> {
    let sent = uint(record, 0, 6)?;
    if record.len() < TIMES {
        return Err(QueueError::Corrupt);
    }
    Ok((sent, message_of(&record.slice(TIMES..))?))
}

/// The encoded Message in a record without the times.
fn message_of(record: &Bytes) -> QueueResult<Bytes> {
    let key = to_usize(uint(record, 0, 2)?);
    let reply_to = to_usize(uint(record, 2 + key, 1)?);
    let start = 3 + key + reply_to;
    if start > record.len() {
        return Err(QueueError::Corrupt);
    }
    Ok(record.slice(start..))
}

/// A lease from its entry and record.
pub fn lease(entry: String, record: &Bytes, now_ms: u64, expires_at_ms: u64) -> QueueResult<Lease> {
    let (sent_at_ms, message) = unpack(record)?;
    Ok(Lease {
        message,
        receipt: Receipt::of_entry(entry),
        sent_at_ms,
        expires_at_ms,
        expires_in: Duration::from_millis(expires_at_ms.saturating_sub(now_ms)),
    })
}

/// A dead letter from its record.
pub fn dead_letter(record: &Bytes) -> QueueResult<DeadLetter> {
    let dead_at_ms = uint(record, 0, 6)?;
    let reason = match uint(record, 6, 1)? {
        1 => DeadReason::MaxAttempts,
        2 => DeadReason::Expired,
        3 => DeadReason::Rejected,
        _ => return Err(QueueError::Corrupt),
    };
    let attempts = u32::try_from(uint(record, 7, 4)?).unwrap_or(u32::MAX);
    let said = to_usize(uint(record, 15, 2)?);
    let start = 17 + said;
    let last_error = record.get(17..start).ok_or(QueueError::Corrupt)?;
    let (sent_at_ms, message) = unpack(&record.slice(start..))?;
    Ok(DeadLetter {
        message,
        reason,
        attempts,
        last_error: String::from_utf8_lossy(last_error).into_owned(),
        sent_at_ms,
        dead_at_ms,
    })
}

fn uint(record: &Bytes, at: usize, length: usize) -> QueueResult<u64> {
    let bytes = record.get(at..at + length).ok_or(QueueError::Corrupt)?;
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let message = Outgoing {
            message: Bytes::from_static(b"\x12\x01t"),
            ordering_key: Some("käse".into()),
            delay: Some(Duration::from_micros(1)),
            ..Outgoing::default()
        };
        let prepared = Prepared::new(&message, "mq:replies:x");
        assert_eq!(prepared.options[..6], [0, 0, 0, 0, 0, 1]);
        let mut record = BytesMut::new();
        record.put_uint(7, 6);
        record.put_uint(0, 6);
        record.put_slice(&prepared.record);
        let (sent, got) = unpack(&record.freeze()).unwrap();
        assert_eq!(sent, 7);
        assert_eq!(&got[2..35], prepared.id.as_str().as_bytes());
        assert_eq!(&got[35..], b"\x12\x01t");
        assert_eq!(unpack(&Bytes::from_static(b"short")), Err(QueueError::Corrupt));
    }
}
