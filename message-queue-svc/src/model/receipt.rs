//! Receipts: the proof of one lease of one message of one queue.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{MessageId, QueueName};

/// What a consumer acks with. Its text is the entry that stands for the lease
/// in the queue (see `queue/redis/scripts/lib.lua`) and a checksum over that
/// and the queue, so that what is no receipt of the queue is told apart from a
/// lease that was lost without asking Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    entry: String,
}

impl Receipt {
    /// The receipt of a leased entry.
    #[must_use]
    pub fn of_entry(entry: String) -> Self {
        Self { entry }
    }

    /// Reads a receipt of this queue.
    #[must_use]
    pub fn parse(queue: &QueueName, text: &str) -> Option<Self> {
        let (entry, checksum) = text.rsplit_once('-')?;
        let well_formed = entry.len() <= MessageId::LEN + 24
            && MessageId::parse(entry.get(..MessageId::LEN)?).is_some()
            && checksum == checksum_of(queue, entry);
        well_formed.then(|| Self { entry: entry.to_owned() })
    }

    /// What clients get: letters, digits, dots and a dash.
    #[must_use]
    pub fn text(&self, queue: &QueueName) -> String {
        format!("{}-{}", self.entry, checksum_of(queue, &self.entry))
    }

    /// The leased entry.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// The message's id.
    #[must_use]
    pub fn message_id(&self) -> &str {
        self.entry.get(..MessageId::LEN).unwrap_or_default()
    }

    /// Failed deliveries before this one.
    #[must_use]
    pub fn failures(&self) -> u32 {
        let (_, failures) = self.entry.rsplit_once('.').unwrap_or_default();
        failures.parse().unwrap_or(0)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entry)
    }
}

fn checksum_of(queue: &QueueName, entry: &str) -> String {
    format!("{:08x}", xxh3_64_with_seed(entry.as_bytes(), queue.hash64()) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outgoing;

    #[test]
    fn a_receipt_belongs_to_its_queue() {
        let (a, b) = (QueueName::parse("a").unwrap(), QueueName::parse("b").unwrap());
        let id = MessageId::new(&Outgoing::default());
        for (entry, failures) in [(id.to_string(), 0), (format!("{id}.3.2"), 2)] {
            let receipt = Receipt::of_entry(entry);
            let text = receipt.text(&a);
            assert_eq!(Receipt::parse(&a, &text), Some(receipt.clone()));
            assert_eq!(receipt.failures(), failures);
            assert_eq!(receipt.message_id(), id.as_str());
            assert_eq!(Receipt::parse(&b, &text), None);
            assert_eq!(Receipt::parse(&a, &text[1..]), None);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)));
        }
        for bad in ["", "-", "x-y", &"a".repeat(1000)] {
            assert_eq!(Receipt::parse(&a, bad), None, "{bad}");
        }
    }
}
