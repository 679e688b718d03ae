//! Names of queues, and ordering keys.

use std::fmt;
use std::sync::Arc;

/// The name of a queue: `[a-z0-9][a-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// What a name must look like, for messages.
    pub const RULE: &str =
        "must be 1 to 128 of a-z, 0-9, '.', '_' and '-', and begin with a letter or digit";

    /// Checks a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let (first, rest) = text.as_bytes().split_first()?;
        let valid = plain(*first)
            && rest.len() < 128
            && rest.iter().all(|byte| plain(*byte) || b"._-".contains(byte));
        valid.then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that is the same for the same name everywhere.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.0.as_bytes())
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Whether this may be an ordering key: 1 to 256 bytes without control characters.
#[must_use]
pub fn is_ordering_key(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "0", "order-service", "a.b_c-d", &"a".repeat(128)] {
            assert!(QueueName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "A", "-a", ".", "a b", "a{b}", "ä", &"a".repeat(129)] {
            assert!(QueueName::parse(bad).is_none(), "{bad}");
        }
    }
}
