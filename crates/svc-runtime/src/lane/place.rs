//! A place in a lane: runs its batches one after the other, or overlapping.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;

use dashmap::mapref::entry::Entry;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt as _};
use tokio::sync::{Notify, oneshot};

use super::{Epoch, InEpoch, LaneWork, OVERLAP_BYTES, OVERLAP_ITEMS, Queued, Shared};

/// One of the batches that may be under way in a lane. However it ends, what waits is run.
pub(super) struct Place<W: LaneWork> {
    pub shared: Arc<Shared<W>>,
    pub key: W::Key,
    /// Whether it runs, or has run.
    pub began: bool,
}

type Callers<W> = Vec<oneshot::Sender<<W as LaneWork>::Answer>>;

impl<W: LaneWork> Place<W> {
    /// Runs batches until nothing waits.
    pub async fn serve(mut self) {
        self.began = true;
        if self.shared.options.overlap {
            return Overlap::new(&self).serve().await;
        }
        while let Some((items, callers)) = self.take(1) {
            let answers = self.shared.work.run(&self.key, items).await;
            answer::<W>(callers, answers);
        }
    }

    /// The next batch, if at least so much waits.
    fn take(&self, at_least: usize) -> Option<(Vec<W::Item>, Callers<W>)> {
        let batch = {
            let mut lane = self.shared.lanes.get_mut(&self.key)?;
            if lane.waiting < at_least && (at_least > 1 || lane.queue.is_empty()) {
                return None;
            }
            self.shared.batch(&mut lane)
        };
        Some(batch.into_iter().map(|Queued { item, answer }| (item, answer)).unzip())
    }

    fn enough(&self) -> Arc<Notify> {
        self.shared.lanes.get(&self.key).map(|lane| lane.enough.clone()).unwrap_or_default()
    }
}

impl<W: LaneWork> Drop for Place<W> {
    fn drop(&mut self) {
        let (start, lost) = {
            let Entry::Occupied(mut lane) = self.shared.lanes.entry(self.key.clone()) else {
                return;
            };
            // A place that did not begin was dropped by a runtime that shuts down: nothing will
            // run what waits, and its callers are told so.
            let lost = if self.began { VecDeque::new() } else { take(&mut lane.get_mut().queue) };
            // What came while this ended, or waited for a caller that went away.
            let start = !lane.get().queue.is_empty();
            if !start && lane.get().under_way > 1 {
                lane.get_mut().under_way -= 1;
            } else if !start {
                lane.remove();
            }
            (start, lost)
        };
        drop(lost);
        self.shared.start_if(start, &self.key);
    }
}

fn answer<W: LaneWork>(callers: Callers<W>, answers: Vec<W::Answer>) {
    for (caller, answer) in callers.into_iter().zip(answers) {
        // A caller that went away does not need its answer.
        let _ = caller.send(answer);
    }
}

/// A place whose large batches overlap: two of them at most.
struct Overlap<'a, W: LaneWork> {
    place: &'a Place<W>,
    enough: Arc<Notify>,
    under_way: FuturesOrdered<BoxFuture<'a, (InEpoch<W>, Callers<W>)>>,
    /// What batches are built on, once one has told.
    epoch: Option<Epoch>,
    /// Whether all that is under way has an epoch, so that another one may follow.
    open: bool,
    /// What was not run because its epoch was over.
    again: VecDeque<(Vec<W::Item>, Callers<W>)>,
}

impl<'a, W: LaneWork> Overlap<'a, W> {
    fn new(place: &'a Place<W>) -> Self {
        Self {
            place,
            enough: place.enough(),
            under_way: FuturesOrdered::new(),
            epoch: None,
            open: false,
            again: VecDeque::new(),
        }
    }

    async fn serve(mut self) {
        loop {
            // One that is no longer wanted starts nothing.
            while self.under_way.is_empty() {
                let next = self.again.pop_front().or_else(|| self.place.take(1));
                let Some((items, callers)) = next else { return };
                self.start(items, callers);
            }
            let may_follow = self.open
                && self.epoch.is_some()
                && self.again.is_empty()
                && self.under_way.len() < 2;
            tokio::select! {
                // First what is under way: it has been sent before another batch is begun.
                biased;
                Some((outcome, callers)) = self.under_way.next() => self.ended(outcome, callers),
                () = self.enough.notified(), if may_follow => {
                    if let Some((items, callers)) = self.place.take(OVERLAP_ITEMS) {
                        self.start(items, callers);
                    }
                }
            }
        }
    }

    fn start(&mut self, items: Vec<W::Item>, callers: Callers<W>) {
        let wanted = items.into_iter().zip(callers).filter(|(item, _)| W::is_wanted(item));
        let (items, callers): (Vec<_>, Callers<W>) = wanted.unzip();
        if items.is_empty() {
            return;
        }
        // A small one is not followed by another, so it needs no epoch.
        let large = items.iter().map(W::count).sum::<usize>() >= OVERLAP_ITEMS
            || items.iter().map(W::bytes).sum::<usize>() >= OVERLAP_BYTES;
        let epoch = self.epoch.filter(|_| large || !self.under_way.is_empty());
        self.open = epoch.is_some();
        let Place { shared, key, .. } = self.place;
        self.under_way.push_back(Box::pin(async move {
            (shared.work.run_in_epoch(key, items, epoch).await, callers)
        }));
    }

    fn ended(&mut self, outcome: InEpoch<W>, callers: Callers<W>) {
        match outcome {
            InEpoch::Ran { answers, epoch } => {
                answer::<W>(callers, answers);
                self.epoch = epoch;
            }
            InEpoch::Over(items) => {
                self.epoch = None;
                self.open = false;
                self.again.push_back((items, callers));
            }
        }
        // There may be enough already for the place that is free now.
        self.enough.notify_one();
    }
}
