//! Gauges asked for at scrape time: one scrape at a time, for a bounded time, and a scrape goes on
//! without those that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all, pending};
use svc_observe::metrics::catalog::collected::{GROUP_LAG_EVENTS, TOPIC_EVENTS};
use svc_observe::metrics::collect::{Collect, CollectError, LIMIT, Samples};
use svc_runtime::health::Readiness;

use super::scraped::{Scraped, start};

#[derive(Clone, Debug, Default)]
struct Lengths {
    asking: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
}

impl Collect for Lengths {
    fn name(&self) -> &'static str {
        "lengths"
    }

    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async move {
            assert_eq!(self.asking.fetch_add(1, Ordering::SeqCst), 0, "two scrapes at once");
            tokio::task::yield_now().await;
            samples.set(&TOPIC_EVENTS, ["order"], 7.0);
            self.asking.fetch_sub(1, Ordering::SeqCst);
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.fails.load(Ordering::SeqCst) { Err("no Redis".into()) } else { Ok(()) }
        }
        .boxed()
    }
}

/// One that never answers, and one that panics.
#[derive(Debug)]
struct Stuck;

impl Collect for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        samples.set(&GROUP_LAG_EVENTS, ["order", "billing"], 1.0);
        pending().boxed()
    }
}

#[derive(Debug)]
struct Panics;

impl Collect for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn collect<'a>(&'a self, _: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async { panic!("a collector that is wrong") }.boxed()
    }
}

fn success(scraped: &Scraped, collector: &str) -> Option<f64> {
    scraped.value("collector_success", &[("collector", collector)])
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_take_turns_and_each_asks_anew() {
    let (metrics, _admin, address) = start(10, Readiness::new(&[]).0).await;
    let lengths = Lengths::default();
    metrics.add_collector(lengths.clone());
    for scraped in join_all((0..8).map(|_| Scraped::get(address))).await {
        assert_eq!(scraped.value("eventstore_topic_events", &[("topic", "order")]), Some(7.0));
        assert_eq!(success(&scraped, "lengths"), Some(1.0));
    }
    assert_eq!(lengths.asked.load(Ordering::SeqCst), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_collector_says_so_and_leaves_its_gauges_out() {
    let (metrics, _admin, address) = start(10, Readiness::new(&[]).0).await;
    let lengths = Lengths::default();
    metrics.add_collector(lengths.clone());
    metrics.add_collector(Panics);
    metrics.topics().of(["order"]).appended.add(1);
    let last = "collector_last_success_timestamp_seconds";
    let mut lasts = Vec::new();
    for fails in [false, true, false] {
        lengths.fails.store(fails, Ordering::SeqCst);
        let scraped = Scraped::get(address).await;
        assert_eq!(success(&scraped, "lengths"), Some(if fails { 0.0 } else { 1.0 }));
        assert_eq!(success(&scraped, "panics"), Some(0.0));
        assert_eq!(scraped.samples("eventstore_topic_events").len(), usize::from(!fails));
        assert_eq!(scraped.sum("eventstore_appended_events_total", &[]), 1.0);
        lasts.push(scraped.value(last, &[("collector", "lengths")]).unwrap());
        assert_eq!(scraped.value(last, &[("collector", "panics")]), None);
    }
    assert!(lasts[0] == lasts[1] && lasts[1] < lasts[2], "{lasts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_stuck_is_not_waited_for() {
    let (metrics, _admin, address) = start(10, Readiness::new(&[]).0).await;
    metrics.add_collector(Stuck);
    metrics.add_collector(Lengths::default());
    let begun = Instant::now();
    let scraped = Scraped::get(address).await;
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
    assert_eq!(success(&scraped, "stuck"), Some(0.0));
    assert_eq!(success(&scraped, "lengths"), Some(1.0));
    assert!(scraped.samples("eventstore_group_lag_events").is_empty());
    let took = scraped.value("collector_duration_seconds", &[("collector", "stuck")]).unwrap();
    assert!((LIMIT.as_secs_f64()..10.0).contains(&took), "{took}");
}
