//! Lanes: concurrent work on one key (a topic, a queue) shares a round trip.
//!
//! A lane takes whatever is waiting, up to a number of items and a weight in bytes, runs it as one
//! batch and answers each caller. While batches are under way the next one gathers, and an idle lane
//! takes with its first item those whose tasks are ready to run. So nothing ever waits on a timer: a
//! lone item is run at once, a busy lane runs large batches, and a burst is one from its first item.
//! The input of a lane is bounded, and a lane without work is none.

mod meter;
mod place;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::{Notify, oneshot};

use crate::turn::others_turn;
use meter::Meter;
use place::Place;

/// What a lane does with a batch.
pub trait LaneWork: Send + Sync + 'static {
    /// Items of one key share batches.
    type Key: Clone + Debug + Eq + Hash + Send + Sync + 'static;
    /// A caller's piece of work.
    type Item: Send + Sync + 'static;
    /// What the caller gets.
    type Answer: Send + 'static;

    /// Runs a batch and answers its items, in their order and as many.
    fn run(
        &self,
        key: &Self::Key,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Vec<Self::Answer>> + Send;

    /// Runs a batch of a lane that overlaps batches (see [`LaneOptions::overlap`]), on condition
    /// that what its predecessor was built on still holds. Batches with an epoch are begun in
    /// order, and each is polled before the next is begun: what the first poll sends is sent in
    /// order too.
    fn run_in_epoch(
        &self,
        key: &Self::Key,
        items: Vec<Self::Item>,
        epoch: Option<Epoch>,
    ) -> impl Future<Output = InEpoch<Self>> + Send
    where
        Self: Sized,
    {
        let _ = epoch;
        async move { InEpoch::Ran { answers: self.run(key, items).await, epoch: None } }
    }

    /// Whether an item is still to be run. Looked at when its batch is begun; the caller of one that
    /// is not gets [`LaneError::Lost`].
    fn is_wanted(item: &Self::Item) -> bool {
        let _ = item;
        true
    }

    /// How many of the batch's items this one stands for.
    fn count(item: &Self::Item) -> usize;

    /// How many bytes it carries.
    fn bytes(item: &Self::Item) -> usize;
}

/// What batches of a lane are built on, in whatever numbers say it.
pub type Epoch = [u64; 2];

/// What came of a batch that may have been under way with another one.
#[derive(Debug)]
pub enum InEpoch<W: LaneWork> {
    /// It ran.
    Ran {
        /// The answers of its items, in their order and as many.
        answers: Vec<W::Answer>,
        /// What later batches may be built on; none: they have to wait for each other.
        epoch: Option<Epoch>,
    },
    /// It was not run, because its epoch no longer holds: these are its items. Neither was what is
    /// behind it; the lane runs all of it again, in order and one by one.
    Over(Vec<W::Item>),
}

/// How large batches get, and how much waits for them.
#[derive(Clone, Copy, Debug)]
pub struct LaneOptions {
    /// The kind of work, in metrics.
    pub name: &'static str,
    /// Items in a batch at most; a single larger one runs alone.
    pub max_items: usize,
    /// Bytes in a batch at most; a single larger one runs alone.
    pub max_bytes: usize,
    /// Submissions that may wait in a lane.
    pub capacity: usize,
    /// Batches under way at once; only with one of them are batches run in order.
    pub depth: usize,
    /// With a depth of one: large batches may overlap, one being prepared and sent while the one
    /// before it is under way. Their order holds, see [`LaneWork::run_in_epoch`].
    pub overlap: bool,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            name: "other",
            max_items: 1_000,
            max_bytes: 1 << 20,
            capacity: 4_096,
            depth: 2,
            overlap: false,
        }
    }
}

/// As many items as make a batch worth sending while another one is under way …
const OVERLAP_ITEMS: usize = 64;
/// … or as many bytes.
const OVERLAP_BYTES: usize = 64 << 10;

/// Why a lane gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// Too much is waiting: nothing was done.
    #[error("the lane is full")]
    Full,
    /// The batch ended without an answer (it panicked): it may have been done. Or it was no longer
    /// wanted.
    #[error("the batch ended without an answer")]
    Lost,
}

struct Queued<W: LaneWork> {
    item: W::Item,
    answer: oneshot::Sender<W::Answer>,
}

/// A lane is there as long as it has work.
struct Lane<W: LaneWork> {
    queue: VecDeque<Queued<W>>,
    /// What the items of the queue count.
    waiting: usize,
    /// Since when the first of the queue waits; a little less where it was left over by a batch.
    since: Option<Instant>,
    under_way: usize,
    /// Rung when a batch was taken out of the queue.
    room: Arc<Notify>,
    /// Rung when enough waits for a batch that overlaps another.
    enough: Arc<Notify>,
}

impl<W: LaneWork> Default for Lane<W> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            waiting: 0,
            since: None,
            under_way: 0,
            room: Arc::default(),
            enough: Arc::default(),
        }
    }
}

/// The lanes of one kind of work, made when they are needed.
pub struct Lanes<W: LaneWork> {
    shared: Arc<Shared<W>>,
}

struct Shared<W: LaneWork> {
    work: W,
    /// Looked at and changed under the lock of the entry only, never across an await.
    lanes: DashMap<W::Key, Lane<W>>,
    options: LaneOptions,
    meter: Meter,
}

impl<W: LaneWork> Debug for Lanes<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("lanes", &self.len()).finish_non_exhaustive()
    }
}

