//! Acks, returns, extensions and replies: one lane for each.

use rand::Rng as _;
use redis_link::values;
use svc_observe::metrics::names::Count;
use svc_observe::metrics::series::QueueCounters;
use svc_runtime::lane::{LaneError, LaneOptions, LaneWork, Lanes};
use tokio_util::task::TaskTracker;

use super::calls::Callers;
use super::finish::Finish;
use super::record::millis;
use super::send::lane_failed;
use super::store::{Store, shape};
use super::take::count_of;
use super::{keys, scripts};
use crate::error::QueueError;
use crate::model::{QueueName, Receipt};
use crate::queue::{QueueResult, Return};

use bytes::Bytes;
use std::time::Duration;

/// What became of each receipt of an item.
type Outcomes = QueueResult<Vec<QueueResult<()>>>;

/// Settles leases.
#[derive(Clone, Debug)]
pub struct Settler {
    acks: Lanes<AckWork>,
    returns: Lanes<ReturnWork>,
    extends: Lanes<ExtendWork>,
    replies: Lanes<ReplyWork>,
    tasks: TaskTracker,
}

impl Settler {
    pub fn new(store: &Store, callers: &Callers, tasks: &TaskTracker) -> Self {
        let options = |name| LaneOptions { name, ..LaneOptions::default() };
        Self {
            acks: Lanes::new(AckWork(store.clone()), options("ack")),
            returns: Lanes::new(ReturnWork(store.clone()), options("return")),
            extends: Lanes::new(ExtendWork(store.clone()), options("extend")),
            replies: Lanes::new(
                ReplyWork { store: store.clone(), callers: callers.clone() },
                options("reply"),
            ),
            tasks: tasks.clone(),
        }
    }

    /// Settling waits for room: refusing it would only make more to settle.
    pub async fn ack(&self, queue: &QueueName, receipts: Vec<Receipt>) -> Outcomes {
        let pending = self.acks.submit(queue, receipts).await;
        pending.answer().await.unwrap_or_else(|error| Err(lane_failed(error)))
    }

    pub async fn give_back(&self, queue: &QueueName, item: ReturnItem) -> Outcomes {
        let pending = self.returns.submit(queue, item).await;
        pending.answer().await.unwrap_or_else(|error| Err(lane_failed(error)))
    }

    pub async fn extend(
        &self,
        queue: &QueueName,
        receipts: Vec<Receipt>,
        by: Option<Duration>,
    ) -> Outcomes {
        let pending = self.extends.submit(queue, (receipts, by)).await;
        pending.answer().await.unwrap_or_else(|error| Err(lane_failed(error)))
    }

    pub async fn reply(
        &self,
        queue: &QueueName,
        receipt: Receipt,
        content: Bytes,
    ) -> QueueResult<()> {
        let (lanes, queue, item) = (self.replies.clone(), queue.clone(), (receipt, content));
        // A worker that goes away has replied all the same: its caller is to know.
        let replying = async move {
            // Where nothing else is under way a reply need not go through the lane's task.
            let replied = match lanes.run(&queue, item.clone()).await {
                Err(LaneError::Full) => lanes.submit(&queue, item).await.answer().await,
                replied => replied,
            };
            replied.unwrap_or_else(|error| Err(lane_failed(error)))
        };
        Finish::new(&self.tasks, replying).await
    }
}

/// Which digit of an answer is counted, and as what.
type Counted = (u8, fn(&QueueCounters) -> &Count);

/// Counts a digit of an answer.
fn count(store: &Store, queue: &QueueName, digits: &[u8], (counted, of): Counted) {
    let count = digits.iter().filter(|digit| **digit == counted).count();
    if count > 0 {
        of(&store.counters(queue)).add(count_of(count));
    }
}

/// Runs one call for many items of one or more receipts, and deals out the digits of its answer: 0 is
/// a lease that was lost.
async fn settle(
    store: &Store,
    queue: &QueueName,
    call: &redis_link::Call<'_>,
    counts: Vec<usize>,
    counted: Option<Counted>,
) -> Vec<Outcomes> {
    let answer = store.write(queue, call).await.and_then(|answer| {
        let digits = values::bytes(answer).map_err(shape)?;
        if digits.len() == counts.iter().sum::<usize>() {
            Ok(digits)
        } else {
            Err(QueueError::Corrupt)
        }
    });
    match answer {
        Ok(mut digits) => {
            if let Some(counted) = counted {
                count(store, queue, &digits, counted);
            }
            let verdict =
                |digit: &u8| if *digit == b'0' { Err(QueueError::LeaseLost) } else { Ok(()) };
            let deal = |count| Ok(digits.split_to(count).iter().map(verdict).collect());
            counts.into_iter().map(deal).collect()
        }
        Err(error) => counts.into_iter().map(|_| Err(error.clone())).collect(),
    }
}

#[derive(Debug)]
pub struct AckWork(Store);

impl LaneWork for AckWork {
    type Key = QueueName;
    type Item = Vec<Receipt>;
    type Answer = Outcomes;

    async fn run(&self, queue: &QueueName, items: Vec<Self::Item>) -> Vec<Outcomes> {
        let counts: Vec<_> = items.iter().map(Self::count).collect();
        let count = counts.iter().sum();
        let mut call = Store::call(&scripts::ACK, queue, count, count * 40);
        for receipt in items.iter().flatten() {
            call.arg(receipt.entry());
        }
        // 2: it was done before.
        settle(&self.0, queue, &call, counts, Some((b'1', |of| &of.acked))).await
    }

