//! Receipts: the proof of a lease on an event.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use super::{Name, Position};

/// Names one delivery of one event to one member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The event.
    pub position: Position,
    /// The group's epoch: anew with each creation and reset.
    pub epoch: u64,
    /// Which of the event's leases, counted from 1; 0 names a parked event.
    pub lease: u32,
}

const LENGTH: usize = 4 + 8 + 8 + 8 + 4;

impl Receipt {
    /// What a receipt must look like, for messages.
    pub const RULE: &str = "must be a receipt as this group delivered it";

    /// Writes it so that it is safe in a URL and a shell: an `r` and base64url.
    #[must_use]
    pub fn encode(&self, topic: &Name, group: &Name) -> String {
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&owner(topic, group));
        bytes[4..12].copy_from_slice(&self.position.ms.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.position.sequence.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[28..].copy_from_slice(&self.lease.to_be_bytes());
        let mut text = String::with_capacity(1 + LENGTH.div_ceil(3) * 4);
        // base64url may begin with a dash, which a shell command takes for a flag.
        text.push('r');
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    /// Reads a receipt of this group.
    #[must_use]
    pub fn decode(text: &str, topic: &Name, group: &Name) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix('r')?, &mut bytes).ok()?;
        if length != LENGTH || bytes[..4] != owner(topic, group) {
            return None;
        }
        let number = |at: usize| bytes[at..at + 8].try_into().ok().map(u64::from_be_bytes);
        Some(Self {
            position: Position { ms: number(4)?, sequence: number(12)? },
            epoch: number(20)?,
            lease: u32::from_be_bytes(bytes[28..].try_into().ok()?),
        })
    }
}

fn owner(topic: &Name, group: &Name) -> [u8; 4] {
    let mut text = Vec::with_capacity(topic.as_str().len() + group.as_str().len() + 1);
    text.extend_from_slice(topic.as_str().as_bytes());
    text.push(b'/');
    text.extend_from_slice(group.as_str().as_bytes());
    let [a, b, c, d, ..] = xxh3_64(&text).to_be_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_belongs_to_its_group() {
        let name = |text| Name::parse(text).unwrap();
        let receipt = Receipt { position: Position { ms: 12, sequence: 3 }, epoch: 77, lease: 2 };
        let text = receipt.encode(&name("order"), &name("crm"));
        assert_eq!(Receipt::decode(&text, &name("order"), &name("crm")), Some(receipt));
        assert_eq!(Receipt::decode(&text, &name("order"), &name("other")), None);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        for bad in ["", "r", "x", "r!!", &text[1..], &format!("{text}AAAA")] {
            assert_eq!(Receipt::decode(bad, &name("order"), &name("crm")), None, "{bad}");
        }
    }
}
