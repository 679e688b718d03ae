//! What this replica itself appended, on its way to its own tail: where it stands follows from the
//! answer of the script, so it need not be read again.
//!
//! Nothing depends on it: what does not fit, comes late, or does not follow what the tail has, is
//! read from Redis, as is what others appended and what was appended by calls whose answer was lost.

use std::mem::take;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Tail;
use crate::model::{Position, StoredEvent};

/// What may wait for a tail.
const MAX_EVENTS: usize = 2_048;
const MAX_BYTES: usize = 2 << 20;

/// What waits for a tail.
#[derive(Debug, Default)]
pub struct Handed {
    waiting: Mutex<Waiting>,
    under_way: AtomicUsize,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: Vec<Batch>,
    events: usize,
    bytes: usize,
}

/// What one call appended, in order and without holes.
#[derive(Debug)]
struct Batch {
    epoch: Epoch,
    events: Vec<StoredEvent>,
}

/// The topic that was appended to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// When the topic was created: tells it from another one of the same name.
    pub created: u64,
    /// The connection to Redis. What comes over another one may follow other events, if Redis lost
    /// some: a reader looks first.
    pub connection: u64,
}

/// What was handed over since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What follows the head, in order and without holes.
    pub events: Vec<StoredEvent>,
    /// When their topic was created.
    pub created: Option<u64>,
    /// There is more that cannot be told from this alone: it has to be read. It came over this
    /// connection.
    pub gap: Option<u64>,
}

