//! Lanes: batches gather, keep their order, and hold nobody up.

use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::task::Poll;

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
    let echo = Arc::new(Echo { batches: Mutex::default(), gate: tokio::sync::Semaphore::new(0) });
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
async fn a_burst_is_one_batch() {
    let (echo, lanes) = lanes(LaneOptions { depth: 1, ..Default::default() });
    echo.gate.add_permits(100);
    let burst = [1, 2, 3, 4, 5].map(|item| {
        let lanes = lanes.clone();
        tokio::spawn(async move { lanes.run(&"a", item).await })
    });
    for (item, answer) in (1..).zip(burst) {
        assert_eq!(answer.await.unwrap(), Ok(item));
    }
    assert_eq!(*echo.batches.lock().unwrap(), [vec![1, 2, 3, 4, 5]]);
    assert!(lanes.is_empty());
}

#[tokio::test]
async fn the_first_of_a_burst_may_go_away() {
    let (echo, lanes) = lanes(LaneOptions { depth: 1, ..Default::default() });
    echo.gate.add_permits(100);
    let mut first = Box::pin(lanes.run(&"a", 1));
    assert!(futures::poll!(&mut first).is_pending());
    let second = lanes.submit(&"a", 2).await;
    drop(first);
    assert_eq!(second.answer().await, Ok(2));
    assert_eq!(*echo.batches.lock().unwrap(), [vec![2]]);
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

/// Runs batches of numbers in epochs: notes those that ran, refuses those of a past epoch.
struct Epochs {
    now: AtomicU64,
    ran: Mutex<Vec<Vec<usize>>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    gate: tokio::sync::Semaphore,
}

impl LaneWork for Arc<Epochs> {
    type Key = ();
    type Item = usize;
    type Answer = usize;

    async fn run(&self, (): &(), items: Vec<usize>) -> Vec<usize> {
        items
    }

    async fn run_in_epoch(
        &self,
        (): &(),
        items: Vec<usize>,
        epoch: Option<Epoch>,
    ) -> InEpoch<Self> {
        let under_way = self.under_way.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(under_way, SeqCst);
        let now = self.now.load(SeqCst);
        let over = epoch.is_some_and(|epoch| epoch != [now, 0]);
        if !over {
            self.ran.lock().unwrap().push(items.clone());
        }
        self.gate.acquire().await.unwrap().forget();
        self.under_way.fetch_sub(1, SeqCst);
        if over {
            InEpoch::Over(items)
        } else {
            InEpoch::Ran { answers: items, epoch: Some([now, 0]) }
        }
    }

    fn count(_: &usize) -> usize {
        1
    }

    fn bytes(_: &usize) -> usize {
        0
    }
}

#[tokio::test]
async fn large_batches_overlap_and_keep_their_order_through_epochs() {
    let epochs = Arc::new(Epochs {
        now: 1.into(),
        ran: Mutex::default(),
        under_way: 0.into(),
        most: 0.into(),
        gate: tokio::sync::Semaphore::new(0),
    });
    let options = LaneOptions { depth: 1, overlap: true, max_items: 100, ..Default::default() };
    let lanes = Lanes::new(epochs.clone(), options);
    let mut pending = Vec::new();
    for item in 0..1_000 {
        pending.push(lanes.submit(&(), item).await);
    }
    for (expected, answer) in pending.into_iter().enumerate() {
        if expected % 100 == 50 {
            // What is under way by now has the epoch of before.
            epochs.now.fetch_add(1, SeqCst);
        }
        let waiting = answer.answer();
        tokio::pin!(waiting);
        let answer = loop {
            if let Poll::Ready(answer) = futures::poll!(&mut waiting) {
                break answer;
            }
            epochs.gate.add_permits(1);
            tokio::task::yield_now().await;
        };
        assert_eq!(answer, Ok(expected));
    }
    assert_eq!(epochs.most.load(SeqCst), 2);
    let ran = epochs.ran.lock().unwrap().concat();
    assert!(ran.is_sorted(), "{ran:?}");
    assert_eq!(ran.len(), 1_000);
}

/// Work that never ends.
struct Never;

impl LaneWork for Never {
    type Key = &'static str;
    type Item = ();
    type Answer = ();

    async fn run(&self, _: &&'static str, _: Vec<()>) -> Vec<()> {
        std::future::pending().await
    }

    fn count((): &()) -> usize {
        1
    }

    fn bytes((): &()) -> usize {
        0
    }
}

#[test]
fn a_runtime_that_ends_with_work_waiting_ends() {
    let (ended, ends) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for depth in [1, 2] {
            let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
            let lanes = Lanes::new(Never, LaneOptions { depth, ..Default::default() });
            let pending = runtime.block_on(async {
                let mut pending = Vec::new();
                for _ in 0..10 {
                    pending.push(lanes.submit(&"a", ()).await);
                }
                while lanes.shared.lanes.get(&"a").unwrap().queue.len() > 10 - depth {
                    tokio::task::yield_now().await;
                }
                pending
            });
            drop(runtime);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for answer in pending {
                assert_eq!(runtime.block_on(answer.answer()), Err(LaneError::Lost));
            }
            assert!(lanes.is_empty());
        }
        ended.send(()).unwrap();
    });
    ends.recv_timeout(Duration::from_secs(10)).expect("the runtime ends");
}
