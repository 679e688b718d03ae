//! Topics: created, changed, described, listed, deleted.

use std::collections::HashMap;
use std::time::Duration;

use redis_link::values::{Items, array, int, pairs, text, unsigned};
use redis_link::{LinkError, Value, cmd, pipe};

use super::append::register;
use super::entry::{optional_number, optional_position};
use super::keys::{RETAINED, TOPICS};
use super::{RedisStore, error};
use crate::error::StoreError;
use crate::model::topic::DEFAULT_DEDUP_WINDOW;
use crate::model::{Direction, Name, Position, Retention, Topic, TopicSettings};
use crate::store::{Page, Result};

/// Over how long rates are told.
const RATE_WINDOW: Duration = Duration::from_secs(60);
/// Subjects whose keys are removed at once.
const DELETE_STEP: u64 = 500;
/// Names that are looked at for those that a caller knows, at once and how often for one page.
const LOOK_AT: usize = 1_000;
const LOOKS: usize = 10;

impl RedisStore {
    pub(super) async fn make_topic(&self, topic: &Name, settings: TopicSettings) -> Result<Topic> {
        register(&self.link, topic).await?;
        self.mark_retained(topic, &settings).await?;
        let mut call = self.scripts.topic_create.call(&[self.keys(topic).meta()]);
        for (field, value) in fields(&TopicSettings {
            retention: Some(settings.retention.unwrap_or_default()),
            dedup_window: Some(settings.dedup_window.unwrap_or(DEFAULT_DEDUP_WINDOW)),
        }) {
            call.arg(field).arg(value);
        }
        let created = self.link.invoke(&call).await.and_then(|value| int(&value));
        let created = created.map_err(|e| error::of_write(&e))? == 1;
        if created {
            // Once more: a deletion that was still under way may have removed it from there.
            register(&self.link, topic).await?;
            self.mark_retained(topic, &settings).await?;
        }
        let found = self.describe_topic(topic).await?;
        let same = found.retention == settings.retention.unwrap_or_default()
            && found.dedup_window == settings.dedup_window.unwrap_or(DEFAULT_DEDUP_WINDOW);
        if created || same {
            return Ok(found);
        }
        Err(StoreError::AlreadyExists(format!("topic {topic}")))
    }

    pub(super) async fn change_topic(
        &self,
        topic: &Name,
        settings: TopicSettings,
    ) -> Result<Topic> {
        self.state(topic).await?;
        self.mark_retained(topic, &settings).await?;
        let mut call = self.scripts.update_settings.call(&[self.keys(topic).meta()]);
        for (field, value) in fields(&settings) {
            call.arg(field).arg(value);
        }
        self.link.invoke(&call).await.map_err(|e| error::of_write(&e))?;
        self.describe_topic(topic).await
    }

    /// The registry of topics that are swept may name one too many, never one too few.
    async fn mark_retained(&self, topic: &Name, settings: &TopicSettings) -> Result<()> {
        if settings.retention.is_some_and(|retention| retention.is_limited()) {
            let mut command = cmd("SADD");
            command.arg(RETAINED).arg(topic.as_str());
            self.link.query(&command).await.map_err(|e| error::of_write(&e))?;
        }
        Ok(())
    }

    pub(super) async fn describe_topic(&self, topic: &Name) -> Result<Topic> {
        let found = self.describe_topics(std::slice::from_ref(topic)).await?;
        found.into_iter().next().ok_or_else(|| StoreError::TopicNotFound(topic.clone()))
    }

    /// Those that exist, in one round trip.
    async fn describe_topics(&self, topics: &[Name]) -> Result<Vec<Topic>> {
        let mut commands = pipe();
        commands.cmd("TIME");
        for topic in topics {
            let keys = self.keys(topic);
            commands.cmd("HGETALL").arg(keys.meta());
            commands.cmd("XLEN").arg(keys.log());
            commands.cmd("XRANGE").arg(keys.log()).arg("-").arg("+").arg("COUNT").arg(1);
            commands.cmd("HLEN").arg(keys.rev());
            commands.cmd("ZRANGE").arg(keys.groups()).arg(0).arg(-1);
        }
        let answers = self.link.pipeline(&commands).await.map_err(|e| error::of_read(&e))?;
        let mut answers = Items::of(Value::Array(answers)).map_err(|e| error::of_read(&e))?;
        let time = answers.next_value().and_then(time).map_err(|e| error::of_read(&e))?;
        let mut found = Vec::with_capacity(topics.len());
        for topic in topics {
            found.extend(describe(topic, &mut answers).map_err(|e| error::of_read(&e))?);
        }
        for topic in &mut found {
            topic.appended_per_second = self.append_rate(topic, time).await?;
        }
        Ok(found)
    }

