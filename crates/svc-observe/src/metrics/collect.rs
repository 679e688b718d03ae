//! Gauges that have to be asked for: at scrape time, for a bounded time, one scrape at a time.
//!
//! What fails or takes too long leaves its gauges out of this scrape, so that Prometheus does not
//! take old values for new ones, and says so in `collector_success`. The scrape itself goes on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};

use super::catalog::Described;
use super::catalog::collected::{
    COLLECTOR_DURATION_SECONDS, COLLECTOR_LAST_SUCCESS, COLLECTOR_SUCCESS,
};
use super::exposition::Text;

/// How long a collector may take. Prometheus gives a scrape 10 s by default.
pub const LIMIT: Duration = Duration::from_secs(3);

/// Why gauges could not be asked for.
pub type CollectError = Box<dyn std::error::Error + Send + Sync>;

/// Something that knows gauges.
pub trait Collect: Debug + Send + Sync + 'static {
    /// For the label `collector`.
    fn name(&self) -> &'static str;

    /// Asks, and puts what it learned into the samples. What it put there counts only if it
    /// succeeds.
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>>;
}

/// Values of a scrape.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, (Described, Vec<Sample>)>,
}

/// The labels of a value, and the value.
type Sample = (Vec<String>, f64);

impl Samples {
    /// A value; of `labels` there must be as many as the metric has.
    pub fn set<const N: usize>(&mut self, metric: &Described, labels: [&str; N], value: f64) {
        debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
        let (_, values) = self.families.entry(metric.name).or_insert((*metric, Vec::new()));
        values.push((labels.map(str::to_owned).to_vec(), value));
    }

    fn add(&mut self, other: Self) {
        for (name, (metric, values)) in other.families {
            self.families.entry(name).or_insert((metric, Vec::new())).1.extend(values);
        }
    }

    pub(super) fn write(&self, text: &mut Text) {
        for (metric, values) in self.families.values() {
            text.family(metric);
            for (labels, value) in values {
                let labels: Vec<_> = labels.iter().map(String::as_str).collect();
                text.sample(metric, &labels, *value);
            }
            text.end();
        }
    }
}

/// All collectors of a service.
#[derive(Debug, Default)]
pub(super) struct Collectors {
    collectors: Mutex<Vec<Collecting>>,
    /// Held by the scrape that is asking.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Collecting {
    collector: Arc<dyn Collect>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    failing: bool,
    last_success: Option<SystemTime>,
}

impl Collectors {
    pub fn add(&self, collector: Arc<dyn Collect>) {
        let collecting = Collecting { collector, state: Arc::default() };
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner).push(collecting);
    }

    /// Asks all of them at once, in its turn.
    pub async fn collect(&self) -> Samples {
        let _turn = self.turn.lock().await;
        let collectors = self.collectors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Samples::default();
        for samples in join_all(collectors.iter().map(Collecting::ask)).await {
            all.add(samples);
        }
        all
    }
}

impl Collecting {
    async fn ask(&self) -> Samples {
        let name = self.collector.name();
        let begun = Instant::now();
        let mut samples = Samples::default();
        let asking = AssertUnwindSafe(self.collector.collect(&mut samples)).catch_unwind();
        let failure = match tokio::time::timeout(LIMIT, asking).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(_)) => Some("it panicked".to_owned()),
            Err(_) => Some(format!("it took longer than {LIMIT:?}")),
        };
        if failure.is_some() {
            samples = Samples::default();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended(name, failure.as_deref());
        let success = if failure.is_none() { 1.0 } else { 0.0 };
        samples.set(&COLLECTOR_SUCCESS, [name], success);
        samples.set(&COLLECTOR_DURATION_SECONDS, [name], begun.elapsed().as_secs_f64());
        if let Some(at) = state.last_success.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
            samples.set(&COLLECTOR_LAST_SUCCESS, [name], at.as_secs_f64());
        }
        samples
    }
}

impl State {
    /// Logs only when it begins to fail and when it is well again.
    fn ended(&mut self, collector: &'static str, failure: Option<&str>) {
        match failure {
            Some(error) if !self.failing => {
                tracing::warn!(collector, error, "gauges cannot be collected for now");
            }
            None if self.failing => tracing::info!(collector, "gauges are collected again"),
            _ => {}
        }
        self.failing = failure.is_some();
        if failure.is_none() {
            self.last_success = Some(SystemTime::now());
        }
    }
}
