//! Which events are wanted.

use super::EventView;

/// Inside a list any entry may match; all lists that are not empty must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Exact types.
    pub types: Vec<String>,
    /// Beginnings of types.
    pub type_prefixes: Vec<String>,
    /// Exact subjects.
    pub subjects: Vec<String>,
    /// Beginnings of subjects.
    pub subject_prefixes: Vec<String>,
}

impl EventFilter {
    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { types, type_prefixes, subjects, subject_prefixes } = self;
        [types, type_prefixes, subjects, subject_prefixes].iter().all(|list| list.is_empty())
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn matches(&self, event: &EventView<'_>) -> bool {
        let subject = event.subject.unwrap_or_default();
        exact(&self.types, event.event_type)
            && prefix(&self.type_prefixes, event.event_type)
            && exact(&self.subjects, subject)
            && prefix(&self.subject_prefixes, subject)
    }
}

fn exact(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| entry == value)
}

fn prefix(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| value.starts_with(entry.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_by_and_their_entries_by_or() {
        let event = EventView {
            event_type: "order_created",
            subject: Some("order-1"),
            ..EventView::default()
        };
        let list = |entries: &[&str]| entries.iter().map(ToString::to_string).collect::<Vec<_>>();
        let matches = |types: &[&str], subject_prefixes: &[&str]| {
            EventFilter {
                types: list(types),
                subject_prefixes: list(subject_prefixes),
                ..EventFilter::default()
            }
            .matches(&event)
        };
        assert!(matches(&[], &[]));
        assert!(matches(&["a", "order_created"], &["x", "order-"]));
        assert!(!matches(&["order_created"], &["x"]));
        assert!(!matches(&["order"], &[]));
    }
}
