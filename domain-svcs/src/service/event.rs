//! Events as a domain service sees them: what was recorded, what is to be
//! appended, and what must hold for that.

use std::borrow::Cow;

use proto::eventstore::v1 as es;
use serde_json::Value;

use super::cause::{CAUSATION_ID, Cause};
use super::position::Position;
use crate::model::EventType;

/// One event of a subject.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its number within the subject.
    pub revision: u64,
    /// Where it stands in the topic.
    pub position: Option<Position>,
    /// Its id.
    pub id: String,
    /// What happened; none for a type that is not the shop's: see [`Head::event_type`].
    pub kind: Option<EventType>,
    /// What caused it.
    pub causation_id: Option<String>,
    /// Its data.
    pub data: Value,
    /// The event as recorded.
    pub recorded: es::RecordedEvent,
}

impl Head {
    /// What happened, as the event says it.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.recorded.event.as_ref().map_or("", |event| event.r#type.as_str())
    }

    /// The event as the cause of what is done about it.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause::of_event(&self.recorded)
    }

    /// A field of its data that is text; empty if there is no such.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_default()
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.recorded.event.as_ref().and_then(|event| event.subject.as_deref()).unwrap_or_default()
    }

    /// The state of the entity, unless it is deleted.
    #[must_use]
    pub fn live(&self) -> Option<&Value> {
        (self.kind != Some(EventType::Deleted)).then_some(&self.data)
    }
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id, derived from the cause.
    pub id: String,
    /// What happened: an [`EventType`] of the shop, or any other name.
    pub kind: Cow<'static, str>,
    /// Whom it is about.
    pub subject: String,
    /// What happened in detail.
    pub data: Value,
}

impl NewEvent {
    /// An event about `subject`. The id is to be derived from the cause.
    #[must_use]
    pub fn new(
        id: String,
        kind: impl Into<Cow<'static, str>>,
        subject: impl Into<String>,
        data: Value,
    ) -> Self {
        Self { id, kind: kind.into(), subject: subject.into(), data }
    }
}

/// What a subject must look like for an append to go through.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It has no events.
    Nothing(String),
    /// Its last revision is this.
    Revision(String, u64),
}

impl Expect {
    /// What was just read, and nothing since.
    #[must_use]
    pub fn head(subject: &str, head: Option<&Head>) -> Self {
        match head {
            None => Self::Nothing(subject.to_owned()),
            Some(head) => Self::Revision(subject.to_owned(), head.revision),
        }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// It is there, now or since an earlier attempt with the same ids; where its
    /// last event stands, if that is still known.
    Done(Option<Position>),
    /// The expectation does not hold: read again and decide anew.
    Conflict,
}

pub(super) fn expectation(expect: Expect) -> es::Expectation {
    let (subject, expected) = match expect {
        Expect::Nothing(subject) => (subject, es::expectation::Expected::NoEvents(())),
        Expect::Revision(subject, n) => (subject, es::expectation::Expected::Revision(n)),
    };
    es::Expectation { subject, expected: Some(expected) }
}

/// Reads an event; data that is not JSON is null.
pub(crate) fn head(recorded: es::RecordedEvent) -> Head {
    let event = recorded.event.as_ref();
    let data = match event.and_then(|event| event.data.as_ref()) {
        Some(es::event::Data::TextData(text)) => serde_json::from_str(text).ok(),
        Some(es::event::Data::BinaryData(bytes)) => serde_json::from_slice(bytes).ok(),
        None => None,
    };
    Head {
        revision: recorded.subject_revision.unwrap_or_default(),
        position: recorded.position.parse().ok(),
        id: event.and_then(|event| event.id.clone()).unwrap_or_default(),
        kind: event.and_then(|event| EventType::named(&event.r#type)),
        causation_id: event.and_then(|event| event.headers.get(CAUSATION_ID).cloned()),
        data: data.unwrap_or_default(),
        recorded,
    }
}
