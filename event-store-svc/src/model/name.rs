//! Names of topics, groups and consumers, and subjects.

use std::sync::Arc;

use svc_runtime::names;
pub use svc_runtime::names::Name;

/// The entity that events are about: 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// What a subject must look like, for messages.
    pub const RULE: &str = names::KEY_RULE;

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
