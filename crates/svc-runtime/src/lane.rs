//! Lanes: concurrent work on one key (a topic, a queue) shares a round trip.
//!
//! A lane takes whatever is waiting, up to a number of items and a weight in bytes, runs it as one
//! batch and answers each caller. While batches are under way the next one gathers, so nothing
//! ever waits on a timer: an idle lane runs a lone item at once, a busy one runs large batches.
//! The input of a lane is bounded, and a lane without work is none.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{Notify, oneshot};

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

    /// How many of the batch's items this one stands for.
    fn count(item: &Self::Item) -> usize;

    /// How many bytes it carries.
    fn bytes(item: &Self::Item) -> usize;
}

/// How large batches get, and how much waits for them.
#[derive(Clone, Copy, Debug)]
pub struct LaneOptions {
    /// Items in a batch at most; a single larger one runs alone.
    pub max_items: usize,
    /// Bytes in a batch at most; a single larger one runs alone.
    pub max_bytes: usize,
    /// Submissions that may wait in a lane.
    pub capacity: usize,
    /// Batches under way at once; only with one of them are batches run in order.
    pub depth: usize,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self { max_items: 1_000, max_bytes: 1 << 20, capacity: 4_096, depth: 2 }
    }
}

/// Why a lane gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// Too much is waiting: nothing was done.
    #[error("the lane is full")]
    Full,
    /// The batch ended without an answer (it panicked): it may have been done.
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
    under_way: usize,
    /// Rung when a batch was taken out of the queue.
    room: Arc<Notify>,
}

impl<W: LaneWork> Default for Lane<W> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), under_way: 0, room: Arc::default() }
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
    /// Lanes that run `work`.
    pub fn new(work: W, options: LaneOptions) -> Self {
        Self { shared: Arc::new(Shared { work, lanes: DashMap::new(), options }) }
    }

    /// Submits and waits for the answer. An idle lane runs the item at once, on the caller's task:
    /// without a detour, a lone call is as fast as it would be without lanes.
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
                Ok(self.shared.push(key, &mut lane, item))
            } else {
                return Err(LaneError::Full);
            }
        };
        match waiting {
            Ok(pending) => pending.answer().await,
            Err(item) => {
                let place = Place { shared: self.shared.clone(), key: key.clone() };
                let answers = place.shared.work.run(key, vec![item]).await;
                answers.into_iter().next().ok_or(LaneError::Lost)
            }
        }
    }

    /// Waits for room, submits, and returns while the answer is on its way: for streams, which
    /// stop reading their client meanwhile. What one task submits is run in that order.
    pub async fn submit(&self, key: &W::Key, item: W::Item) -> Pending<W::Answer> {
        loop {
            let room = {
                let mut lane = self.shared.lanes.entry(key.clone()).or_default();
                if lane.queue.len() < self.shared.options.capacity {
                    return self.shared.push(key, &mut lane, item);
                }
                lane.room.clone().notified_owned()
            };
            room.await;
        }
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
    /// Queues an item, and has it run unless enough is under way.
    fn push(
        self: &Arc<Self>,
        key: &W::Key,
        lane: &mut Lane<W>,
        item: W::Item,
    ) -> Pending<W::Answer> {
        let (answer, pending) = oneshot::channel();
        lane.queue.push_back(Queued { item, answer });
        if lane.under_way < self.options.depth {
            lane.under_way += 1;
            let place = Place { shared: self.clone(), key: key.clone() };
            tokio::spawn(place.serve());
        }
        Pending(pending)
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
        let batch = lane.queue.drain(..length).collect();
        lane.room.notify_waiters();
        batch
    }
}

/// One of the batches that may be under way in a lane. However it ends, what waits is run.
struct Place<W: LaneWork> {
    shared: Arc<Shared<W>>,
    key: W::Key,
}

