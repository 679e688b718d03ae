//! What a topic's `meta` says about how far it goes, and where a reading starts in it.

use redis_link::values::array;
use redis_link::{LinkError, cmd};

use super::entry::{optional_number, optional_position, position};
use super::{RedisStore, error};
use crate::error::StoreError;
use crate::model::{Direction, Name, Position, Start};
use crate::store::Result;

/// Bytes that a page of events may have: with the largest event of the topic this gives how many
/// are asked for, so that a page is bounded whatever is in it.
const PAGE_BYTES: u64 = 16 << 20;
const PAGE_EVENTS: u64 = 1_000;

/// How far a topic goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    /// When it was created: tells it from another one of the same name.
    pub created: u64,
    /// Sequence of the newest event there ever was; 0: there was none.
    pub sequence: u64,
    /// Its position.
    pub last: Option<Position>,
    /// Position of the newest event that is no longer kept.
    pub trimmed: Option<Position>,
    /// Its sequence; 0: all are kept.
    pub trimmed_sequence: u64,
    /// Size of the largest event there ever was.
    pub largest: u64,
}

/// The fields of `meta` that make a state.
pub const STATE_FIELDS: [&str; 6] =
    ["created", "sequence", "last", "trimmed", "trimmed_sequence", "largest"];

impl TopicState {
    /// Reads the answer to `HMGET meta` of [`STATE_FIELDS`]; none: the topic does not exist.
    pub fn of(value: redis_link::Value) -> std::result::Result<Option<Self>, LinkError> {
        let fields = array(value)?;
        let [created, sequence, last, trimmed, trimmed_sequence, largest] = &fields[..] else {
            return Err(LinkError::Protocol("six fields were expected"));
        };
        let Some(created) = optional_number(created)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            created,
            sequence: optional_number(sequence)?.unwrap_or(0),
            last: optional_position(last)?,
            trimmed: optional_position(trimmed)?,
            trimmed_sequence: optional_number(trimmed_sequence)?.unwrap_or(0),
            largest: optional_number(largest)?.unwrap_or(0),
        }))
    }

    /// How many events to ask for at once.
    #[must_use]
    pub fn page(&self) -> u64 {
        page(self.largest)
    }
}

/// How many events of at most this size to ask for at once.
#[must_use]
pub fn page(largest: u64) -> u64 {
    (PAGE_BYTES / largest.max(1)).clamp(1, PAGE_EVENTS)
}

impl RedisStore {
    /// The state of a topic; none: it does not exist.
    pub(super) async fn find_state(&self, topic: &Name) -> Result<Option<TopicState>> {
        let mut command = cmd("HMGET");
        command.arg(self.keys(topic).meta()).arg(&STATE_FIELDS);
        let answer = self.link.query(&command).await.and_then(TopicState::of);
        answer.map_err(|e| error::of_read(&e))
    }

    /// The state of a topic that must exist.
    pub(super) async fn state(&self, topic: &Name) -> Result<TopicState> {
        self.find_state(topic).await?.ok_or_else(|| StoreError::TopicNotFound(topic.clone()))
    }

    /// The first position that a reading may yield, going in its direction.
    pub(super) async fn resolve(
        &self,
        topic: &Name,
        state: &TopicState,
        start: Start,
        direction: Direction,
    ) -> Result<Position> {
        let forward = direction == Direction::Forward;
        let last = state.last.unwrap_or(Position::ZERO);
        match start {
            Start::Beginning if forward => Ok(Position::ZERO),
            Start::End if forward => Ok(last.after()),
            Start::Beginning | Start::End => Ok(last),
            Start::After(position) => {
                if position > last {
                    return Err(self.beyond_head(topic, position, state.last));
                }
                if !forward {
                    return Ok(position.before());
                }
                if state.trimmed.is_some_and(|trimmed| trimmed > position) {
                    return Err(self.trimmed(topic, position).await);
                }
                Ok(position.after())
            }
            Start::Time(time) => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                if !forward {
                    return Ok(Position { ms, sequence: u64::MAX });
                }
                // Positions have milliseconds: one that is part over begins with the next.
                let part_over = time.subsec_nanos() % 1_000_000 > 0;
                Ok(Position::at(ms.saturating_add(u64::from(part_over))))
            }
            Start::Sequence(sequence) => {
                if sequence <= state.trimmed_sequence {
                    return Err(self.trimmed(topic, sequence).await);
                }
                let next = state.sequence + 1;
                if sequence > next || (sequence == next && !forward) {
                    return Err(self.beyond_head(topic, sequence, state.last));
                }
                if sequence == next {
                    return Ok(last.after());
                }
                self.locate(topic, sequence).await
            }
            // Checked at the edge: only where a subject is read, which does not come here.
            Start::Revision(_) => Ok(Position::ZERO),
        }
    }

    /// Where the event with this sequence stands; it must be kept.
    pub(super) async fn locate(&self, topic: &Name, sequence: u64) -> Result<Position> {
        let mut call = self.scripts.locate.call(&[self.keys(topic).log()]);
        call.arg(sequence);
        let answer = self.link.invoke(&call).await.and_then(|value| position(&value));
        answer.map_err(|e| error::of_read(&e))
    }

    pub(super) fn beyond_head(
        &self,
        topic: &Name,
        position: impl std::fmt::Display,
        head: Option<Position>,
    ) -> StoreError {
        StoreError::PositionBeyondHead {
            topic: topic.clone(),
            position: position.to_string(),
            head,
        }
    }

    /// Says that events are gone, and which one is the first that is left.
    pub(super) async fn trimmed(
        &self,
        topic: &Name,
        position: impl std::fmt::Display,
    ) -> StoreError {
        let position = position.to_string();
        match self.first_position(topic).await {
            Ok(first) => StoreError::PositionTrimmed { topic: topic.clone(), position, first },
            Err(error) => error,
        }
    }

    /// Position of the oldest event that is kept.
    pub(super) async fn first_position(&self, topic: &Name) -> Result<Option<Position>> {
        let first = self.range(topic, Position::ZERO, Position::MAX, Direction::Forward, 1).await?;
        Ok(first.first().map(|event| event.position))
    }
}
