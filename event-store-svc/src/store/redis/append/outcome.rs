//! What `append.lua` answered.

use std::collections::HashSet;
use std::iter::Peekable;
use std::vec;

use redis_link::values::{Items, array, int, text as text_of, unsigned};
use redis_link::{LinkError, Value};

use super::batch::text;
use crate::error::StoreError;
use crate::model::{Append, Appended, Durability, Expected, Position};
use crate::store::Result;

pub type Read<T> = std::result::Result<T, LinkError>;

/// What the script answered.
pub struct Outcome {
    /// When the topic was created.
    pub created: u64,
    /// Milliseconds of all new positions.
    pub ms: u64,
    /// Last sequence before.
    pub sequence: u64,
    /// The requests that were not appended, in order.
    pub exceptions: Vec<Exception>,
    /// Last revision of each subject before; -1: none.
    pub revisions: Vec<i64>,
}

impl Outcome {
    /// Reads it.
    pub fn of(reply: Value) -> Read<Self> {
        let mut reply = Items::of(reply)?;
        Ok(Self {
            created: unsigned(&reply.next_value()?)?,
            ms: reply.next_unsigned()?,
            sequence: reply.next_unsigned()?,
            exceptions: array(reply.next_value()?)?
                .into_iter()
                .map(Exception::of)
                .collect::<Read<_>>()?,
            revisions: array(reply.next_value()?)?.iter().map(int).collect::<Read<_>>()?,
        })
    }
}

/// A request that was not appended.
pub struct Exception {
    request: u64,
    why: Why,
}

enum Why {
    Conflict { expectation: u64, actual: i64 },
    IdReused(String),
    Repeated(String),
}

/// The exception of this request, if it is one.
pub fn next_of(
    exceptions: &mut Peekable<vec::IntoIter<Exception>>,
    request: u64,
) -> Option<Exception> {
    exceptions.next_if(|exception| exception.request == request)
}

impl Exception {
    fn of(value: Value) -> Read<Self> {
        let mut parts = Items::of(value)?;
        let request = parts.next_unsigned()?;
        let why = match parts.next_int()? {
            1 => Why::Conflict { expectation: parts.next_unsigned()?, actual: parts.next_int()? },
            2 => Why::IdReused(text_of(parts.next_value()?)?),
            _ => Why::Repeated(text_of(parts.next_value()?)?),
        };
        Ok(Self { request, why })
    }

    /// What its caller is told.
    pub fn answer(self, item: &Append, durability: Durability) -> Read<Result<Appended>> {
        match self.why {
            Why::Conflict { expectation, actual } => conflict(item, expectation, actual).map(Err),
            Why::IdReused(id) => Ok(Err(StoreError::IdReused(id))),
            Why::Repeated(answer) => repeated(item, &answer, durability).map(Ok),
        }
    }
}

fn conflict(item: &Append, expectation: u64, actual: i64) -> Read<StoreError> {
    let failed = usize::try_from(expectation).ok().and_then(|index| item.expectations.get(index));
    let failed = failed.ok_or(LinkError::Protocol("an expectation of the request was expected"))?;
    let none = || "no_events".to_owned();
    Ok(StoreError::RevisionConflict {
        subject: failed.subject.as_str().to_owned(),
        expected: match failed.expected {
            Expected::Revision(revision) => revision.to_string(),
            Expected::NoEvents => none(),
            Expected::Exists => "exists".to_owned(),
        },
        actual: u64::try_from(actual).map_or_else(|_| none(), |revision| revision.to_string()),
    })
}

/// The answer of the first time: `<first position> <last revision of each subject>…`.
fn repeated(item: &Append, answer: &str, durability: Durability) -> Read<Appended> {
    let malformed = LinkError::Protocol("the answer of the first time was expected");
    let mut parts = answer.split(' ');
    let first = parts.next().and_then(Position::parse);
    let Some(first) = first.filter(|_| !item.events.is_empty()) else { return Err(malformed) };
    let mut seen = HashSet::new();
    let subjects = item.events.iter().filter_map(|event| event.subject.as_ref()).map(text);
    let mut subject_revisions = Vec::new();
    for subject in subjects.filter(|subject| seen.insert(*subject)) {
        let Some(revision) = parts.next().and_then(|part| part.parse().ok()) else {
            return Err(malformed);
        };
        subject_revisions.push((subject.to_owned(), revision));
    }
    Ok(Appended {
        first,
        last: Position { ms: first.ms, sequence: first.sequence + item.events.len() as u64 - 1 },
        first_sequence: first.sequence,
        subject_revisions,
        deduplicated: true,
        durability,
    })
}