    /// Events of the last minute, by their sequences.
    async fn append_rate(&self, topic: &Topic, now: Duration) -> Result<f64> {
        let from =
            Position::at(u64::try_from((now.saturating_sub(RATE_WINDOW)).as_millis()).unwrap_or(0));
        if topic.last.is_none_or(|last| last < from) {
            return Ok(0.0);
        }
        let first = self.range(&topic.name, from, Position::MAX, Direction::Forward, 1).await?;
        let first = first.first().map_or(u64::MAX, |event| event.position.sequence);
        let events = (topic.last_sequence.unwrap_or(0) + 1).saturating_sub(first);
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        Ok(events as f64 / RATE_WINDOW.as_secs_f64())
    }

    pub(super) async fn page_of_topics(
        &self,
        after: Option<&str>,
        limit: usize,
        known: impl Fn(&Name) -> bool,
    ) -> Result<Page<Topic>> {
        let (mut topics, mut next) = (Vec::new(), after.map(str::to_owned));
        let mut look_at = limit;
        for _ in 0..LOOKS {
            let (names, more) = self.page_of_names(TOPICS, next.as_deref(), look_at).await?;
            let mut names = names.into_iter().filter(&known);
            topics.extend(names.by_ref().take(limit - topics.len()));
            let is_cut = names.next().is_some();
            next = if is_cut { topics.last().map(Name::to_string) } else { more };
            if next.is_none() || topics.len() >= limit {
                break;
            }
            look_at = LOOK_AT;
        }
        Ok(Page { items: self.describe_topics(&topics).await?, next })
    }

    /// Names of a registry, sorted, and where the next page begins.
    pub(super) async fn page_of_names(
        &self,
        registry: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Name>, Option<String>)> {
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let mut command = cmd("ZRANGEBYLEX");
        command.arg(registry).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit + 1);
        let names =
            self.link.query(&command).await.and_then(array).map_err(|e| error::of_read(&e))?;
        let names = names.into_iter().map(text).collect::<std::result::Result<Vec<_>, _>>();
        let mut names = names.map_err(|e| error::of_read(&e))?;
        let more = names.len() > limit;
        names.truncate(limit);
        let next = names.last().filter(|_| more).cloned();
        Ok((names.iter().filter_map(|name| Name::parse(name)).collect(), next))
    }

    /// Marks the topic first, so that nothing is appended meanwhile; a deletion that was cut short
    /// is finished by the next one.
    pub(super) async fn remove_topic(&self, topic: &Name) -> Result<()> {
        self.state(topic).await?;
        let keys = self.keys(topic);
        let mut mark = self.scripts.update_settings.call(&[keys.meta()]);
        mark.arg("deleting").arg(1);
        self.link.invoke(&mark).await.map_err(|e| error::of_write(&e))?;

        let mut cursor = "0".to_owned();
        loop {
            let page = self.scan_subjects(topic, &cursor, DELETE_STEP).await?;
            if !page.items.is_empty() {
                let mut command = cmd("UNLINK");
                for (subject, _) in &page.items {
                    command.arg(keys.subject(subject));
                }
                self.link.query(&command).await.map_err(|e| error::of_write(&e))?;
            }
            match page.next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        loop {
            let (groups, more) = self.page_of_names(&keys.groups(), None, 100).await?;
            for group in &groups {
                self.drop_group(topic, group).await?;
            }
            if more.is_none() {
                break;
            }
        }
        // First the registries: as long as the topic is there, nobody makes it anew.
        let mut commands = pipe();
        commands.cmd("ZREM").arg(TOPICS).arg(topic.as_str());
        commands.cmd("SREM").arg(RETAINED).arg(topic.as_str());
        commands.cmd("UNLINK").arg(&[
            keys.log(),
            keys.rev(),
            keys.ids(0),
            keys.ids(1),
            keys.snap(),
            keys.groups(),
            keys.sweep(),
            keys.meta(),
        ]);
        commands.cmd("PUBLISH").arg(keys.bell()).arg("");
        self.link.pipeline(&commands).await.map_err(|e| error::of_write(&e))?;
        Ok(())
    }

    /// Subjects and their last revisions, from a cursor on.
    pub(super) async fn scan_subjects(
        &self,
        topic: &Name,
        cursor: &str,
        limit: u64,
    ) -> Result<Page<(String, u64)>> {
        let mut command = cmd("HSCAN");
        command.arg(self.keys(topic).rev()).arg(cursor).arg("COUNT").arg(limit);
        let read = |value: Value| -> std::result::Result<_, LinkError> {
            let mut answer = Items::of(value)?;
            let next = Some(answer.next_text()?).filter(|next| next != "0");
            let found = pairs(answer.next_value()?)?.into_iter();
            let items = found.map(|(subject, last)| Ok((text(subject)?, unsigned(&last)?)));
            Ok(Page { items: items.collect::<std::result::Result<_, LinkError>>()?, next })
        };
        self.link.query(&command).await.and_then(read).map_err(|e| error::of_read(&e))
    }
}