    fn count(item: &Self::Item) -> usize {
        item.len()
    }

    fn bytes(item: &Self::Item) -> usize {
        item.len() * 40
    }
}

/// Leases to end without an ack.
#[derive(Debug)]
pub struct ReturnItem {
    pub receipts: Vec<Receipt>,
    pub how: Return,
    pub reason: String,
}

#[derive(Debug)]
pub struct ReturnWork(Store);

impl LaneWork for ReturnWork {
    type Key = QueueName;
    type Item = ReturnItem;
    type Answer = Outcomes;

    async fn run(&self, queue: &QueueName, items: Vec<ReturnItem>) -> Vec<Outcomes> {
        let counts: Vec<_> = items.iter().map(Self::count).collect();
        let count: usize = counts.iter().sum();
        let bytes = items.iter().map(Self::bytes).sum();
        let mut call = Store::call(&scripts::GIVE_BACK, queue, 1 + 4 * count, bytes);
        call.arg(rand::rng().random_range(0..1_000_000_000));
        for item in &items {
            let (what, delay) = match item.how {
                Return::Failed(delay) => ("F", delay.map(|delay| millis(delay).to_string())),
                Return::Rejected => ("D", None),
                Return::Unused => ("U", None),
            };
            for receipt in &item.receipts {
                call.arg(receipt.entry()).arg(what).arg(delay.as_deref().unwrap_or_default());
                call.arg(&item.reason);
            }
        }
        // 1: it comes again.
        settle(&self.0, queue, &call, counts, Some((b'2', |of| &of.dead_lettered))).await
    }

    fn count(item: &ReturnItem) -> usize {
        item.receipts.len()
    }

    fn bytes(item: &ReturnItem) -> usize {
        item.receipts.len() * (48 + item.reason.len())
    }
}

#[derive(Debug)]
pub struct ExtendWork(Store);

impl LaneWork for ExtendWork {
    type Key = QueueName;
    type Item = (Vec<Receipt>, Option<Duration>);
    type Answer = Outcomes;

    async fn run(&self, queue: &QueueName, items: Vec<Self::Item>) -> Vec<Outcomes> {
        let counts: Vec<_> = items.iter().map(Self::count).collect();
        let count: usize = counts.iter().sum();
        let mut call = Store::call(&scripts::EXTEND, queue, 2 * count, count * 48);
        for (receipts, by) in &items {
            let by = by.map(|by| millis(by).to_string()).unwrap_or_default();
            for receipt in receipts {
                call.arg(receipt.entry()).arg(&by);
            }
        }
        settle(&self.0, queue, &call, counts, None).await
    }

    fn count(item: &Self::Item) -> usize {
        item.0.len()
    }

    fn bytes(item: &Self::Item) -> usize {
        item.0.len() * 48
    }
}

#[derive(Debug)]
pub struct ReplyWork {
    store: Store,
    callers: Callers,
}

impl LaneWork for ReplyWork {
    type Key = QueueName;
    type Item = (Receipt, Bytes);
    type Answer = QueueResult<()>;

    async fn run(&self, queue: &QueueName, items: Vec<Self::Item>) -> Vec<QueueResult<()>> {
        let (replies, bytes) = (items.len(), items.iter().map(Self::bytes).sum());
        let mut call = Store::call_with(&scripts::REPLY, queue, 2 * replies, 3 * replies, bytes);
        for (receipt, _) in &items {
            keys::give_reply(&mut call, queue, receipt.message_id());
        }
        let mut here = Vec::with_capacity(items.len());
        for (receipt, content) in &items {
            let waits_here = self.callers.wait_for(receipt.message_id());
            call.arg(receipt.entry()).arg(&content[..]).arg(u8::from(waits_here));
            here.push(waits_here);
        }
        let answer = self.store.write(queue, &call).await.and_then(|answer| {
            let letters = values::bytes(answer).map_err(shape)?;
            if letters.len() == items.len() { Ok(letters) } else { Err(QueueError::Corrupt) }
        });
        let verdict = |letter: &u8| match letter {
            b'D' => Ok(()),
            b'N' => Err(QueueError::NoReplyExpected),
            b'R' => Err(QueueError::AlreadyReplied),
            _ => Err(QueueError::LeaseLost),
        };
        let replies = items.into_iter().zip(here);
        match answer {
            Ok(letters) => {
                count(&self.store, queue, &letters, (b'D', |of| &of.acked));
                let deal =
                    |(letter, ((receipt, content), here)): (&u8, ((Receipt, Bytes), bool))| {
                        if here && *letter == b'D' {
                            self.callers.deliver(receipt.message_id(), content);
                        }
                        verdict(letter)
                    };
                letters.iter().zip(replies).map(deal).collect()
            }
            Err(error) => {
                let unknown = error == QueueError::OutcomeUnknown;
                let look = |((receipt, _), here): ((Receipt, Bytes), bool)| {
                    if here && unknown {
                        self.callers.look_for(receipt.message_id());
                    }
                    Err(error.clone())
                };
                replies.map(look).collect()
            }
        }
    }

    fn count(_: &Self::Item) -> usize {
        // Each brings two keys more.
        4
    }

    fn bytes(item: &Self::Item) -> usize {
        item.1.len() + 128
    }
}
