//! One call of the take script; and takes that do not wait.

use std::sync::Arc;
use std::time::Duration;

use redis_link::{Call, Value, values::Items};
use svc_observe::metrics::series::QueueCounters;
use svc_runtime::lane::{LaneOptions, LaneWork, Lanes};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::finish::Finish;
use super::keeper::Hints;
use super::record::{self, millis};
use super::send::lane_failed;
use super::store::{Store, shape};
use super::untake::{Taker, Takes, Ticket};
use super::{Back, scripts};
use crate::error::QueueError;
use crate::model::QueueName;
use crate::queue::{Lease, Leases, QueueResult};

/// The most bytes of messages in one answer.
pub const MAX_BYTES: usize = 4 << 20;
/// The most messages in one call.
pub const MAX_ITEMS: usize = 1_000;

/// The numbers in the answer of `send_take_plain.lua`, in bytes.
const PLAIN_HEAD: usize = 26;

/// What a call of the take script brought.
#[derive(Debug, Default)]
pub struct Taken {
    /// The leases.
    pub leases: Vec<Lease>,
    /// When it makes sense to ask again even if nothing happens before.
    pub ask_again: Option<Duration>,
    /// There is no such queue: nothing was written down either.
    pub is_missing: bool,
    /// How many messages became dead letters instead, or before.
    pub dead: u64,
}

impl Taken {
    /// Whether the answer to a take that began then was so long on its way that its leases may have
    /// ended: who got these would handle what others have been given.
    pub fn is_late(&self, began: Instant) -> bool {
        self.leases.first().is_some_and(|lease| lease.expires_in <= began.elapsed())
    }

    /// Counts what is delivered, if there is anything to be counted.
    pub fn count(&self, counters: impl FnOnce() -> Arc<QueueCounters>) {
        if self.leases.is_empty() && self.dead == 0 {
            return;
        }
        let counters = counters();
        counters.delivered.add(count_of(self.leases.len()));
        let again = self.leases.iter().filter(|lease| lease.receipt.failures() > 0).count();
        if again > 0 {
            counters.redelivered.add(count_of(again));
        }
        if self.dead > 0 {
            counters.dead_lettered.add(self.dead);
        }
    }
}

