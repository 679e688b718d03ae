//! What a topic should be, in memory and as simple as can be.

use std::collections::{BTreeMap, BTreeSet};

/// An event; its sequence is its place in the list plus one.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: u8,
    pub subject: u8,
    pub kind: u8,
    pub revision: Option<u64>,
    pub position: String,
}

/// What an append answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub first: u64,
    pub count: u64,
    pub revisions: BTreeMap<u8, u64>,
    pub deduplicated: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    IdReused,
    Conflict { subject: u8, actual: Option<u64> },
}

#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Revision(u64),
    NoEvents,
    Exists,
}

pub type Batch = Vec<(u8, u8, u8)>;

#[derive(Debug, Default)]
pub struct Topic {
    pub events: Vec<Event>,
    /// So many of the oldest are gone.
    pub trimmed: u64,
    pub snapshots: BTreeMap<u8, u64>,
    batches: Vec<(Batch, Answer)>,
    pub groups: [Group; 2],
}

impl Topic {
    pub fn last(&self) -> u64 {
        self.events.len() as u64
    }

    pub fn revision(&self, subject: u8) -> Option<u64> {
        self.events
            .iter()
            .filter(|event| event.subject == subject)
            .count()
            .checked_sub(1)
            .map(|n| n as u64)
    }

    /// What an append would answer; [`Topic::record`] makes it so.
    pub fn append(&self, batch: &Batch, expected: &[(u8, Expected)]) -> Result<Answer, Refused> {
        let ids = |batch: &Batch| {
            batch.iter().map(|event| event.0).filter(|id| *id > 0).collect::<BTreeSet<_>>()
        };
        let new = ids(batch);
        for (known, answer) in &self.batches {
            if ids(known).is_disjoint(&new) {
                continue;
            }
            if known != batch {
                return Err(Refused::IdReused);
            }
            return Ok(Answer { deduplicated: true, ..answer.clone() });
        }
        for (subject, expected) in expected {
            let actual = self.revision(*subject);
            let holds = match expected {
                Expected::Revision(revision) => actual == Some(*revision),
                Expected::NoEvents => actual.is_none(),
                Expected::Exists => actual.is_some(),
            };
            if !holds {
                return Err(Refused::Conflict { subject: *subject, actual });
            }
        }
        let mut revisions = BTreeMap::new();
        for (_, subject, _) in batch.iter().filter(|event| event.1 > 0) {
            let before = revisions.get(subject).copied().or(self.revision(*subject));
            revisions.insert(*subject, before.map_or(0, |revision| revision + 1));
        }
        Ok(Answer {
            first: self.last() + 1,
            count: batch.len() as u64,
            revisions,
            deduplicated: false,
        })
    }

    pub fn record(&mut self, batch: &Batch, answer: &Answer, positions: &[String]) {
        for ((id, subject, kind), position) in batch.iter().zip(positions) {
            let revision =
                (*subject > 0).then(|| self.revision(*subject).map_or(0, |revision| revision + 1));
            let position = position.clone();
            self.events.push(Event { id: *id, subject: *subject, kind: *kind, revision, position });
        }
        self.batches.push((batch.clone(), answer.clone()));
    }

    /// The sequences that are kept.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.trimmed + 1..=self.last()
    }

    pub fn event(&self, sequence: u64) -> &Event {
        &self.events[usize::try_from(sequence).unwrap() - 1]
    }

    /// The oldest revision of a subject that is kept, or the next there will be.
    pub fn first_revision(&self, subject: u8) -> u64 {
        self.events
            .iter()
            .take(usize::try_from(self.trimmed).unwrap())
            .filter(|event| event.subject == subject)
            .count() as u64
    }
}

