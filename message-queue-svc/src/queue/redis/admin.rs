//! Queues as a whole: create, change, look at, remove.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use redis_link::{Value, cmd, values, values::Items};

use super::send::Sender;
use super::store::{Store, failed, harmless, shape};
use super::take::MAX_BYTES;
use super::{keys, record, scripts, settings};
use crate::error::QueueError;
use crate::model::{MessageId, QueueName, QueueSettings, SettingsChange};
use crate::queue::{Page, PeekState, Peeked, QueueInfo, QueueResult};

/// Messages that one step of a purge drops.
const PURGE_STEP: usize = 500;
/// Queues that are looked at at once.
const AT_ONCE: usize = 32;
/// Names that are read at once, at least: where most are not shown, few would be many round trips.
const NAMES: usize = 100;

/// Administers queues.
#[derive(Clone, Debug)]
pub struct Admin {
    store: Store,
    sender: Sender,
}

impl Admin {
    pub fn new(store: Store, sender: Sender) -> Self {
        Self { store, sender }
    }

    pub async fn create(
        &self,
        queue: &QueueName,
        settings: &QueueSettings,
    ) -> QueueResult<QueueInfo> {
        let created = self.sender.create(queue, settings).await?;
        let info = self.info(queue).await?;
        if created || info.settings == *settings {
            Ok(info)
        } else {
            Err(QueueError::AlreadyExists(queue.clone()))
        }
    }

    pub async fn update(
        &self,
        queue: &QueueName,
        change: &SettingsChange,
    ) -> QueueResult<QueueInfo> {
        let before = self.info(queue).await?.settings;
        let after = change
            .apply(&before)
            .map_err(|(field, problem)| QueueError::BadSettings { field, problem })?;
        let (old, new) = (settings::all_fields(&before), settings::all_fields(&after));
        let changed = old.iter().zip(new).filter(|(old, new)| *old != new);
        let changed: Vec<_> = changed.map(|(_, (field, value))| (field, value)).collect();
        if !changed.is_empty() {
            self.set(queue, &changed).await?;
        }
        self.info(queue).await
    }

    pub async fn pause(&self, queue: &QueueName, paused: bool) -> QueueResult<()> {
        self.set(queue, &[("paused", paused.then(|| "1".to_owned()))]).await
    }

    async fn set(&self, queue: &QueueName, fields: &[(&str, Option<String>)]) -> QueueResult<()> {
        let mut call = Store::call(&scripts::UPDATE, queue, 2 * fields.len(), 256);
        for (field, value) in fields {
            call.arg(field).arg(value.as_deref().unwrap_or_default());
        }
        // To set it again does no harm.
        found(queue, &self.store.read(queue, &call).await?)
    }

    pub async fn info(&self, queue: &QueueName) -> QueueResult<QueueInfo> {
        let call = Store::call(&scripts::INFO, queue, 0, 0);
        let answer = self.store.read(queue, &call).await?;
        if answer == Value::Nil {
            return Err(QueueError::QueueNotFound(queue.clone()));
        }
        unpack_info(answer).map_err(shape)
    }

