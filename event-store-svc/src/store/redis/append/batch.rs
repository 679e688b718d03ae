//! One call of `append.lua`: the requests in it, and what its outcome means for each.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use redis_link::{Call, LinkError, Script};

use super::super::keys::TopicKeys;
use super::super::shape::Shape;
use super::outcome::{Outcome, Read, next_of};
use crate::model::{Append, Appended, Durability, Expected, Name, NewEvent, Position, StoredEvent};
use crate::store::Result;

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
    /// the others became follows, as sequences and revisions are dense. What was appended is added
    /// to `stored`, just as the log has it, if that is wanted.
    pub fn answers(
        &self,
        outcome: Outcome,
        durability: Durability,
        mut stored: Option<&mut Vec<StoredEvent>>,
    ) -> Read<Vec<Result<Appended>>> {
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
            let first = Position { ms, sequence: sequence + 1 };
            let mut keep = |event: &NewEvent, revision| {
                sequence += 1;
                if let Some(stored) = &mut stored {
                    let position = Position { ms, sequence };
                    stored.push(StoredEvent { position, revision, event: event.encoded.clone() });
                }
            };
            let mut subject_revisions = Vec::new();
            if is_plain(item) {
                in_run = true;
                item.events.iter().for_each(|event| keep(event, None));
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
                subject_revisions = advance(item, own, &mut revisions, keep)?;
            }
            answers.push(Ok(Appended {
                first,
                last: Position { ms, sequence },
                first_sequence: first.sequence,
                subject_revisions,
                deduplicated: false,
                durability,
            }));
        }
        Ok(answers)
    }
}

/// Counts the subjects of an item on; answers each once, in the order in which the item has them.
/// `keep` gets each event with its revision.
fn advance<'a>(
    item: &Append,
    numbers: impl Iterator<Item = &'a u32>,
    revisions: &mut [i64],
    mut keep: impl FnMut(&NewEvent, Option<u64>),
) -> Read<Vec<(String, u64)>> {
    let mut seen: Vec<(u32, &Bytes)> = Vec::new();
    let mut known = HashSet::new();
    for (event, number) in item.events.iter().zip(numbers) {
        let Some(subject) = &event.subject else {
            keep(event, None);
            continue;
        };
        revisions[*number as usize - 1] += 1;
        keep(event, Some(last_of(revisions, *number)?));
        if item.events.len() == 1 || known.insert(*number) {
            seen.push((*number, subject));
        }
    }
    let last = |(number, subject)| Ok((text(subject).to_owned(), last_of(revisions, number)?));
    seen.into_iter().map(last).collect()
}

/// The last revision of the subject with this number.
fn last_of(revisions: &[i64], number: u32) -> Read<u64> {
    let revision = u64::try_from(revisions[number as usize - 1]);
    revision.map_err(|_| LinkError::Protocol("a revision below zero"))
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
pub(super) fn text(subject: &Bytes) -> &str {
    std::str::from_utf8(subject).unwrap_or_default()
}
