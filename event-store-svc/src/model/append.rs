//! Appends: what is asked for and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use svc_observe::context::SpanContext;

use super::{Name, NewEvent, Position, Subject};

/// How far a write must have got before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// In memory, and on disk as Redis is configured.
    #[default]
    Memory,
    /// On the disk of the primary.
    Fsynced,
    /// In the memory of the configured number of replicas.
    Replicated,
}

/// What a subject must look like before an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The subject.
    pub subject: Subject,
    /// Its state.
    pub expected: Expected,
}

/// The state of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Its last revision is this one.
    Revision(u64),
    /// It has no events.
    NoEvents,
    /// It has at least one event.
    Exists,
}

/// Events to be appended, all or nothing.
#[derive(Clone, Debug)]
pub struct Append {
    /// The topic.
    pub topic: Name,
    /// At least one event.
    pub events: Vec<NewEvent>,
    /// Of the content of all events; absent when none has an id of its own.
    pub fingerprint: Option<[u8; 16]>,
    /// Checked before.
    pub expectations: Vec<Expectation>,
    /// When to answer.
    pub durability: Durability,
    /// The stream that it came by.
    pub stream: Option<AppendOrder>,
    /// When it was asked for.
    pub begun: Instant,
    /// The span that asked for it, if that is recorded.
    pub trace: Option<Box<SpanContext>>,
}

/// What appends of one stream share: when the outcome of one is not known, those behind it must not
/// be made before it is repeated.
#[derive(Clone, Debug, Default)]
pub struct AppendOrder(Arc<AtomicBool>);

impl AppendOrder {
    /// No more appends are made.
    pub fn end(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether no more appends are made.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Where the events of an append stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first event.
    pub first: Position,
    /// Position of the last event.
    pub last: Position,
    /// Sequence of the first event.
    pub first_sequence: u64,
    /// The last revision of each subject in it.
    pub subject_revisions: Vec<(String, u64)>,
    /// Whether this is the answer of an earlier append of the same events.
    pub deduplicated: bool,
    /// What was reached.
    pub durability: Durability,
}
