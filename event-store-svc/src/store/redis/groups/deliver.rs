//! Taking deliveries out of a group: one script call for several consumers. What a call delivered
//! whose answer was lost is taken back by the next call of the same caller.

use std::time::Duration;

use redis_link::values::{Items, unsigned};
use redis_link::{LinkError, Value};

use super::existing;
use crate::error::StoreError;
use crate::model::{Delivery, Name, Receipt};
use crate::store::Result;
use crate::store::redis::entry::{entry, optional_number};
use crate::store::redis::{RedisStore, error};

/// Leases that ran out and are taken back by one call.
const TAKE_BACK: u32 = 100;
/// Bytes that one call delivers, unless a single event is larger.
const BYTES: u64 = 4 << 20;

/// What one call gave.
#[derive(Debug)]
pub struct Deliveries {
    /// For each consumer, in the order asked.
    pub by_consumer: Vec<Vec<Delivery>>,
    /// There may be more at once.
    pub more: bool,
    /// From now, when something is due that is not yet.
    pub next_due: Option<Duration>,
    /// Events that were parked, because their leases ran out once too often.
    parked: u64,
}

/// Makes calls one after the other, and knows which of them were answered.
#[derive(Debug)]
pub struct Caller {
    id: u64,
    calls: u64,
    answered: u64,
}

impl Default for Caller {
    fn default() -> Self {
        Self { id: rand::random(), calls: 0, answered: 0 }
    }
}

impl Caller {
    /// Whether a call stayed unanswered: events may be leased that nobody has.
    pub fn is_owed(&self) -> bool {
        self.answered < self.calls
    }
}

impl RedisStore {
    /// Delivers to consumers, each at most so many events. Dropped before its end, it leaves the
    /// caller owed an answer, as a lost connection does.
    pub(in crate::store::redis) async fn deliver(
        &self,
        topic: &Name,
        group: &Name,
        caller: &mut Caller,
        wanted: &[(&Name, u32)],
    ) -> Result<Deliveries> {
        let keys = self.keys(topic);
        let mut call = self.scripts.group_deliver.call(&keys.group_all(group));
        call.arg(group.as_str()).arg(keys.bell()).arg(rand::random::<f64>());
        call.arg(TAKE_BACK).arg(BYTES);
        let answered = caller.is_owed().then(|| caller.answered.to_string());
        caller.calls += 1;
        call.arg(caller.id).arg(caller.calls).arg(answered.unwrap_or_default());
        for (consumer, count) in wanted {
            call.arg(consumer.as_str()).arg(*count);
        }
        let answer = self.link.invoke(&call).await.map_err(|e| error::of_write(&e));
        if !matches!(answer, Err(StoreError::StorageUnavailable | StoreError::OutcomeUnknown)) {
            caller.answered = caller.calls;
        }
        let answer = existing(answer?, topic, group)?;
        let delivered = read(answer).map_err(|e| error::of_write(&e))?;
        if delivered.parked > 0 {
            self.figures.of_group(topic, group).parked.add(delivered.parked);
        }
        Ok(delivered)
    }
}

fn read(answer: Value) -> std::result::Result<Deliveries, LinkError> {
    let mut parts = Items::of(answer)?;
    let now = parts.next_unsigned()?;
    let epoch = parts.next_unsigned()?;
    let due = optional_number(&parts.next_value()?)?;
    let more = optional_number(&parts.next_value()?)?.is_some();
    let lease_expires_at = Duration::from_millis(unsigned(&parts.next_value()?)?);
    let parked = parts.next_unsigned()?;
    let by_consumer = parts
        .map(|value| deliveries(value, epoch, lease_expires_at))
        .collect::<std::result::Result<_, LinkError>>()?;
    let next_due = due.map(|due| Duration::from_millis(due.saturating_sub(now)));
    Ok(Deliveries { by_consumer, more, next_due, parked })
}

/// The deliveries of a consumer: those that were delivered before come first.
fn deliveries(
    value: Value,
    epoch: u64,
    lease_expires_at: Duration,
) -> std::result::Result<Vec<Delivery>, LinkError> {
    let mut parts = Items::of(value)?;
    let mut again = Items::of(parts.next_value()?)?;
    let delivery = |value| {
        let event = entry(value)?;
        let (lease, failures) = match again.next() {
            Some(lease) => (small(unsigned(&lease)?)?, small(again.next_unsigned()?)?),
            None => (1, 0),
        };
        let receipt = Receipt { position: event.position, epoch, lease };
        Ok(Delivery { event, delivery_count: failures + 1, lease_expires_at, receipt })
    };
    parts.map(delivery).collect()
}

fn small(number: u64) -> std::result::Result<u32, LinkError> {
    u32::try_from(number).map_err(|_| LinkError::Protocol("a small number was expected"))
}
