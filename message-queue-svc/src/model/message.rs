//! Messages on their way in, and their ids.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

/// How far a write must have got before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the memory of Redis, and on its disk as Redis is configured.
    Memory,
    /// On the disk of the Redis primary.
    Fsynced,
    /// In the memory of as many replicas as the service asks for.
    Replicated,
}

/// Which messages go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// After all others.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// A message to send, checked.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The encoded Message, without an id, as the client sent it.
    pub message: Bytes,
    /// Its priority.
    pub priority: Priority,
    /// The key whose messages are handled one at a time.
    pub ordering_key: Option<String>,
    /// Whether its handler is to reply.
    pub expects_reply: bool,
    /// When it is due: after this long.
    pub delay: Option<Duration>,
    /// When it is due: at this time, in ms since 1970.
    pub deliver_at_ms: Option<u64>,
    /// How long it is worth handling.
    pub time_to_live: Option<Duration>,
    /// What makes a retry safe, with a hash of the whole content.
    pub dedup: Option<Dedup>,
}

/// A dedup key, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// The key.
    pub key: String,
    /// A hash of all that a repeat must have the same.
    pub content: u128,
}

/// The id of a message: a UUIDv7 as 32 hex digits, and a digit that says what
/// the scripts must know about it without looking at it. Opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// How long an id is.
    pub const LEN: usize = 33;

    /// A new one, for this message.
    #[must_use]
    pub fn new(message: &Outgoing) -> Self {
        let mut flags = 0;
        if message.ordering_key.is_some() {
            flags |= 1;
        }
        if message.expects_reply {
            flags |= 2;
        }
        flags |= match message.priority {
            Priority::Normal => 0,
            Priority::High => 4,
            Priority::Low => 8,
        };
        let uuid = Uuid::now_v7();
        Self(format!("{}{flags:x}", uuid.simple()))
    }

    /// Checks the form of an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == Self::LEN && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the message's handler is to reply.
    #[must_use]
    pub fn expects_reply(&self) -> bool {
        let flags = self.0.chars().last().and_then(|digit| digit.to_digit(16));
        flags.is_some_and(|flags| flags & 2 != 0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_its_message_is() {
        let plain = MessageId::new(&Outgoing::default());
        assert_eq!(MessageId::parse(plain.as_str()), Some(plain.clone()));
        assert!(plain.as_str().ends_with('0') && !plain.expects_reply());
        let special = MessageId::new(&Outgoing {
            priority: Priority::High,
            ordering_key: Some("k".into()),
            expects_reply: true,
            ..Outgoing::default()
        });
        assert!(special.as_str().ends_with('7') && special.expects_reply());
        for bad in ["", "x", &"A".repeat(33), &"0".repeat(32)] {
            assert!(MessageId::parse(bad).is_none(), "{bad}");
        }
    }
}
