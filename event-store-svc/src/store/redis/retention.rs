//! Retention: the oldest events go, in bounded steps, and nothing that a group still needs.

use std::collections::HashMap;

use redis_link::values::{Items, array, int, text};
use redis_link::{LinkError, Value, cmd, pipe};

use super::entry::{optional_number, optional_position};
use super::keys::RETAINED;
use super::topics::millis;
use super::{RedisStore, error};
use crate::model::{Direction, Name, Position, StoredEvent, Topic};
use crate::store::Result;

/// Events that one step removes at most.
const STEP: u64 = 500;
/// Steps of one sweep of one topic: the rest has to wait for the next.
const STEPS: usize = 100;
/// How long a replica has a topic's sweep for itself.
const SWEEP_HOLD_MS: u64 = 4_000;

impl RedisStore {
    /// Sweeps the topics that have a limit and are not being swept by another replica.
    pub(super) async fn sweep_topics(&self) -> Result<()> {
        let mut command = cmd("SMEMBERS");
        command.arg(RETAINED);
        let names =
            self.link.query(&command).await.and_then(array).map_err(|e| error::of_read(&e))?;
        for name in names.into_iter().filter_map(|name| text(name).ok()) {
            let Some(topic) = Name::parse(&name) else {
                continue;
            };
            let mut hold = cmd("SET");
            hold.arg(self.keys(&topic).sweep()).arg(1).arg("NX").arg("PX").arg(SWEEP_HOLD_MS);
            let held = self.link.query(&hold).await.map_err(|e| error::of_write(&e))?;
            if held != Value::Nil {
                self.sweep_topic(&topic).await?;
            }
        }
        Ok(())
    }

    async fn sweep_topic(&self, name: &Name) -> Result<()> {
        for _ in 0..STEPS {
            // Before the groups are looked at: one that comes, or goes back, meanwhile is spared too.
            let groups = self.groups_changed(name).await?;
            let topic = match self.describe_topic(name).await {
                Ok(topic) => topic,
                Err(crate::error::StoreError::TopicNotFound(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            let floor = if topic.retention.keep_unacknowledged {
                self.needed_by_groups(&topic).await?
            } else {
                Position::MAX
            };
            let now = self.now().await?;
            let oldest =
                self.range(name, Position::ZERO, Position::MAX, Direction::Forward, STEP).await?;
            let old =
                topic.retention.max_age.map(|age| Position::at(millis(now.saturating_sub(age))));
            let (mut events, mut bytes) = (topic.events, topic.bytes);
            let mut count = 0;
            for event in &oldest {
                let surplus = topic.retention.max_events.is_some_and(|max| events > max)
                    || topic.retention.max_bytes.is_some_and(|max| bytes > max)
                    || old.is_some_and(|old| event.position < old);
                if !surplus || event.position >= floor {
                    break;
                }
                events = events.saturating_sub(1);
                bytes = bytes.saturating_sub(event.event.len() as u64);
                count += 1;
            }
            if count == 0
                || !self.trim(name, &oldest[..count], Some(groups)).await?
                || count < oldest.len()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes every event before a position; answers how many.
    pub(super) async fn truncate(&self, topic: &Name, before: Position) -> Result<u64> {
        self.state(topic).await?;
        let mut removed = 0;
        loop {
            let oldest = self
                .range(topic, Position::ZERO, before.before(), Direction::Forward, STEP)
                .await?;
            if oldest.is_empty() || before == Position::ZERO {
                return Ok(removed);
            }
            if self.trim(topic, &oldest, None).await? {
                removed += oldest.len() as u64;
            }
        }
    }

    /// One step: removes these, the oldest there are; false when another replica was faster, or a
    /// group has come or gone back since so many of these changes.
    async fn trim(
        &self,
        topic: &Name,
        going: &[StoredEvent],
        groups_changed: Option<u64>,
    ) -> Result<bool> {
        let (Some(first), Some(last)) = (going.first(), going.last()) else {
            return Ok(false);
        };
        let mut subjects: HashMap<&str, u64> = HashMap::new();
        for event in going {
            if let Some(subject) = event.view().subject {
                *subjects.entry(subject).or_default() += 1;
            }
        }
        let keys = self.keys(topic);
        let mut all = vec![keys.log(), keys.meta()];
        all.extend(subjects.keys().map(|subject| keys.subject(subject)));
        let mut call = self.scripts.trim.call(&all);
        let bytes: usize = going.iter().map(|event| event.event.len()).sum();
        call.arg(first.position.to_string()).arg(last.position.to_string());
        call.arg(going.len()).arg(bytes).arg(last.position.sequence);
        call.arg(groups_changed.map(|changes| changes.to_string()).unwrap_or_default());
        for count in subjects.values() {
            call.arg(*count);
        }
        let done = self.link.invoke(&call).await.and_then(|value| int(&value));
        Ok(done.map_err(|e| error::of_write(&e))? == 1)
    }

    /// How often groups came or were set back.
    async fn groups_changed(&self, topic: &Name) -> Result<u64> {
        let mut command = cmd("HGET");
        command.arg(self.keys(topic).meta()).arg("groups_changed");
        let answer = self.link.query(&command).await.and_then(|value| optional_number(&value));
        Ok(answer.map_err(|e| error::of_read(&e))?.unwrap_or(0))
    }

    /// The oldest position that some group has not done yet.
    async fn needed_by_groups(&self, topic: &Topic) -> Result<Position> {
        let keys = self.keys(&topic.name);
        let mut floor = Position::MAX;
        for group in &topic.groups {
            let mut commands = pipe();
            commands.cmd("HGET").arg(keys.group_meta(group)).arg("checkpoint");
            commands.cmd("XPENDING").arg(keys.log()).arg(group.as_str());
            let oldest = |answers: Vec<Value>| -> std::result::Result<_, LinkError> {
                let mut answers = Items::of(Value::Array(answers))?;
                let checkpoint = optional_position(&answers.next_value()?)?;
                let mut pending = Items::of(answers.next_value()?)?;
                let _count = pending.next_value()?;
                Ok((checkpoint, optional_position(&pending.next_value()?)?))
            };
            let (checkpoint, pending) = match self.link.pipeline(&commands).await.and_then(oldest) {
                Ok(found) => found,
                // Redis lost the group: nothing goes until it has been made anew.
                Err(LinkError::Refused { .. }) => return Ok(Position::ZERO),
                Err(e) => return Err(error::of_read(&e)),
            };
            // A group that is being deleted has no checkpoint, and needs nothing.
            let needed = checkpoint.map_or(Position::MAX, Position::after);
            floor = floor.min(needed).min(pending.unwrap_or(Position::MAX));
        }
        Ok(floor)
    }
}
