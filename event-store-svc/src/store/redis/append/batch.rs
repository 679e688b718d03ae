//! One call of `append.lua`: the requests in it, and what its answer means for each.

use std::collections::HashMap;
use std::iter::Peekable;
use std::vec;

use bytes::Bytes;
use redis_link::values::{Items, array, int, text as text_of, unsigned};
use redis_link::{Call, LinkError, Script, Value};

use super::super::keys::TopicKeys;
use super::super::shape::Shape;
use crate::error::StoreError;
use crate::model::{Append, Appended, Durability, Expected, Name, Position};
use crate::store::Result;

type Read<T> = std::result::Result<T, LinkError>;

/// The topic that a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// It must exist.
    Existing,
    /// It is created when it is missing.
    Create,
    /// It must be the one that was created then. Such a call may be under way behind another.
    CreatedAt(u64),
}

/// A call, and what its answer is read with.
pub struct Batch<'a> {
    items: &'a [Append],
    call: Call<'a>,
    /// The subject of each event, as the call numbers them; only of items that are no plain ones.
    numbers: Vec<u32>,
    subjects: usize,
}

/// Nothing of it can fail: the script takes the events of several such requests as one run.
fn is_plain(item: &Append) -> bool {
    item.fingerprint.is_none()
        && item.expectations.is_empty()
        && item.events.iter().all(|event| event.subject.is_none())
}

impl<'a> Batch<'a> {
    /// Puts the call together.
    pub fn new(script: &'a Script, topic: &Name, items: &'a [Append], to: Topic) -> Self {
        let mut shape = Shape::with_capacity(items.len() * 4);
        let mut subjects = Subjects::default();
        let mut numbers = Vec::new();
        let (mut ids, mut texts, mut bytes) = (0, 0, 0);
        let mut run = 0;
        for item in items {
            texts += item.events.len() + usize::from(item.fingerprint.is_some());
            bytes += item.events.iter().map(|event| event.encoded.len() + 16).sum::<usize>();
            if is_plain(item) {
                run += item.events.len();
                continue;
            }
            end_run(&mut shape, &mut run);
            let own_ids = item.events.iter().filter(|event| event.id.is_some()).count();
            ids += own_ids;
            shape.count(item.events.len()).count(item.expectations.len()).count(own_ids);
            for expectation in &item.expectations {
                let subject = subjects.number(expectation.subject.as_str());
                let (kind, revision) = match expectation.expected {
                    Expected::Revision(revision) => (1, revision),
                    Expected::NoEvents => (2, 0),
                    Expected::Exists => (3, 0),
                };
                shape.push(u64::from(subject)).push(kind).push(revision);
            }
            for event in &item.events {
                let number = event.subject.as_ref().map_or(0, |name| subjects.number(text(name)));
                numbers.push(number);
                shape.push(u64::from(number));
            }
        }
        end_run(&mut shape, &mut run);

        let names = TopicKeys::new(topic);
        let mut keys = Vec::with_capacity(5 + subjects.names.len());
        keys.extend([names.log(), names.meta(), names.rev(), names.ids(0), names.ids(1)]);
        keys.extend(subjects.names.iter().map(|subject| names.subject(subject)));
        let args = 4 + subjects.names.len() + ids + texts;
        let bytes = bytes + (subjects.names.len() + ids) * 48 + shape.len() + 256;
        let mut call = match to {
            Topic::CreatedAt(_) => script.call_whole(&keys, args, bytes),
            Topic::Existing | Topic::Create => script.call_sized(&keys, args, bytes),
        };
        call.arg(names.bell());
        match to {
            Topic::Existing => call.arg(""),
            Topic::Create => call.arg("create"),
            Topic::CreatedAt(created) => call.arg(created),
        };
        call.arg(ids).arg(&shape.packed()[..]);
        for subject in &subjects.names {
            call.arg(*subject);
        }
        for id in items.iter().flat_map(|item| &item.events).filter_map(|event| event.id.as_ref()) {
            call.arg(&id[..]);
        }
        for item in items {
            if let Some(fingerprint) = &item.fingerprint {
                call.arg(&fingerprint[..]);
            }
            for event in &item.events {
                call.arg(&event.encoded[..]);
            }
        }
        Self { items, call, numbers, subjects: subjects.names.len() }
    }

