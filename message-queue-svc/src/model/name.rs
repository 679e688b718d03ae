//! Names of queues, and ordering keys.

use std::fmt;
use std::sync::Arc;

use svc_runtime::names;

/// The name of a queue: `[a-z0-9][a-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// What a name must look like, for messages.
    pub const RULE: &str = names::NAME_RULE;

    /// Checks a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        names::is_name(text).then(|| Self(text.into()))
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
    names::is_key(text)
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
