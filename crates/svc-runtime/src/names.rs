//! What names and keys look like, alike in every service: topics, groups, consumers and queues;
//! subjects and ordering keys.

use std::fmt;
use std::sync::Arc;

/// What a subject or an ordering key must look like, for messages.
pub const KEY_RULE: &str = "must be 1 to 256 bytes of UTF-8 without control characters";

/// The name of a topic, group, consumer or queue: `[a-z0-9][a-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// What a name must look like, for messages.
    pub const RULE: &str =
        "must be 1 to 128 of a-z, 0-9, '.', '_' and '-', and begin with a letter or digit";

    /// Checks a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
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

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.as_bytes().split_first().is_some_and(|(first, rest)| {
        plain(*first)
            && rest.len() < 128
            && rest.iter().all(|byte| plain(*byte) || b"._-".contains(byte))
    })
}

/// Whether this may be a subject or an ordering key: 1 to 256 bytes without control characters.
#[must_use]
pub fn is_key(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "0", "order-service", "a.b_c-d", &"a".repeat(128)] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "A", "-a", ".a", ".", "a b", "a/b", "a{b}", "ä", &"a".repeat(129)] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_are_checked() {
        assert!(is_key("order-42 é"));
        for bad in ["", "a\nb", "\u{7f}", "\u{85}", &"é".repeat(129)] {
            assert!(!is_key(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_of_a_name_never_changes() {
        assert_eq!(Name::parse("order").unwrap().hash64(), 5_897_270_977_454_184_057);
    }
}
