//! More topics and groups than metrics have names for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use proto::eventstore::v1::GroupSettings;
use redis_link::test_util::PrivateRedis;

use crate::scraped::Scraped;
use crate::support::*;
use crate::{TURN, observed, scrape};

const TOPICS: usize = 10_000;
const GROUPS: usize = 300;
/// Names that have a label.
const NAMES: usize = 200;

fn labels(scraped: &Scraped, metric: &str) -> BTreeSet<String> {
    let samples = scraped.samples(metric).into_iter();
    samples.map(|sample| sample.labels.get("topic").unwrap().to_owned()).collect()
}

/// Microseconds that Redis was busy since it was last told to forget.
fn busy(redis: &PrivateRedis) -> f64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let used = |line: &str| {
        line.split(',').find_map(|part| part.strip_prefix("usec=")?.parse::<f64>().ok())
    };
    stats.lines().filter(|line| line.starts_with("cmdstat_")).filter_map(used).sum::<f64>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_topics_make_a_small_and_quick_scrape() {
    let _turn = TURN.lock().await;
    let redis = PrivateRedis::start();
    let (service, admin) = observed(&redis, "200").await;
    let service = &service;
    let append = |number: usize| async move {
        service.append(&format!("t-{number:05}"), vec![event("", "")]).await.unwrap();
    };
    futures::stream::iter(0..TOPICS).map(append).buffer_unordered(64).for_each(async |()| {}).await;
    let group = |number: usize| async move {
        let topic = format!("t-{:05}", number * 3);
        service.create_group(&topic, "g", GroupSettings::default()).await;
        service.fetch(&topic, "g", 1, 0).await;
    };
    futures::stream::iter(0..GROUPS).map(group).buffer_unordered(64).for_each(async |()| {}).await;

    assert_eq!(redis.cli(&["CONFIG", "RESETSTAT"]).trim(), "OK");
    let begun = Instant::now();
    let scraped = scrape(admin).await;
    let took = begun.elapsed();
    let busy = busy(&redis);
    println!(
        "{TOPICS} topics, {GROUPS} groups: scraped {} KB in {took:?}, Redis busy for {:.2} ms",
        scraped.text.len() / 1_000,
        busy / 1_000.0
    );
    let counted = labels(&scraped, "eventstore_appended_events_total");
    assert_eq!(counted.len(), NAMES + 1);
    assert!(counted.contains("other"));
    assert_eq!(scraped.sum("eventstore_appended_events_total", &[]), TOPICS as f64);
    assert_eq!(scraped.sum("eventstore_delivered_events_total", &[]), GROUPS as f64);
    assert_eq!(scraped.samples("eventstore_delivered_events_total").len(), NAMES + 1);
    // The same names have gauges, and what is not told of is not told of as `other`.
    let gauges = labels(&scraped, "eventstore_topic_events");
    assert_eq!(gauges.len(), NAMES);
    assert!(gauges.is_subset(&counted) && !gauges.contains("other"));
    assert_eq!(scraped.sum("eventstore_topic_events", &[]), NAMES as f64);
    assert_eq!(scraped.samples("eventstore_group_pending_events").len(), NAMES);
    assert_eq!(scraped.sum("eventstore_group_pending_events", &[]), NAMES as f64);
    assert!(scraped.text.len() < 300_000, "{} bytes", scraped.text.len());
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(busy < 100_000.0, "{busy} us");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_counted_have_gauges_before_others() {
    let _turn = TURN.lock().await;
    let redis = PrivateRedis::start();
    let elsewhere = Service::start(&redis).await;
    for topic in ["a", "b", "c", "d"] {
        elsewhere.append(topic, vec![event("", "")]).await.unwrap();
        elsewhere.create_group(topic, "g", GroupSettings::default()).await;
    }
    for (names, expected) in [("1", &["d"][..]), ("2", &["c", "d"]), ("3", &["a", "c", "d"])] {
        let (service, admin) = observed(&redis, names).await;
        for topic in ["d", "c"] {
            service.append(topic, vec![event("", "")]).await.unwrap();
            service.fetch(topic, "g", 1, 0).await;
        }
        let scraped = scrape(admin).await;
        for metric in ["eventstore_topic_events", "eventstore_group_lag_events"] {
            assert!(labels(&scraped, metric).iter().eq(expected), "{metric} of {names} names");
        }
        service.shutdown.trigger();
        service.ended.await.unwrap().unwrap();
    }
}
