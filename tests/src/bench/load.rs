//! Closed-loop load: so many calls in flight, each followed by the next, each timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use hdrhistogram::Histogram;

use super::processor::Processor;

/// Before anything is counted: connections are made, caches and branch predictors warm up.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// The longest latency that is told apart.
const LONGEST_US: u64 = 60_000_000;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Things done in a second.
    pub per_second: f64,
    /// Median latency of one call.
    pub p50_us: u64,
    /// 99 of 100 calls took no longer.
    pub p99_us: u64,
    /// Calls that failed while it was measured.
    pub errors: u64,
    /// What was found where it is no rate.
    pub figure: Option<Figure>,
    /// What it took of the processor, where that was looked at.
    pub processor: Option<Processor>,
}

/// So many of something.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// How many.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

impl Measured {
    /// A figure, without rate and latency.
    #[must_use]
    pub fn figure(value: f64, unit: &'static str) -> Self {
        let figure = Some(Figure { value, unit });
        Self { per_second: 0.0, p50_us: 0, p99_us: 0, errors: 0, figure, processor: None }
    }
}

/// One worker's account.
struct Account {
    latencies: Histogram<u64>,
    errors: u64,
    first_error: Option<anyhow::Error>,
}

impl Account {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latencies: Histogram::new_with_bounds(1, LONGEST_US, 3)?,
            errors: 0,
            first_error: None,
        })
    }
}

/// Keeps `in_flight` calls going for a warm-up and then `seconds`. `call` makes one call for
/// worker `n`; failures are counted.
///
/// # Errors
/// When no call succeeded: the first of the failures.
pub async fn closed_loop<F, Fut>(
    in_flight: usize,
    measure: Duration,
    call: F,
) -> anyhow::Result<Measured>
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let call = Arc::new(call);
    let counting = Arc::new(AtomicBool::new(false));
    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..in_flight)
        .map(|worker| {
            let (call, counting, over) = (call.clone(), counting.clone(), over.clone());
            tokio::spawn(async move {
                let mut account = Account::new()?;
                while !over.load(Ordering::Relaxed) {
                    let counts = counting.load(Ordering::Relaxed);
                    let start = Instant::now();
                    let outcome = call(worker).await;
                    if !counts {
                        continue;
                    }
                    match outcome {
                        Ok(()) => account.latencies.saturating_record(micros(start.elapsed())),
                        Err(error) => {
                            account.errors += 1;
                            account.first_error.get_or_insert(error);
                        }
                    }
                }
                anyhow::Ok(account)
            })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    counting.store(true, Ordering::Relaxed);
    let start = Instant::now();
    tokio::time::sleep(measure).await;
    over.store(true, Ordering::Relaxed);
    let took = start.elapsed();

    let mut total = Account::new()?;
    for account in join_all(workers).await {
        let account = account??;
        total.latencies.add(account.latencies)?;
        total.errors += account.errors;
        total.first_error = total.first_error.or(account.first_error);
    }
    if total.latencies.is_empty() {
        let error = total.first_error.unwrap_or_else(|| anyhow::anyhow!("no answer in time"));
        return Err(error.context("no call succeeded"));
    }
    Ok(measured(&total.latencies, total.latencies.len(), took, total.errors))
}

/// Puts an account together.
#[must_use]
pub fn measured(latencies: &Histogram<u64>, done: u64, took: Duration, errors: u64) -> Measured {
    #[allow(clippy::cast_precision_loss, reason = "a rate is shown in whole numbers")]
    let per_second = done as f64 / took.as_secs_f64();
    Measured {
        per_second,
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
        errors,
        figure: None,
        processor: None,
    }
}

/// An empty histogram as all rows use it.
///
/// # Errors
/// Never: the bounds are fixed.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST_US, 3)?)
}

/// Whole microseconds.
#[must_use]
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