    pub async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        shown: impl Fn(&QueueName) -> bool + Send + Sync,
    ) -> QueueResult<Page<(QueueName, QueueInfo)>> {
        // Those that are not shown are skipped here: a page token is the name of the last queue, and
        // must not be that of one which the caller is not to know.
        let mut queues = Vec::new();
        let mut from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        while queues.len() <= limit {
            let wanted = (limit + 1 - queues.len()).max(NAMES);
            let names = self.names(&from, wanted).await?;
            let parsed = names.iter().filter_map(|name| QueueName::parse(name));
            queues.extend(parsed.filter(&shown));
            match names.last() {
                Some(last) if names.len() == wanted => from = format!("({last}"),
                _ => break,
            }
        }
        let more = queues.len() > limit;
        queues.truncate(limit);
        let next = queues.last().filter(|_| more).map(ToString::to_string);
        Ok(Page { items: self.infos(queues).await?, next })
    }

    /// Names of the registry, in their order.
    pub async fn names(&self, from: &str, limit: usize) -> QueueResult<Vec<String>> {
        let mut page = cmd("ZRANGEBYLEX");
        page.arg(keys::REGISTRY).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        let names = self.store.link().query(&page).await;
        let names = names.and_then(values::array).map_err(|error| harmless(failed(&error)))?;
        names.into_iter().map(values::text).collect::<Result<_, _>>().map_err(shape)
    }

    /// What there is to say of queues, as far as they exist.
    pub async fn infos(&self, queues: Vec<QueueName>) -> QueueResult<Vec<(QueueName, QueueInfo)>> {
        let infos = futures::stream::iter(queues)
            .map(|queue| async move { (self.info(&queue).await, queue) })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut items = Vec::with_capacity(infos.len());
        for (info, queue) in infos {
            match info {
                Ok(info) => items.push((queue, info)),
                // Registered, and not created yet or being removed.
                Err(QueueError::QueueNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    pub async fn delete(&self, queue: &QueueName) -> QueueResult<()> {
        let call = Store::call(&scripts::DELETE, queue, 0, 0);
        let deleted = self.store.write(queue, &call).await?;
        let link = self.store.link();
        let mut forget = cmd("ZREM");
        forget.arg(keys::REGISTRY).arg(queue.as_str());
        link.query(&forget).await.map_err(|error| failed(&error))?;
        // A send may have made it again in between.
        if self.info(queue).await.is_ok() {
            let mut register = cmd("ZADD");
            register.arg(keys::REGISTRY).arg(0).arg(queue.as_str());
            link.query(&register).await.map_err(|error| failed(&error))?;
        }
        found(queue, &deleted)
    }

    pub async fn purge(&self, queue: &QueueName) -> QueueResult<u64> {
        // No more than there are now: what is sent meanwhile could go on for ever.
        let info = self.info(queue).await?;
        let mut left = usize::try_from(info.ready + info.delayed).unwrap_or(usize::MAX);
        let mut purged = 0;
        while left > 0 {
            let step = left.min(PURGE_STEP);
            let mut call = Store::call(&scripts::PURGE, queue, 1, 8);
            call.arg(step);
            let answer = self.store.read(queue, &call).await?;
            if answer == Value::Nil {
                break;
            }
            let mut items = Items::of(answer).map_err(shape)?;
            purged += items.next_unsigned().map_err(shape)?;
            if items.next_unsigned().map_err(shape)? == 0 {
                break;
            }
            left -= step;
        }
        Ok(purged)
    }

    pub async fn peek(
        &self,
        queue: &QueueName,
        state: PeekState,
        limit: usize,
    ) -> QueueResult<Vec<Peeked>> {
        let mut call = Store::call(&scripts::PEEK, queue, 3, 32);
        let state = match state {
            PeekState::Ready => "ready",
            PeekState::Delayed => "delayed",
            PeekState::InFlight => "in_flight",
        };
        call.arg(state).arg(limit).arg(MAX_BYTES);
        let answer = self.store.read(queue, &call).await?;
        if answer == Value::Nil {
            return Err(QueueError::QueueNotFound(queue.clone()));
        }
        let mut items = Items::of(answer).map_err(shape)?;
        let mut peeked = Vec::with_capacity(items.len() / 3);
        while !items.is_empty() {
            let entry = items.next_text().map_err(shape)?;
            let due = items.next_text().map_err(shape)?;
            let packed = items.next_bytes().map_err(shape)?;
            let (sent_at_ms, message) = record::unpack(&packed)?;
            let failures = entry.get(MessageId::LEN..).and_then(|again| again.rsplit_once('.'));
            peeked.push(Peeked {
                message,
                sent_at_ms,
                due_at_ms: due.parse().ok(),
                failures: failures.and_then(|(_, failures)| failures.parse().ok()).unwrap_or(0),
            });
        }
        Ok(peeked)
    }
}

/// The answer of a script that says with 0 that there is no such queue.
fn found(queue: &QueueName, answer: &Value) -> QueueResult<()> {
    match values::int(answer).map_err(shape)? {
        0 => Err(QueueError::QueueNotFound(queue.clone())),
        _ => Ok(()),
    }
}

fn unpack_info(answer: Value) -> Result<QueueInfo, redis_link::LinkError> {
    let mut items = Items::of(answer)?;
    let (ready, in_flight) = (items.next_unsigned()?, items.next_unsigned()?);
    let (delayed, dead_letters) = (items.next_unsigned()?, items.next_unsigned()?);
    let oldest_age = match items.next_value()? {
        Value::Nil => None,
        age => Some(Duration::from_millis(values::unsigned(&age)?)),
    };
    let (sent_last_minute, acked_last_minute) = (items.next_unsigned()?, items.next_unsigned()?);
    let consumers = u32::try_from(items.next_unsigned()?).unwrap_or(u32::MAX);
    let meta = values::pairs(items.next_value()?)?;
    let meta =
        meta.into_iter().map(|(field, value)| Ok((values::text(field)?, values::text(value)?)));
    let meta = meta.collect::<Result<HashMap<_, _>, _>>()?;
    Ok(QueueInfo {
        settings: settings::from_fields(&meta),
        ready,
        in_flight,
        delayed,
        dead_letters,
        oldest_age,
        sent_last_minute,
        acked_last_minute,
        consumers,
        paused: meta.contains_key("paused"),
        created_at_ms: meta.get("created").and_then(|at| at.parse().ok()).unwrap_or(0),
    })
}
