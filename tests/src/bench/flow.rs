//! Counting what streams move: any number of tasks add, one looks at the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::future::select_all;
use tokio::task::JoinHandle;

use super::load::{Measured, WARM_UP, histogram, measured};

/// Counts things done by several tasks.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// So many more are done.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many are done.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lets tasks that run for ever work, and measures what they count in `time` after a warm-up.
/// Streams have no latency of a single call: those columns stay zero.
///
/// # Errors
/// When a task ends, which none should.
pub async fn of_tasks(
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
    count: &Count,
    time: Duration,
) -> anyhow::Result<Measured> {
    let stops: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
    let watching = async {
        tokio::time::sleep(WARM_UP).await;
        let (start, before) = (Instant::now(), count.get());
        tokio::time::sleep(time).await;
        anyhow::Ok((count.get() - before, start.elapsed()))
    };
    let outcome = tokio::select! {
        outcome = watching => outcome,
        (ended, _, _) = select_all(tasks) => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("a stream ended by itself")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
    };
    for stop in stops {
        stop.abort();
    }
    let (done, took) = outcome?;
    if done == 0 {
        bail!("nothing moved in {time:?}");
    }
    Ok(measured(&histogram()?, done, took, 0))
}
