//! Groups: created, changed, described, listed, reset, deleted.

use std::time::Duration;

use redis_link::values::{Items, array, int, optional_text, pairs, text, unsigned};
use redis_link::{LinkError, Value, cmd, pipe};

use super::existing;
use super::settings::{GroupMeta, change_fields, fields};
use crate::error::StoreError;
use crate::model::{Consumer, Direction, Group, GroupSettings, Name, Position, Start};
use crate::store::redis::append::register;
use crate::store::redis::entry::optional_position;
use crate::store::redis::state::{STATE_FIELDS, TopicState};
use crate::store::redis::topics::{millis, time};
use crate::store::redis::{RedisStore, error};
use crate::store::{GroupChange, Page, Result};

/// Acks are counted in slots of so many milliseconds; see `group_settle.lua`.
const ACKED_SLOT_MS: u64 = 5_000;
/// Slots that a rate is told over.
const ACKED_SLOTS: u64 = 12;

impl RedisStore {
    pub(in crate::store::redis) async fn make_group(
        &self,
        topic: &Name,
        group: &Name,
        settings: GroupSettings,
    ) -> Result<Group> {
        if let Some(found) = self.same_group(topic, group, &settings).await? {
            return Ok(found);
        }
        if self.find_state(topic).await?.is_none() {
            if !self.auto_create {
                return Err(StoreError::TopicNotFound(topic.clone()));
            }
            self.make_topic(topic, crate::model::TopicSettings::default()).await?;
        }
        let (after, sequence) = self.start_of_group(topic, settings.start).await?;
        let keys = self.keys(topic);
        let names = [keys.log(), keys.meta(), keys.group_meta(group), keys.groups()];
        let mut call = self.scripts.group_create.call(&names);
        call.arg(group.as_str()).arg(after.to_string()).arg(sequence);
        for (field, value) in fields(&settings) {
            call.arg(field).arg(value);
        }
        register(&self.link, topic).await?;
        match self.link.invoke(&call).await.map_err(|e| error::of_write(&e))? {
            Value::Nil => Err(StoreError::TopicNotFound(topic.clone())),
            // Somebody else was faster.
            Value::Int(0) => match self.same_group(topic, group, &settings).await? {
                Some(found) => Ok(found),
                None => {
                    Err(StoreError::GroupNotFound { topic: topic.clone(), group: group.clone() })
                }
            },
            _ => self.describe_group(topic, group).await,
        }
    }