impl<W: LaneWork> Place<W> {
    /// Runs batches until nothing waits.
    async fn serve(self) {
        loop {
            let batch = match self.shared.lanes.get_mut(&self.key) {
                Some(mut lane) => self.shared.batch(&mut lane),
                None => return,
            };
            if batch.is_empty() {
                return;
            }
            let (items, callers): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|queued| (queued.item, queued.answer)).unzip();
            let answers = self.shared.work.run(&self.key, items).await;
            for (caller, answer) in callers.into_iter().zip(answers) {
                // A caller that went away does not need its answer.
                let _ = caller.send(answer);
            }
        }
    }
}

impl<W: LaneWork> Drop for Place<W> {
    fn drop(&mut self) {
        let Entry::Occupied(mut lane) = self.shared.lanes.entry(self.key.clone()) else { return };
        if !lane.get().queue.is_empty() {
            // What came while this ended, or waited for a caller that went away.
            let place = Self { shared: self.shared.clone(), key: self.key.clone() };
            tokio::spawn(place.serve());
        } else if lane.get().under_way > 1 {
            lane.get_mut().under_way -= 1;
        } else {
            lane.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers each number with itself, one permit a batch, and notes how batches were cut.
    struct Echo {
        batches: Mutex<Vec<Vec<usize>>>,
        gate: tokio::sync::Semaphore,
    }

    impl LaneWork for Arc<Echo> {
        type Key = &'static str;
        type Item = usize;
        type Answer = usize;

        async fn run(&self, _: &&'static str, items: Vec<usize>) -> Vec<usize> {
            self.batches.lock().unwrap().push(items.clone());
            self.gate.acquire().await.unwrap().forget();
            items
        }

        fn count(_: &usize) -> usize {
            1
        }

        fn bytes(item: &usize) -> usize {
            *item
        }
    }

    fn lanes(options: LaneOptions) -> (Arc<Echo>, Lanes<Arc<Echo>>) {
        let echo =
            Arc::new(Echo { batches: Mutex::default(), gate: tokio::sync::Semaphore::new(0) });
        (echo.clone(), Lanes::new(echo, options))
    }

    #[tokio::test]
    async fn work_gathers_while_batches_are_under_way() {
        let (echo, lanes) = lanes(LaneOptions { depth: 1, max_bytes: 10, ..Default::default() });
        let mut pending = Vec::new();
        for item in [1, 2, 3, 4, 5, 11, 1] {
            pending.push(lanes.submit(&"a", item).await);
            // Lets the lane start its first batch before the others come.
            tokio::task::yield_now().await;
        }
        echo.gate.add_permits(100);
        let mut answers = Vec::new();
        for answer in pending {
            answers.push(answer.answer().await.unwrap());
        }
        assert_eq!(answers, [1, 2, 3, 4, 5, 11, 1]);
        let batches = echo.batches.lock().unwrap().clone();
        assert_eq!(batches, [vec![1], vec![2, 3, 4], vec![5], vec![11], vec![1]]);
    }

    #[tokio::test]
    async fn a_full_lane_says_so() {
        let (echo, lanes) = lanes(LaneOptions { depth: 1, capacity: 1, ..Default::default() });
        let first = lanes.submit(&"a", 1).await;
        while echo.batches.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let second = lanes.submit(&"a", 2).await;
        assert_eq!(lanes.run(&"a", 3).await, Err(LaneError::Full));
        echo.gate.add_permits(2);
        assert_eq!(first.answer().await, Ok(1));
        assert_eq!(second.answer().await, Ok(2));
    }

    #[tokio::test]
    async fn a_lane_without_work_is_none() {
        let (echo, lanes) = lanes(LaneOptions::default());
        echo.gate.add_permits(2);
        for item in [1, 2] {
            assert_eq!(lanes.run(&"a", item).await, Ok(item));
            assert!(lanes.is_empty());
        }
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_holds_nobody_up() {
        let (echo, lanes) = lanes(LaneOptions { depth: 1, ..Default::default() });
        let gone = {
            let lanes = lanes.clone();
            tokio::spawn(async move { lanes.run(&"a", 1).await })
        };
        while echo.batches.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let second = lanes.submit(&"a", 2).await;
        gone.abort();
        echo.gate.add_permits(1);
        assert_eq!(second.answer().await, Ok(2));
    }
}