/// Settings as fields of `meta`; a limit that does not apply is "".
fn fields(settings: &TopicSettings) -> Vec<(&'static str, String)> {
    let limit = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let mut fields = Vec::new();
    if let Some(retention) = settings.retention {
        fields.push(("max_events", limit(retention.max_events)));
        fields.push(("max_age_ms", limit(retention.max_age.map(millis))));
        fields.push(("max_bytes", limit(retention.max_bytes)));
        fields.push(("keep_unacknowledged", u8::from(retention.keep_unacknowledged).to_string()));
    }
    if let Some(window) = settings.dedup_window {
        fields.push(("dedup_ms", millis(window).to_string()));
    }
    fields
}

/// A duration in the unit that is stored.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The answer of TIME.
pub fn time(value: Value) -> std::result::Result<Duration, LinkError> {
    let mut parts = Items::of(value)?;
    let (seconds, micros) = (parts.next_unsigned()?, parts.next_unsigned()?);
    Ok(Duration::from_secs(seconds) + Duration::from_micros(micros))
}

fn describe(name: &Name, answers: &mut Items) -> std::result::Result<Option<Topic>, LinkError> {
    let meta = pairs(answers.next_value()?)?.into_iter();
    let meta = meta.map(|(field, value)| Ok((text(field)?, value)));
    let meta = meta.collect::<std::result::Result<HashMap<_, _>, LinkError>>()?;
    let number = |field: &str| optional_number(meta.get(field).unwrap_or(&Value::Nil));
    let events = answers.next_unsigned()?;
    let mut oldest = array(answers.next_value()?)?.into_iter();
    let first = oldest.next().map(|entry| Items::of(entry)?.next_value()).transpose()?;
    let subjects = answers.next_unsigned()?;
    let groups = array(answers.next_value()?)?.into_iter().map(text);
    let groups = groups.collect::<std::result::Result<Vec<_>, _>>()?;
    let Some(created) = number("created")? else {
        return Ok(None);
    };
    Ok(Some(Topic {
        name: name.clone(),
        retention: Retention {
            max_events: number("max_events")?,
            max_age: number("max_age_ms")?.map(Duration::from_millis),
            max_bytes: number("max_bytes")?,
            keep_unacknowledged: number("keep_unacknowledged")?.unwrap_or(1) == 1,
        },
        dedup_window: number("dedup_ms")?.map_or(DEFAULT_DEDUP_WINDOW, Duration::from_millis),
        events,
        first: first.as_ref().map(super::entry::position).transpose()?,
        last: optional_position(meta.get("last").unwrap_or(&Value::Nil))?,
        last_sequence: number("sequence")?,
        bytes: number("bytes")?.unwrap_or(0),
        subjects,
        groups: groups.iter().filter_map(|group| Name::parse(group)).collect(),
        appended_per_second: 0.0,
        created: Duration::from_millis(created),
    }))
}