impl Handed {
    /// Whether an append of this replica is under way: what it appends may be about to come.
    pub fn is_expected(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// Waits until something was handed over, or an append has ended, since the last call.
    /// Cancel-safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes what was handed over and is not known to a tail that got up to `head` in the topic
    /// that was `created` then (none: there was no topic), and has read since `connection` is used.
    pub fn take(&self, head: Position, mut created: Option<u64>, connection: Option<u64>) -> Taken {
        let Waiting { mut batches, .. } = take(&mut *self.waiting());
        // Answers of calls over different connections may overtake each other.
        batches.sort_by_key(|batch| batch.events.first().map(|first| first.position));
        let (mut at, mut taken) = (head, Taken::default());
        for mut batch in batches {
            let Epoch { created: of, connection: over } = batch.epoch;
            // The first events of a topic that was not there make it known.
            let is_same = created.map_or(at == Position::ZERO, |known| known == of)
                && connection == Some(over);
            batch.events.retain(|event| !is_same || event.position > at);
            let Some((first, last)) = batch.events.first().zip(batch.events.last()) else {
                continue;
            };
            if !is_same || first.position.sequence != at.sequence + 1 {
                taken.gap = Some(over);
                break;
            }
            (at, created) = (last.position, Some(of));
            taken.events.append(&mut batch.events);
        }
        taken.created = created;
        taken
    }

    fn put(&self, epoch: Epoch, events: Vec<StoredEvent>) {
        let bytes = events.iter().map(|event| event.event.len()).sum::<usize>();
        let mut waiting = self.waiting();
        if waiting.events + events.len() <= MAX_EVENTS && waiting.bytes + bytes <= MAX_BYTES {
            waiting.events += events.len();
            waiting.bytes += bytes;
            waiting.batches.push(Batch { epoch, events });
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An append to a topic that has a tail. However it ends, the tail is told.
#[derive(Debug)]
pub struct Handing {
    tail: Arc<Tail>,
}

impl Handing {
    pub(super) fn new(tail: Arc<Tail>) -> Self {
        tail.handed.under_way.fetch_add(1, Ordering::Relaxed);
        Self { tail }
    }

    /// Hands over what was appended: in order, without holes.
    pub fn over(self, epoch: Epoch, events: Vec<StoredEvent>) {
        if !events.is_empty() {
            self.tail.handed.put(epoch, events);
        }
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        self.tail.handed.under_way.fetch_sub(1, Ordering::Relaxed);
        self.tail.handed.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn at(sequence: u64) -> Position {
        Position { ms: 100 + sequence / 4, sequence }
    }

    fn events(sequences: std::ops::RangeInclusive<u64>) -> Vec<StoredEvent> {
        let event = Bytes::from_static(b"event");
        let event = |sequence| StoredEvent {
            position: at(sequence),
            revision: Some(sequence),
            event: event.clone(),
        };
        sequences.map(event).collect()
    }

    const OVER: u64 = 40;

    fn epoch(created: u64) -> Epoch {
        Epoch { created, connection: OVER }
    }

    fn of(batches: &[(u64, std::ops::RangeInclusive<u64>)]) -> Handed {
        let handed = Handed::default();
        for (created, sequences) in batches {
            handed.put(epoch(*created), events(sequences.clone()));
        }
        handed
    }

    fn took(events: Vec<StoredEvent>, created: Option<u64>, gap: bool) -> Taken {
        Taken { events, created, gap: gap.then_some(OVER) }
    }

    fn take(handed: &Handed, head: Position, created: Option<u64>) -> Taken {
        handed.take(head, created, Some(OVER))
    }

    #[test]
    fn what_follows_is_taken_once_and_in_order() {
        let handed = of(&[(7, 11..=12), (7, 15..=15), (7, 13..=14)]);
        assert_eq!(take(&handed, at(10), Some(7)), took(events(11..=15), Some(7), false));
        assert_eq!(take(&handed, at(15), Some(7)), took(vec![], Some(7), false));
    }

    #[test]
    fn what_was_read_meanwhile_is_not_taken_again() {
        let handed = of(&[(7, 9..=10), (7, 11..=14)]);
        assert_eq!(take(&handed, at(12), Some(7)), took(events(13..=14), Some(7), false));
        let handed = of(&[(7, 9..=10)]);
        assert_eq!(take(&handed, at(12), Some(7)), took(vec![], Some(7), false));
    }

    #[test]
    fn nothing_is_taken_across_a_gap() {
        // 13 was appended by another replica, or its answer was lost.
        let handed = of(&[(7, 11..=12), (7, 14..=15)]);
        assert_eq!(take(&handed, at(10), Some(7)), took(events(11..=12), Some(7), true));
        // It is read, and with it what is behind.
        assert_eq!(take(&handed, at(15), Some(7)), took(vec![], Some(7), false));
    }

    #[test]
    fn nothing_of_another_topic_of_the_name_is_taken() {
        let handed = of(&[(8, 11..=11)]);
        assert_eq!(take(&handed, at(10), Some(7)), took(vec![], Some(7), true));
        let handed = of(&[(8, 1..=1)]);
        assert_eq!(take(&handed, at(10), None), took(vec![], None, true));
        // Also where numbers were passed already.
        let handed = of(&[(8, 1..=1)]);
        assert_eq!(take(&handed, at(10), Some(7)), took(vec![], Some(7), true));
    }

    #[test]
    fn what_came_over_another_connection_is_looked_at_first() {
        let handed = of(&[(7, 11..=12)]);
        let taken = handed.take(at(10), Some(7), None);
        assert_eq!(taken, took(vec![], Some(7), true));
        let handed = of(&[(7, 11..=12)]);
        let taken = handed.take(at(10), Some(7), Some(OVER - 1));
        assert_eq!(taken, took(vec![], Some(7), true));
    }

    #[test]
    fn a_topic_that_was_not_there_begins_with_its_first_event() {
        let handed = of(&[(7, 1..=2), (7, 3..=3)]);
        assert_eq!(take(&handed, Position::ZERO, None), took(events(1..=3), Some(7), false));
        let handed = of(&[(7, 2..=2)]);
        assert_eq!(take(&handed, Position::ZERO, None), took(vec![], None, true));
        let handed = of(&[(7, 1..=1), (8, 2..=2)]);
        assert_eq!(take(&handed, Position::ZERO, None), took(events(1..=1), Some(7), true));
    }

    #[test]
    fn what_waits_is_bounded() {
        let handed = of(&[(7, 1..=2_000), (7, 2_001..=2_100), (7, 2_001..=2_040)]);
        let taken = take(&handed, Position::ZERO, Some(7));
        assert_eq!((taken.events.len(), taken.gap), (2_040, None));
        let large = StoredEvent { event: vec![0; MAX_BYTES + 1].into(), ..events(1..=1).remove(0) };
        handed.put(epoch(7), vec![large]);
        assert_eq!(take(&handed, Position::ZERO, Some(7)), took(vec![], Some(7), false));
    }
}
