//! Lanes: concurrent work on one key (a topic, a queue) shares a round trip.
//!
//! A lane takes whatever is waiting, up to a number of items and a weight in bytes, runs it as one
//! batch and answers each caller. While batches are under way the next one gathers, so nothing
//! ever waits on a timer: an idle lane runs a lone item at once, a busy one runs large batches.
//! The input of a lane is bounded, and a lane that has been idle for a while ends.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

/// What a lane does with a batch.
pub trait LaneWork: Send + Sync + 'static {
    /// Items of one key share batches.
    type Key: Clone + Debug + Eq + Hash + Send + Sync + 'static;
    /// A caller's piece of work.
    type Item: Send + 'static;
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
    /// Batches under way at once; they are started in order.
    pub depth: usize,
    /// How long a lane outlives its last item.
    pub idle: Duration,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            max_items: 1_000,
            max_bytes: 1 << 20,
            capacity: 4_096,
            depth: 2,
            idle: Duration::from_secs(5),
        }
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

type Inputs<W> = DashMap<<W as LaneWork>::Key, mpsc::Sender<Queued<W>>>;

/// The lanes of one kind of work, made when they are needed.
pub struct Lanes<W: LaneWork> {
    work: Arc<W>,
    inputs: Arc<Inputs<W>>,
    options: LaneOptions,
}

impl<W: LaneWork> Debug for Lanes<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("lanes", &self.inputs.len()).finish_non_exhaustive()
    }
}

impl<W: LaneWork> Clone for Lanes<W> {
    fn clone(&self) -> Self {
        Self { work: self.work.clone(), inputs: self.inputs.clone(), options: self.options }
    }
}

/// An answer on its way.
#[derive(Debug)]
pub struct Pending<A>(oneshot::Receiver<A>);

impl<A> Pending<A> {
    /// Waits for the answer.
    pub async fn answer(self) -> Result<A, LaneError> {
        self.0.await.map_err(|_| LaneError::Lost)
    }
}

impl<W: LaneWork> Lanes<W> {
    /// Lanes that run `work`.
    pub fn new(work: W, options: LaneOptions) -> Self {
        Self { work: Arc::new(work), inputs: Arc::default(), options }
    }

    /// Submits and waits for the answer; [`LaneError::Full`] at once when too much is waiting.
    pub async fn run(&self, key: &W::Key, item: W::Item) -> Result<W::Answer, LaneError> {
        let (answer, pending) = oneshot::channel();
        let mut queued = Queued { item, answer };
        loop {
            match self.input(key).try_send(queued) {
                Ok(()) => return Pending(pending).answer().await,
                Err(mpsc::error::TrySendError::Full(_)) => return Err(LaneError::Full),
                Err(mpsc::error::TrySendError::Closed(back)) => queued = back,
            }
        }
    }

    /// Waits for room, submits, and returns while the answer is on its way: for streams, which
    /// stop reading their client meanwhile.
    pub async fn submit(&self, key: &W::Key, item: W::Item) -> Pending<W::Answer> {
        let (answer, pending) = oneshot::channel();
        let mut queued = Queued { item, answer };
        loop {
            let input = self.input(key);
            match input.send(queued).await {
                Ok(()) => return Pending(pending),
                Err(mpsc::error::SendError(back)) => queued = back,
            }
        }
    }

    /// How many lanes there are.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    fn input(&self, key: &W::Key) -> mpsc::Sender<Queued<W>> {
        if let Some(input) = self.inputs.get(key)
            && !input.is_closed()
        {
            return input.clone();
        }
        match self.inputs.entry(key.clone()) {
            Entry::Occupied(lane) if !lane.get().is_closed() => lane.get().clone(),
            entry => {
                let (input, queue) = mpsc::channel(self.options.capacity);
                let lane = Lane {
                    key: key.clone(),
                    work: self.work.clone(),
                    queue,
                    carried: VecDeque::new(),
                    options: self.options,
                };
                entry.insert(input.clone());
                tokio::spawn(lane.serve(self.inputs.clone()));
                input
            }
        }
    }
}

struct Lane<W: LaneWork> {
    key: W::Key,
    work: Arc<W>,
    queue: mpsc::Receiver<Queued<W>>,
    /// Taken from the queue and not yet in a batch.
    carried: VecDeque<Queued<W>>,
    options: LaneOptions,
}

impl<W: LaneWork> Lane<W> {
    async fn serve(mut self, inputs: Arc<Inputs<W>>) {
        let work = self.work.clone();
        let key = self.key.clone();
        let mut under_way = FuturesUnordered::new();
        loop {
            if under_way.len() >= self.options.depth {
                under_way.next().await;
                continue;
            }
            let more = if self.carried.is_empty() {
                tokio::select! {
                    biased;
                    Some(()) = under_way.next() => continue,
                    more = self.gather() => more,
                }
            } else {
                true
            };
            if !more {
                if under_way.next().await.is_some() {
                    continue;
                }
                // Close before leaving the map: what was sent meanwhile is still in the queue.
                self.queue.close();
                while let Ok(queued) = self.queue.try_recv() {
                    self.carried.push_back(queued);
                }
                if self.carried.is_empty() {
                    break;
                }
            }
            let batch = self.batch();
            if !batch.is_empty() {
                let mut batch = Box::pin(run_batch(&*work, &key, batch));
                // Polled once here so that batches start in the order in which they were made.
                if futures::poll!(&mut batch).is_pending() {
                    under_way.push(batch);
                }
            }
        }
        inputs.remove_if(&self.key, |_, input| input.is_closed());
    }

    /// Waits for work; false when none came for a while.
    async fn gather(&mut self) -> bool {
        let Ok(first) = tokio::time::timeout(self.options.idle, self.queue.recv()).await else {
            return false;
        };
        self.carried.extend(first);
        !self.carried.is_empty()
    }

    /// The next batch: what was carried over, then whatever is waiting, as far as it fits.
    fn batch(&mut self) -> Vec<Queued<W>> {
        let (mut count, mut bytes) = (0, 0);
        let mut batch = Vec::new();
        loop {
            let Some(next) = self.carried.pop_front().or_else(|| self.queue.try_recv().ok()) else {
                return batch;
            };
            count += W::count(&next.item);
            bytes += W::bytes(&next.item);
            let fits = count <= self.options.max_items && bytes <= self.options.max_bytes;
            if !fits && !batch.is_empty() {
                self.carried.push_front(next);
                return batch;
            }
            batch.push(next);
        }
    }
}

async fn run_batch<W: LaneWork>(work: &W, key: &W::Key, batch: Vec<Queued<W>>) {
    let (items, callers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|queued| (queued.item, queued.answer)).unzip();
    for (caller, answer) in callers.into_iter().zip(work.run(key, items).await) {
        // A caller that went away does not need its answer.
        let _ = caller.send(answer);
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

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_ends_and_comes_back() {
        let (echo, lanes) = lanes(LaneOptions::default());
        echo.gate.add_permits(2);
        assert_eq!(lanes.run(&"a", 1).await, Ok(1));
        assert_eq!(lanes.len(), 1);
        while !lanes.is_empty() {
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(lanes.run(&"a", 2).await, Ok(2));
    }
}
