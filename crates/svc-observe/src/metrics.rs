//! Metrics: the recorder behind the `metrics` facade, counters by topic, group and queue within a
//! bounded number of names, and gauges that are asked for at scrape time.
//!
//! Code that counts calls the facade (`metrics::histogram!`) and keeps the handle, or takes a
//! handle of [`Metrics::topics`], [`Metrics::groups`], [`Metrics::queues`]. What metrics there are
//! is in [`catalog`].

pub mod catalog;
pub mod collect;
mod exposition;
pub mod names;
pub mod series;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::Service;
use catalog::{ITEM_BUCKETS, ITEM_HISTOGRAMS, RECORDED, SECONDS_BUCKETS};
use collect::{Collect, Collectors, Samples};
use exposition::Text;
use series::{Groups, Queues, Topics};

/// How often recorded values of histograms are summed up, so that they do not pile up between
/// scrapes, and names are looked at for whether they are in use.
const UPKEEP: Duration = Duration::from_secs(5);

/// One recorder for the process: handles in all its parts point at it.
static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The recorder could not be made.
    #[error("cannot record metrics")]
    Build(#[from] BuildError),

    /// Another part of the process was first.
    #[error("metrics are recorded by something else already")]
    AlreadySet,
}

/// The metrics of a service.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: Service,
    recorder: PrometheusHandle,
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    queues: Arc<Queues>,
    collectors: Collectors,
}

impl Metrics {
    /// Starts recording, before anything takes handles: those taken earlier record nothing. The
    /// recorder is one for the process; names and collectors are of this service. Must be called
    /// within a Tokio runtime.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn install(service: Service, max_names: usize) -> Result<Self, MetricsError> {
        let recorder = recorder()?;
        metrics::gauge!("build_info", "version" => service.version, "service" => service.name)
            .set(1);
        let inner = Arc::new(Inner {
            service,
            recorder,
            topics: Arc::new(Topics::new(max_names)),
            groups: Arc::new(Groups::new(max_names)),
            queues: Arc::new(Queues::new(max_names)),
            collectors: Collectors::default(),
        });
        tokio::spawn(upkeep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Counters by topic. A collector keeps these and not the whole, of which it is a part.
    #[must_use]
    pub fn topics(&self) -> &Arc<Topics> {
        &self.inner.topics
    }

    /// Counters by topic and group.
    #[must_use]
    pub fn groups(&self) -> &Arc<Groups> {
        &self.inner.groups
    }

    /// Counters by queue.
    #[must_use]
    pub fn queues(&self) -> &Arc<Queues> {
        &self.inner.queues
    }

    /// Adds gauges that are asked for at every scrape.
    pub fn add_collector(&self, collector: impl Collect) {
        self.inner.collectors.add(Arc::new(collector));
    }

    /// Everything, in Prometheus' text format. Scrapes take turns; each asks every collector, and
    /// waits for it no longer than [`collect::LIMIT`].
    pub async fn scrape(&self) -> String {
        let inner = &self.inner;
        let collected: Samples = inner.collectors.collect().await;
        let mut text = Text::new(inner.recorder.render());
        inner.topics.write(&mut text);
        inner.groups.write(&mut text);
        inner.queues.write(&mut text);
        collected.write(&mut text);
        text.finish()
    }

    /// Which service they are of.
    #[must_use]
    pub fn service(&self) -> Service {
        self.inner.service
    }
}

fn recorder() -> Result<PrometheusHandle, MetricsError> {
    // Held to the end: of two that start at once one makes it.
    let mut made = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(recorder) = &*made {
        return Ok(recorder.clone());
    }
    let mut builder = PrometheusBuilder::new().set_buckets(SECONDS_BUCKETS)?;
    for name in ITEM_HISTOGRAMS {
        builder =
            builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), ITEM_BUCKETS)?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| MetricsError::AlreadySet)?;
    for described in RECORDED {
        described.describe();
    }
    *made = Some(handle.clone());
    Ok(handle)
}

/// Ends when the metrics are no longer used.
async fn upkeep(metrics: Weak<Inner>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        let Some(metrics) = metrics.upgrade() else { return };
        metrics.recorder.run_upkeep();
        let now = Instant::now();
        metrics.topics.look(now);
        metrics.groups.look(now);
        metrics.queues.look(now);
    }
}
