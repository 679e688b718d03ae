//! Names of topics, groups and consumers, and subjects.

use std::fmt;
use std::sync::Arc;

use svc_runtime::names;

/// The name of a topic, a group or a consumer: `[a-z0-9][a-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
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

/// The entity that events are about: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// What a subject must look like, for messages.
    pub const RULE: &str = "must be 1 to 256 bytes of UTF-8 without control characters";

    /// Checks a subject.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::is_valid(text).then(|| Self(text.into()))
    }

    /// Whether this is a subject.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        names::is_key(text)
    }

    /// The subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "0", "order", "a.b_c-d", &"a".repeat(128)] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a b", "é", "a/b", "a{b}", &"a".repeat(129)] {
            assert!(Name::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn subjects_are_checked() {
        assert!(Subject::parse("order-42 é").is_some());
        for bad in ["", "a\nb", "\u{7f}", "\u{85}", &"é".repeat(129)] {
            assert!(Subject::parse(bad).is_none(), "{bad:?}");
        }
    }
}