/// As counters count.
pub fn count_of(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

/// What `send_take.lua` leased as it came.
#[derive(Debug)]
pub struct Direct {
    pub count: usize,
    /// The id of the last one.
    pub last: String,
    pub now_ms: u64,
    pub expires_at_ms: u64,
}

/// What `send_take_plain.lua` answered: how many messages it stored, and what it took of these.
pub fn stored_plainly(packed: &[u8]) -> QueueResult<(i64, Taken, Direct)> {
    let (head, last) = packed.split_at_checked(PLAIN_HEAD).ok_or(QueueError::Corrupt)?;
    let number = |at: std::ops::Range<usize>| {
        head[at].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let stored = i64::try_from(number(0..4)).map_err(|_| QueueError::Corrupt)?;
    let (now_ms, expires_at_ms, ask_again) = (number(4..10), number(10..16), number(16..22));
    let count = usize::try_from(number(22..PLAIN_HEAD)).map_err(|_| QueueError::Corrupt)?;
    let last = std::str::from_utf8(last).map_err(|_| QueueError::Corrupt)?.to_owned();
    let ask_again = (ask_again > 0).then(|| Duration::from_millis(ask_again));
    let taken = Taken { ask_again, ..Taken::default() };
    Ok((stored, taken, Direct { count, last, now_ms, expires_at_ms }))
}

/// What is asked of the take script.
#[derive(Debug)]
pub struct Order<'a> {
    /// How many at most.
    pub wanted: usize,
    /// For how long; the queue's own lease if absent.
    pub lease: Option<Duration>,
    /// This replica's name and how many consumers it has, where that should be
    /// written down.
    pub presence: Option<(&'a str, usize)>,
    /// What it is taken under.
    pub ticket: &'a Ticket,
}

/// How many arguments an order has.
pub const ORDER_ARGS: usize = 7;
/// How many bytes they have, more or less.
pub const ORDER_BYTES: usize = 160;

impl Order<'_> {
    /// The arguments that `taking.lua` reads.
    pub fn arguments(&self, call: &mut Call<'_>) {
        call.arg(self.wanted.min(MAX_ITEMS)).arg(MAX_BYTES);
        call.arg(self.lease.map(|lease| millis(lease).to_string()).unwrap_or_default());
        match self.presence {
            Some((replica, consumers)) => call.arg(replica).arg(consumers),
            None => call.arg("").arg(0),
        };
        self.ticket.arguments(call);
    }
}

/// Leases messages.
pub async fn take(store: &Store, queue: &QueueName, order: &Order<'_>) -> QueueResult<Taken> {
    let mut call = Store::call(&scripts::TAKE, queue, ORDER_ARGS, ORDER_BYTES);
    order.arguments(&mut call);
    let answer = store.write(queue, &call).await?;
    if answer == Value::Nil {
        return Ok(Taken { is_missing: true, ..Taken::default() });
    }
    Ok(taken(answer)?.0)
}

/// What `taking.lua` answered.
pub fn taken(answer: Value) -> QueueResult<(Taken, Direct)> {
    let mut items = Items::of(answer).map_err(shape)?;
    let now = items.next_unsigned().map_err(shape)?;
    let deadline = items.next_unsigned().map_err(shape)?;
    let ask_again = items.next_unsigned().map_err(shape)?;
    let count = usize::try_from(items.next_unsigned().map_err(shape)?).unwrap_or(usize::MAX);
    let last = items.next_text().map_err(shape)?;
    let direct = Direct { count, last, now_ms: now, expires_at_ms: deadline };
    let dead = items.next_unsigned().map_err(shape)?;
    let mut leases = Vec::with_capacity(items.len() / 2);
    while !items.is_empty() {
        let entry = items.next_text().map_err(shape)?;
        let packed = items.next_bytes().map_err(shape)?;
        leases.push(record::lease(entry, &packed, now, deadline)?);
    }
    let ask_again = (ask_again > 0).then(|| Duration::from_millis(ask_again));
    Ok((Taken { leases, ask_again, is_missing: false, dead }, direct))
}

/// Takes that do not wait: what is asked for at once is taken at once.
#[derive(Clone, Debug)]
pub struct AtOnce {
    lanes: Lanes<AtOnceWork>,
    tasks: TaskTracker,
}

impl AtOnce {
    pub fn new(store: Store, takes: Takes, back: Arc<Back>, hints: Hints) -> Self {
        let tasks = back.tasks.clone();
        let work = AtOnceWork { store, takes, back, hints };
        // One at a time, because a taker is known by its last take.
        Self {
            lanes: Lanes::new(
                work,
                LaneOptions { name: "take", depth: 1, ..LaneOptions::default() },
            ),
            tasks,
        }
    }

    pub async fn take(
        &self,
        queue: &QueueName,
        max: usize,
        lease: Option<Duration>,
    ) -> QueueResult<Leases> {
        let (lanes, queue) = (self.lanes.clone(), queue.clone());
        let taking = async move { lanes.run(&queue, (max, lease)).await };
        let taken = Finish::new(&self.tasks, taking).await;
        taken.unwrap_or_else(|error| Err(lane_failed(error)))
    }
}

#[derive(Debug)]
pub struct AtOnceWork {
    store: Store,
    takes: Takes,
    back: Arc<Back>,
    hints: Hints,
}

impl AtOnceWork {
    /// Takes for callers that want the same lease, and deals it out.
    async fn take(
        &self,
        queue: &QueueName,
        callers: &[usize],
        lease: Option<Duration>,
    ) -> Vec<QueueResult<Leases>> {
        let ticket = self.takes.ticket(Taker::AtOnce);
        let wanted = callers.iter().sum();
        let order = Order { wanted, lease, presence: None, ticket: &ticket };
        let began = Instant::now();
        let taken = match take(&self.store, queue, &order).await {
            Ok(taken) if taken.is_late(began) => {
                self.store.count_dead(queue, taken.dead);
                Err(QueueError::OutcomeUnknown)
            }
            taken => taken,
        };
        let mut left = match taken {
            Ok(taken) => {
                taken.count(|| self.store.counters(queue));
                taken.leases
            }
            Err(error) => {
                if error == QueueError::OutcomeUnknown {
                    self.takes.lost(queue, ticket);
                }
                // Nothing is taken, or will not stay so.
                let error = super::store::harmless(error);
                return callers.iter().map(|_| Err(error.clone())).collect();
            }
        };
        if let Some(first) = left.first() {
            self.hints.come_back(queue, first.expires_in);
        }
        let mut deal = |max: &usize| {
            let rest = left.split_off(left.len().min(*max));
            let own = std::mem::replace(&mut left, rest);
            Ok(Leases::new(queue.clone(), own, Arc::<Back>::clone(&self.back)))
        };
        callers.iter().map(&mut deal).collect()
    }
}

impl LaneWork for AtOnceWork {
    type Key = QueueName;
    type Item = (usize, Option<Duration>);
    type Answer = QueueResult<Leases>;

    async fn run(&self, queue: &QueueName, items: Vec<Self::Item>) -> Vec<Self::Answer> {
        let mut answers = Vec::with_capacity(items.len());
        for same in items.chunk_by(|a, b| a.1 == b.1) {
            let Some((_, lease)) = same.first() else { continue };
            let callers: Vec<_> = same.iter().map(|(max, _)| *max).collect();
            answers.extend(self.take(queue, &callers, *lease).await);
        }
        answers
    }

    fn count(item: &Self::Item) -> usize {
        item.0
    }

    fn bytes(_: &Self::Item) -> usize {
        64
    }
}