    /// The call.
    pub fn call(&self) -> &Call<'a> {
        &self.call
    }

    /// Answers each item. The script tells what stood before and which requests it left out: what
    /// the others became follows, as sequences and revisions are dense.
    pub fn answers(&self, outcome: Outcome, durability: Durability) -> Read<Vec<Result<Appended>>> {
        let Outcome { ms, mut sequence, exceptions, mut revisions, .. } = outcome;
        if revisions.len() != self.subjects {
            return Err(LinkError::Protocol("a revision for each subject was expected"));
        }
        let mut exceptions = exceptions.into_iter().peekable();
        let mut numbers = self.numbers.iter();
        // A run of plain items is one request of the script.
        let (mut request, mut in_run) = (0_u64, false);
        let mut answers = Vec::with_capacity(self.items.len());
        for item in self.items {
            let count = item.events.len() as u64;
            let at = |sequence| Position { ms, sequence };
            let mut appended = Appended {
                first: at(sequence + 1),
                last: at(sequence + count),
                first_sequence: sequence + 1,
                subject_revisions: Vec::new(),
                deduplicated: false,
                durability,
            };
            if is_plain(item) {
                in_run = true;
            } else {
                request += u64::from(std::mem::take(&mut in_run));
                let own = numbers.by_ref().take(item.events.len());
                if let Some(exception) = next_of(&mut exceptions, request) {
                    own.for_each(drop);
                    answers.push(exception.answer(item, durability)?);
                    request += 1;
                    continue;
                }
                request += 1;
                appended.subject_revisions = advance(item, own, &mut revisions)?;
            }
            sequence += count;
            answers.push(Ok(appended));
        }
        Ok(answers)
    }
}

/// Counts the subjects of an item on; answers each once, in the order in which the item has them.
fn advance<'a>(
    item: &Append,
    numbers: impl Iterator<Item = &'a u32>,
    revisions: &mut [i64],
) -> Read<Vec<(String, u64)>> {
    let mut seen: Vec<(u32, &Bytes)> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for (event, number) in item.events.iter().zip(numbers) {
        let Some(subject) = &event.subject else { continue };
        revisions[*number as usize - 1] += 1;
        if item.events.len() == 1 || known.insert(*number) {
            seen.push((*number, subject));
        }
    }
    let last = |(number, subject): (u32, &Bytes)| {
        let revision = u64::try_from(revisions[number as usize - 1]);
        let revision = revision.map_err(|_| LinkError::Protocol("a revision below zero"))?;
        Ok((text(subject).to_owned(), revision))
    };
    seen.into_iter().map(last).collect()
}

/// What the script answered.
pub struct Outcome {
    created: u64,
    ms: u64,
    sequence: u64,
    exceptions: Vec<Exception>,
    revisions: Vec<i64>,
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

    /// When the topic was created.
    pub fn created(&self) -> u64 {
        self.created
    }
}

/// A request that was not appended.
struct Exception {
    request: u64,
    why: Why,
}

enum Why {
    Conflict { expectation: u64, actual: i64 },
    IdReused(String),
    Repeated(String),
}

/// The exception of this request, if it is one.
fn next_of(exceptions: &mut Peekable<vec::IntoIter<Exception>>, request: u64) -> Option<Exception> {
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

    fn answer(self, item: &Append, durability: Durability) -> Read<Result<Appended>> {
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
    let mut seen = std::collections::HashSet::new();
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

/// Ends a run of plain events.
fn end_run(shape: &mut Shape, events: &mut usize) {
    if *events > 0 {
        shape.push(0).count(std::mem::take(events));
    }
}

/// The subjects of a call, each once, numbered from 1.
#[derive(Default)]
struct Subjects<'a> {
    names: Vec<&'a str>,
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Subjects<'a> {
    fn number(&mut self, name: &'a str) -> u32 {
        let next = u32::try_from(self.names.len() + 1).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(name).or_insert(next);
        if number == next {
            self.names.push(name);
        }
        number
    }
}

/// A subject's bytes were checked to be UTF-8 when the event was.
fn text(subject: &Bytes) -> &str {
    std::str::from_utf8(subject).unwrap_or_default()
}