    /// The group if it exists with these settings, an error if with others.
    async fn same_group(
        &self,
        topic: &Name,
        group: &Name,
        settings: &GroupSettings,
    ) -> Result<Option<Group>> {
        match self.describe_group(topic, group).await {
            Ok(found) if found.settings == *settings => Ok(Some(found)),
            Ok(_) => Err(StoreError::AlreadyExists(format!("group {group} of topic {topic}"))),
            Err(StoreError::GroupNotFound { .. } | StoreError::TopicNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The position after which a group starts, and how many events there are up to it.
    async fn start_of_group(&self, topic: &Name, start: Start) -> Result<(Position, u64)> {
        let state = self.state(topic).await?;
        let first = self.resolve(topic, &state, start, Direction::Forward).await?;
        let next = self.range(topic, first, Position::MAX, Direction::Forward, 1).await?;
        let sequence = next.first().map_or(state.sequence, |event| event.position.sequence - 1);
        Ok((first.before(), sequence))
    }

    pub(in crate::store::redis) async fn change_group(
        &self,
        topic: &Name,
        group: &Name,
        change: &GroupChange,
    ) -> Result<Group> {
        let found = self.describe_group(topic, group).await?;
        let initial = change.backoff_initial.unwrap_or(found.settings.backoff_initial);
        let change = GroupChange {
            // The longest wait is never shorter than the first.
            backoff_max: Some(
                change.backoff_max.unwrap_or(found.settings.backoff_max).max(initial),
            ),
            ..change.clone()
        };
        let mut call = self.scripts.update_settings.call(&[self.keys(topic).group_meta(group)]);
        for (field, value) in change_fields(&change) {
            call.arg(field).arg(value);
        }
        let done = self.link.invoke(&call).await.and_then(|value| int(&value));
        match done.map_err(|e| error::of_write(&e))? {
            0 => Err(StoreError::GroupNotFound { topic: topic.clone(), group: group.clone() }),
            _ => self.describe_group(topic, group).await,
        }
    }

    pub(in crate::store::redis) async fn set_group(
        &self,
        topic: &Name,
        group: &Name,
        start: Start,
    ) -> Result<Group> {
        let (after, sequence) = self.start_of_group(topic, start).await?;
        let keys = self.keys(topic);
        let mut names = vec![keys.log(), keys.meta(), keys.group_meta(group)];
        let forgotten =
            ["leases", "retry", "tries", "busy", "waiting", "subjects", "done", "done_at"];
        names.extend(forgotten.map(|name| keys.group(group, name)));
        let mut call = self.scripts.group_reset.call(&names);
        call.arg(group.as_str()).arg(keys.bell()).arg(after.to_string()).arg(sequence);
        let answer = self.link.invoke(&call).await.map_err(|e| error::of_write(&e))?;
        existing(answer, topic, group)?;
        self.describe_group(topic, group).await
    }

    /// Removes a group; answers whether there was one.
    pub(in crate::store::redis) async fn drop_group(
        &self,
        topic: &Name,
        group: &Name,
    ) -> Result<bool> {
        let keys = self.keys(topic);
        let mut names = vec![keys.log(), keys.groups()];
        names.extend(keys.group_all(group).into_iter().skip(2));
        let mut call = self.scripts.group_delete.call(&names);
        call.arg(group.as_str()).arg(keys.bell());
        let answer = self.link.invoke(&call).await.and_then(|value| int(&value));
        Ok(answer.map_err(|e| error::of_write(&e))? == 1)
    }

    pub(in crate::store::redis) async fn page_of_groups(
        &self,
        topic: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Group>> {
        self.state(topic).await?;
        let registry = self.keys(topic).groups();
        let (names, next) = self.page_of_names(&registry, after, limit).await?;
        let mut items = Vec::with_capacity(names.len());
        for name in &names {
            match self.describe_group(topic, name).await {
                Ok(group) => items.push(group),
                // Deleted meanwhile.
                Err(StoreError::GroupNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Page { items, next })
    }

    pub(in crate::store::redis) async fn describe_group(
        &self,
        topic: &Name,
        group: &Name,
    ) -> Result<Group> {
        let keys = self.keys(topic);
        let mut commands = pipe();
        commands.cmd("TIME");
        commands.cmd("HMGET").arg(keys.meta()).arg(&STATE_FIELDS);
        commands.cmd("HGETALL").arg(keys.group_meta(group));
        for name in ["leases", "retry", "waiting", "parked"] {
            commands.cmd("ZCARD").arg(keys.group(group, name));
        }
        commands.cmd("HVALS").arg(keys.group(group, "acked"));
        let answers = self.link.pipeline(&commands).await.map_err(|e| error::of_read(&e))?;
        let read = |answers| -> std::result::Result<_, LinkError> {
            let mut answers = Items::of(Value::Array(answers))?;
            let now = time(answers.next_value()?)?;
            let state = TopicState::of(answers.next_value()?)?;
            let meta = GroupMeta::of(answers.next_value()?)?;
            let mut pending = 0;
            for _ in 0..3 {
                pending += answers.next_unsigned()?;
            }
            let parked = answers.next_unsigned()?;
            Ok((now, state, meta, pending, parked, acked(answers.next_value()?, now)?))
        };
        let (now, state, meta, pending, parked, acked_per_second) =
            read(answers).map_err(|e| error::of_read(&e))?;
        let state = state.ok_or_else(|| StoreError::TopicNotFound(topic.clone()))?;
        let not_found = || StoreError::GroupNotFound { topic: topic.clone(), group: group.clone() };
        let meta = meta.ok_or_else(not_found)?;
        let (oldest, consumers) = self.members(topic, group, now).await?;
        let done = meta.checkpoint_sequence.max(state.trimmed_sequence);
        Ok(Group {
            topic: topic.clone(),
            name: group.clone(),
            settings: meta.settings,
            lag: state.sequence.saturating_sub(done),
            pending,
            oldest_pending_age: oldest.map(|oldest| now.saturating_sub(oldest.time())),
            parked,
            consumers,
            acked_per_second,
            last_delivered: meta.checkpoint.filter(|_| meta.checkpoint_sequence > 0),
        })
    }

    /// The oldest pending position, and the members, as Redis' own group knows them.
    async fn members(
        &self,
        topic: &Name,
        group: &Name,
        now: Duration,
    ) -> Result<(Option<Position>, Vec<Consumer>)> {
        let log = self.keys(topic).log();
        let mut commands = pipe();
        commands.cmd("XPENDING").arg(&log).arg(group.as_str());
        commands.cmd("XINFO").arg("CONSUMERS").arg(&log).arg(group.as_str());
        let read = |answers| -> std::result::Result<_, LinkError> {
            let mut answers = Items::of(Value::Array(answers))?;
            let mut pending = Items::of(answers.next_value()?)?;
            let _count = pending.next_value()?;
            let oldest = optional_position(&pending.next_value()?)?;
            let consumers = array(answers.next_value()?)?.into_iter();
            let consumers = consumers.map(|info| consumer(info, now));
            Ok((oldest, consumers.collect::<std::result::Result<_, _>>()?))
        };
        match self.link.pipeline(&commands).await.and_then(read) {
            // Redis lost the group; it is made anew with the next delivery.
            Err(LinkError::Refused { .. }) => Ok((None, Vec::new())),
            other => other.map_err(|e| error::of_read(&e)),
        }
    }

    /// Removes members that hold nothing and were not seen for a while.
    pub(in crate::store::redis) async fn prune_consumers(
        &self,
        topic: &Name,
        group: &Name,
        unseen: Duration,
    ) -> Result<()> {
        let mut call = self.scripts.group_prune.call(&[self.keys(topic).log()]);
        call.arg(group.as_str()).arg(millis(unseen));
        self.link.invoke(&call).await.map(drop).map_err(|e| error::of_write(&e))
    }

    /// Whether a group exists.
    pub(in crate::store::redis) async fn must_exist(
        &self,
        topic: &Name,
        group: &Name,
    ) -> Result<()> {
        self.state(topic).await?;
        let mut command = cmd("EXISTS");
        command.arg(self.keys(topic).group_meta(group));
        match self.link.query(&command).await.map_err(|e| error::of_read(&e))? {
            Value::Int(1) => Ok(()),
            _ => Err(StoreError::GroupNotFound { topic: topic.clone(), group: group.clone() }),
        }
    }
}

fn consumer(info: Value, now: Duration) -> std::result::Result<Consumer, LinkError> {
    let mut consumer = Consumer { name: String::new(), in_flight: 0, last_seen: now };
    for (field, value) in pairs(info)? {
        match text(field)?.as_str() {
            "name" => consumer.name = text(value)?,
            "pending" => consumer.in_flight = unsigned(&value)?,
            "idle" => {
                consumer.last_seen = now.saturating_sub(Duration::from_millis(unsigned(&value)?));
            }
            _ => {}
        }
    }
    Ok(consumer)
}

/// Acks a second, of slots "number count".
fn acked(slots: Value, now: Duration) -> std::result::Result<f64, LinkError> {
    let current = millis(now) / ACKED_SLOT_MS;
    let mut total = 0;
    for slot in array(slots)? {
        let slot = optional_text(slot)?.unwrap_or_default();
        let (number, count) = slot.split_once(' ').unwrap_or_default();
        let (Ok(number), Ok(count)) = (number.parse::<u64>(), count.parse::<u64>()) else {
            continue;
        };
        if number + ACKED_SLOTS > current {
            total += count;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    Ok(total as f64 / Duration::from_millis(ACKED_SLOT_MS * ACKED_SLOTS).as_secs_f64())
}