/// A group; the second one is ordered by subject.
#[derive(Debug, Default)]
pub struct Group {
    pub ordered: bool,
    /// Everything up to here was looked at.
    pub checkpoint: u64,
    pub retry: BTreeSet<u64>,
    pub leased: BTreeSet<u64>,
    pub waiting: BTreeSet<u64>,
    /// In the order in which they were parked.
    pub parked: Vec<u64>,
    pub failures: BTreeMap<u64, u32>,
    /// So many that were trimmed while they waited may not have been noticed yet.
    pub unnoticed: u64,
}

impl Group {
    pub fn pending(&self) -> u64 {
        (self.retry.len() + self.leased.len() + self.waiting.len()) as u64
    }

    fn busy(&self, events: &[Event], subject: u8) -> bool {
        let of =
            |sequence: &u64| events[usize::try_from(*sequence).unwrap() - 1].subject == subject;
        self.ordered && subject > 0 && (self.retry.iter().any(of) || self.leased.iter().any(of))
    }

    /// Checks what a fetch delivered and follows it.
    pub fn delivered(&mut self, events: &[Event], trimmed: u64, wanted: usize, got: &[u64]) {
        // What was trimmed while it waited for a retry is dropped, and lets the next of its subject go.
        while let Some(gone) = self.retry.iter().copied().find(|sequence| *sequence <= trimmed) {
            self.retry.remove(&gone);
            self.finish(events, gone);
            self.unnoticed += 1;
        }
        if got.len() < wanted {
            self.unnoticed = 0;
        }
        let again: BTreeSet<u64> =
            got.iter().copied().filter(|sequence| self.retry.contains(sequence)).collect();
        assert_eq!(
            again.len(),
            wanted.min(self.retry.len()),
            "retries come first: {got:?} of {self:?}"
        );
        let mut left = wanted - again.len();
        let mut expected = again.clone();
        for sequence in again {
            self.retry.remove(&sequence);
            self.leased.insert(sequence);
        }
        self.checkpoint = self.checkpoint.max(trimmed);
        while left > 0 && self.checkpoint < events.len() as u64 {
            self.checkpoint += 1;
            let next = self.checkpoint;
            if self.busy(events, events[usize::try_from(next).unwrap() - 1].subject) {
                self.waiting.insert(next);
                continue;
            }
            self.leased.insert(next);
            expected.insert(next);
            left -= 1;
        }
        assert_eq!(got.iter().copied().collect::<BTreeSet<_>>(), expected, "{self:?}");
    }

    pub fn finish(&mut self, events: &[Event], sequence: u64) {
        self.leased.remove(&sequence);
        self.failures.remove(&sequence);
        let subject = |sequence: u64| events[usize::try_from(sequence).unwrap() - 1].subject;
        if !self.ordered || subject(sequence) == 0 {
            return;
        }
        let next = self.waiting.iter().copied().find(|other| subject(*other) == subject(sequence));
        if let Some(next) = next {
            self.waiting.remove(&next);
            self.retry.insert(next);
        }
    }

    /// An event is parked once, also when it was parked before a reset.
    pub fn park(&mut self, sequence: u64) {
        self.parked.retain(|parked| *parked != sequence);
        self.parked.push(sequence);
    }

    /// A delivery failed; with the third failure it is parked.
    pub fn fail(&mut self, events: &[Event], sequence: u64) {
        let failures = self.failures.get(&sequence).copied().unwrap_or(0) + 1;
        if failures >= 3 {
            self.park(sequence);
            self.finish(events, sequence);
        } else {
            self.leased.remove(&sequence);
            self.retry.insert(sequence);
            self.failures.insert(sequence, failures);
        }
    }

    pub fn replay(&mut self, events: &[Event], trimmed: u64, count: usize) -> usize {
        let taken: Vec<u64> = self.parked.drain(..count.min(self.parked.len())).collect();
        for sequence in taken.iter().copied().filter(|sequence| *sequence > trimmed) {
            if self.busy(events, events[usize::try_from(sequence).unwrap() - 1].subject) {
                self.waiting.insert(sequence);
            } else {
                self.retry.insert(sequence);
            }
        }
        taken.len()
    }
}