impl<W: LaneWork> Clone for Lanes<W> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// An answer on its way.
#[derive(Debug)]
pub struct Pending<A>(oneshot::Receiver<A>);

impl<A> Pending<A> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`LaneError::Lost`].
    pub async fn answer(self) -> Result<A, LaneError> {
        self.0.await.map_err(|_| LaneError::Lost)
    }
}

impl<W: LaneWork> Lanes<W> {
    /// Lanes that run `work`. Where there is to be a recorder of metrics, it has to be there already.
    pub fn new(work: W, options: LaneOptions) -> Self {
        let meter = Meter::new(options.name);
        Self { shared: Arc::new(Shared { work, lanes: DashMap::new(), options, meter }) }
    }

    /// Submits and waits for the answer. An idle lane runs a lone item at once, on the caller's task:
    /// without a detour, it is as fast as it would be without lanes.
    ///
    /// # Errors
    /// [`LaneError::Full`] at once when too much is waiting, [`LaneError::Lost`].
    pub async fn run(&self, key: &W::Key, item: W::Item) -> Result<W::Answer, LaneError> {
        let waiting = {
            let mut lane = self.shared.lanes.entry(key.clone()).or_default();
            if lane.under_way == 0 {
                lane.under_way = 1;
                Err(item)
            } else if lane.queue.len() < self.shared.options.capacity {
                Ok(self.shared.push(&mut lane, item))
            } else {
                return Err(LaneError::Full);
            }
        };
        match waiting {
            Ok((pending, start)) => {
                self.shared.start_if(start, key);
                pending.answer().await
            }
            Err(item) => {
                let shared = self.shared.clone();
                let mut place = Place { shared, key: key.clone(), began: true };
                others_turn().await;
                let item = match self.shared.alone(key, item) {
                    Ok(item) => item,
                    Err(pending) => {
                        place.began = false;
                        tokio::spawn(place.serve());
                        return pending.answer().await;
                    }
                };
                self.shared.meter.batch(W::count(&item), Duration::ZERO);
                // Boxed: most callers wait for a batch, and need not carry what runs one.
                let answers = Box::pin(place.shared.work.run(key, vec![item])).await;
                answers.into_iter().next().ok_or(LaneError::Lost)
            }
        }
    }

    /// Waits for room, submits, and returns while the answer is on its way: for streams, which
    /// stop reading their client meanwhile. What one task submits is run in that order.
    pub async fn submit(&self, key: &W::Key, item: W::Item) -> Pending<W::Answer> {
        let (pending, start) = loop {
            let room = {
                let mut lane = self.shared.lanes.entry(key.clone()).or_default();
                if lane.queue.len() < self.shared.options.capacity {
                    break self.shared.push(&mut lane, item);
                }
                lane.room.clone().notified_owned()
            };
            room.await;
        };
        self.shared.start_if(start, key);
        pending
    }

    /// How many lanes there are.
    pub fn len(&self) -> usize {
        self.shared.lanes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shared.lanes.is_empty()
    }
}

impl<W: LaneWork> Shared<W> {
    /// Queues an item; answers whether a place must be started for it.
    fn push(&self, lane: &mut Lane<W>, item: W::Item) -> (Pending<W::Answer>, bool) {
        let (answer, pending) = oneshot::channel();
        let before = lane.waiting;
        if lane.queue.is_empty() {
            lane.since = Some(Instant::now());
        }
        lane.waiting += W::count(&item);
        lane.queue.push_back(Queued { item, answer });
        if before < OVERLAP_ITEMS && lane.waiting >= OVERLAP_ITEMS {
            lane.enough.notify_one();
        }
        let start = lane.under_way < self.options.depth;
        lane.under_way += usize::from(start);
        (Pending(pending), start)
    }

    /// Gives an item back if nobody waits to share its batch; otherwise it is the first of those that
    /// wait.
    fn alone(&self, key: &W::Key, item: W::Item) -> Result<W::Item, Pending<W::Answer>> {
        let Some(mut lane) = self.lanes.get_mut(key) else { return Ok(item) };
        if lane.queue.is_empty() {
            return Ok(item);
        }
        let (answer, pending) = oneshot::channel();
        lane.waiting += W::count(&item);
        lane.queue.push_front(Queued { item, answer });
        Err(Pending(pending))
    }

    /// Starts a place. Never while a lane is held: a runtime that shuts down drops what is spawned
    /// at once, and a place that is dropped looks at its lane.
    fn start_if(self: &Arc<Self>, start: bool, key: &W::Key) {
        if start {
            let place = Place { shared: self.clone(), key: key.clone(), began: false };
            tokio::spawn(place.serve());
        }
    }

    /// The next batch: whatever is waiting, as far as it fits.
    fn batch(&self, lane: &mut Lane<W>) -> Vec<Queued<W>> {
        let (mut count, mut bytes, mut length) = (0, 0, 0);
        for next in &lane.queue {
            count += W::count(&next.item);
            bytes += W::bytes(&next.item);
            let fits = count <= self.options.max_items && bytes <= self.options.max_bytes;
            if !fits && length > 0 {
                break;
            }
            length += 1;
        }
        let batch: Vec<_> = lane.queue.drain(..length).collect();
        let items = batch.iter().map(|queued| W::count(&queued.item)).sum::<usize>();
        lane.waiting -= items;
        if let Some(since) = lane.since.take() {
            let now = Instant::now();
            self.meter.batch(items, now - since);
            lane.since = (!lane.queue.is_empty()).then_some(now);
        }
        lane.room.notify_waiters();
        batch
    }
}

#[cfg(test)]
mod tests;
