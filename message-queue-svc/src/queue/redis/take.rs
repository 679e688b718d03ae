//! One call of the take script.

use std::time::Duration;

use redis_link::{Value, values::Items};

use super::record::{self, millis};
use super::scripts;
use super::store::{Store, shape};
use crate::model::QueueName;
use crate::queue::{Lease, QueueResult};

/// The most bytes of messages in one answer.
pub const MAX_BYTES: usize = 4 << 20;
/// The most messages in one call.
pub const MAX_ITEMS: usize = 1_000;

/// What a call of the take script brought.
#[derive(Debug, Default)]
pub struct Taken {
    /// The leases.
    pub leases: Vec<Lease>,
    /// When it makes sense to ask again even if nothing happens before.
    pub ask_again: Option<Duration>,
}

/// Leases up to `max` messages. `presence`: this replica's name and how many
/// consumers it has, where that should be written down.
pub async fn take(
    store: &Store,
    queue: &QueueName,
    max: usize,
    lease: Option<Duration>,
    presence: Option<(&str, usize)>,
) -> QueueResult<Taken> {
    let mut call = Store::call(&scripts::TAKE, queue, 5, 128);
    call.arg(max.min(MAX_ITEMS)).arg(MAX_BYTES);
    call.arg(lease.map(|lease| millis(lease).to_string()).unwrap_or_default());
    match presence {
        Some((replica, consumers)) => call.arg(replica).arg(consumers),
        None => call.arg("").arg(0),
    };
    let answer = store.write(queue, &call).await?;
    if answer == Value::Nil {
        return Ok(Taken::default());
    }
    unpack(answer)
}

fn unpack(answer: Value) -> QueueResult<Taken> {
    let mut items = Items::of(answer).map_err(shape)?;
    let now = items.next_unsigned().map_err(shape)?;
    let deadline = items.next_unsigned().map_err(shape)?;
    let ask_again = items.next_unsigned().map_err(shape)?;
    let mut leases = Vec::with_capacity(items.len() / 2);
    while !items.is_empty() {
        let entry = items.next_text().map_err(shape)?;
        let packed = items.next_bytes().map_err(shape)?;
        leases.push(record::lease(entry, &packed, now, deadline)?);
    }
    let ask_again = (ask_again > 0).then(|| Duration::from_millis(ask_again));
    Ok(Taken { leases, ask_again })
}
