//! What is counted of lanes, once a batch.

use std::time::Duration;

use metrics::{Histogram, histogram};

/// The handles of one kind of lane.
pub(super) struct Meter {
    items: Histogram,
    waits: Histogram,
}

impl Meter {
    pub(super) fn new(lane: &'static str) -> Self {
        Self {
            items: histogram!("lane_batch_items", "lane" => lane),
            waits: histogram!("lane_wait_seconds", "lane" => lane),
        }
    }

    /// A batch goes: so many items, the first of which has waited so long.
    #[allow(clippy::cast_precision_loss, reason = "batches have about a thousand items")]
    pub(super) fn batch(&self, items: usize, waited: Duration) {
        self.items.record(items as f64);
        self.waits.record(waited);
    }
}
