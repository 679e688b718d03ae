//! Dead letters: list, send again, drop.

use std::time::Duration;

use redis_link::{Value, values, values::Items};
use tokio::time::Instant;

use super::record;
use super::scripts;
use super::send::Sender;
use super::store::{Store, shape};
use super::take::MAX_BYTES;
use crate::error::QueueError;
use crate::model::{QueueName, QueueSettings};
use crate::queue::{DeadLetter, DeadSelection, Page, QueueResult};

/// Dead letters that one step sends again or drops.
const STEP: u64 = 200;

/// Handles dead letters.
#[derive(Clone, Debug)]
pub struct Dead {
    store: Store,
    sender: Sender,
}

/// A dead letter as it is stored.
struct Stored {
    number: u64,
    id: String,
    record: bytes::Bytes,
}

impl Dead {
    pub fn new(store: Store, sender: Sender) -> Self {
        Self { store, sender }
    }

    pub async fn list(
        &self,
        queue: &QueueName,
        after: Option<u64>,
        limit: usize,
    ) -> QueueResult<Page<DeadLetter>> {
        let (stored, more) = self.page(queue, after.unwrap_or(0), limit).await?;
        let next = stored.last().map(|last| last.number.to_string()).filter(|_| more);
        let items = stored.iter().map(|stored| record::dead_letter(&stored.record));
        Ok(Page { items: items.collect::<QueueResult<_>>()?, next })
    }

    pub async fn redrive(
        &self,
        queue: &QueueName,
        limit: Option<u64>,
        to: Option<&QueueName>,
        max_rate: Option<f64>,
    ) -> QueueResult<u64> {
        let there = self.count(queue).await?;
        let mut left = limit.unwrap_or(u64::MAX).min(there);
        let start = Instant::now();
        let mut redriven = 0;
        while left > 0 {
            let mut step = left.min(STEP);
            if let Some(rate) = max_rate {
                // Once a second, or one at a time if that is rarer.
                let second = Duration::try_from_secs_f64(rate.max(1.0)).unwrap_or(Duration::MAX);
                step = step.min(second.as_secs());
                wait_for_turn(start, redriven, rate).await;
            }
            let moved = match to {
                Some(to) if to != queue => self.move_oldest(queue, to, step).await?,
                _ => self.revive_own(queue, step).await?,
            };
            if moved == 0 {
                break;
            }
            redriven += moved;
            left = left.saturating_sub(moved);
        }
        Ok(redriven)
    }

    pub async fn delete(&self, queue: &QueueName, which: DeadSelection) -> QueueResult<u64> {
        let mut deleted = 0;
        match which {
            DeadSelection::Ids(ids) => {
                let mut call =
                    Store::call(&scripts::DELETE_DEAD, queue, ids.len() + 1, ids.len() * 36);
                call.arg(0);
                for id in &ids {
                    call.arg(id.as_str());
                }
                deleted += self.counted(queue, &call).await?;
            }
            DeadSelection::Oldest(limit) => {
                let there = self.count(queue).await?;
                let mut left = limit.unwrap_or(u64::MAX).min(there);
                while left > 0 {
                    let mut call = Store::call(&scripts::DELETE_DEAD, queue, 1, 8);
                    call.arg(left.min(STEP));
                    match self.counted(queue, &call).await? {
                        0 => break,
                        step => {
                            deleted += step;
                            left = left.saturating_sub(step);
                        }
                    }
                }
            }
        }
        Ok(deleted)
    }

    async fn revive_own(&self, queue: &QueueName, step: u64) -> QueueResult<u64> {
        let mut call = Store::call(&scripts::REVIVE, queue, 1, 8);
        call.arg(step);
        self.counted(queue, &call).await
    }

    /// Another queue is in another slot: first there, then away from here. A
    /// crash in between means that it is there already the next time.
    async fn move_oldest(&self, from: &QueueName, to: &QueueName, step: u64) -> QueueResult<u64> {
        let limit = usize::try_from(step).unwrap_or(usize::MAX);
        let (stored, _) = self.page(from, 0, limit).await?;
        if stored.is_empty() {
            return Ok(0);
        }
        let bytes = stored.iter().map(|stored| stored.record.len() + 40).sum();
        let mut bring = Store::call(&scripts::REVIVE, to, 2 * stored.len(), bytes);
        let mut remove =
            Store::call(&scripts::DELETE_DEAD, from, stored.len() + 1, stored.len() * 36);
        remove.arg(0);
        for stored in &stored {
            bring.arg(&stored.id).arg(&stored.record[..]);
            remove.arg(&stored.id);
        }
        match self.counted(to, &bring).await {
            Err(QueueError::QueueNotFound(_)) if self.sender.auto_creates() => {
                self.sender.create(to, &QueueSettings::default()).await?;
                self.counted(to, &bring).await?;
            }
            brought => {
                brought?;
            }
        }
        self.counted(from, &remove).await
    }

    async fn page(
        &self,
        queue: &QueueName,
        after: u64,
        limit: usize,
    ) -> QueueResult<(Vec<Stored>, bool)> {
        let mut call = Store::call(&scripts::LIST_DEAD, queue, 3, 32);
        call.arg(after).arg(limit).arg(MAX_BYTES);
        let answer = self.store.read(queue, &call).await?;
        if answer == Value::Nil {
            return Err(QueueError::QueueNotFound(queue.clone()));
        }
        let mut items = Items::of(answer).map_err(shape)?;
        let more = items.next_int().map_err(shape)? == 1;
        let mut stored = Vec::with_capacity(items.len() / 3);
        while !items.is_empty() {
            let number = items.next_unsigned().map_err(shape)?;
            let id = items.next_text().map_err(shape)?;
            let record = items.next_bytes().map_err(shape)?;
            stored.push(Stored { number, id, record });
        }
        Ok((stored, more))
    }

    async fn count(&self, queue: &QueueName) -> QueueResult<u64> {
        let call = Store::call(&scripts::INFO, queue, 0, 0);
        match self.store.read(queue, &call).await? {
            Value::Nil => Err(QueueError::QueueNotFound(queue.clone())),
            answer => {
                let dead = Items::of(answer).map_err(shape)?.nth(3);
                let dead = dead.ok_or(QueueError::Corrupt)?;
                values::unsigned(&dead).map_err(shape)
            }
        }
    }

    async fn counted(&self, queue: &QueueName, call: &redis_link::Call<'_>) -> QueueResult<u64> {
        match self.store.write(queue, call).await? {
            Value::Nil => Err(QueueError::QueueNotFound(queue.clone())),
            count => values::unsigned(&count).map_err(shape),
        }
    }
}

/// Waits until so many at that rate would have been due.
async fn wait_for_turn(start: Instant, done: u64, rate: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let seconds = done as f64 / rate;
    if let Ok(after) = Duration::try_from_secs_f64(seconds) {
        tokio::time::sleep_until(start + after).await;
    }
}
