//! What is told of Redis and of lanes: it adds up with what was called, and says when Redis is away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    clippy::float_cmp,
    reason = "a test fails loudly"
)]

mod support;

use std::time::Duration;

use clap::Parser as _;
use event_store_svc::config::Config;
use redis_link::test_util::PrivateRedis;
use support::*;
use svc_front::Program as _;
use svc_observe::metrics::Metrics;
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const CALLS: f64 = 20.0;

async fn started(redis: &PrivateRedis) -> (Service, Metrics) {
    let url = redis.url();
    let config = Config::parse_from(["x", "--redis-url", &url, "--admin-listen", "off"]);
    let front = svc_front::start(&config).await.unwrap();
    let metrics = front.metrics().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let ended = tokio::spawn(async move { config.serve(front, listener, until).await });
    let channel = svc_runtime::client::channel(&url, 1).unwrap();
    let service = Service { url, channel, shutdown, ended };
    service.ready().await;
    (service, metrics)
}

/// The value of a sample, labels and all; none when it is not there.
async fn value(metrics: &Metrics, sample: &str) -> Option<f64> {
    let text = metrics.scrape().await;
    let mut values = text.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    values.next().map(|value| value.parse().unwrap())
}

async fn until(metrics: &Metrics, sample: &str, right: impl Fn(f64) -> bool) {
    let seen = async {
        while !value(metrics, sample).await.is_some_and(&right) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = timeout(LIMIT, seen).await;
    assert!(seen.is_ok(), "{sample} is {:?}", value(metrics, sample).await);
}

#[tokio::test]
async fn what_is_told_of_redis_and_lanes_is_so() {
    let mut redis = PrivateRedis::start_durable();
    let (service, metrics) = started(&redis).await;
    let append = async |n: u32| service.append("order", vec![event(&n.to_string(), "s")]).await;
    // The first one makes the topic, which takes another call.
    append(0).await.unwrap();
    let counted = [
        "redis_round_trip_seconds_count{command=\"append\"}",
        "lane_batch_items_count{lane=\"append\"}",
        "lane_batch_items_sum{lane=\"append\"}",
        "lane_wait_seconds_count{lane=\"append\"}",
    ];
    let mut before = Vec::new();
    for sample in counted {
        before.push(value(&metrics, sample).await.unwrap());
    }
    for n in 1..=20 {
        append(n).await.unwrap();
    }
    for (sample, before) in counted.iter().zip(before) {
        assert_eq!(value(&metrics, sample).await, Some(before + CALLS), "{sample}");
    }
    for (sample, expected) in [
        ("redis_up", 1.0),
        ("redis_memory_max_bytes", 0.0),
        ("redis_reconnects_total", 0.0),
        ("collector_success{collector=\"redis\"}", 1.0),
    ] {
        assert_eq!(value(&metrics, sample).await, Some(expected), "{sample}");
    }
    let took = value(&metrics, "redis_round_trip_seconds_sum{command=\"append\"}").await.unwrap();
    assert!(took > 0.0 && took < 20.0, "{took}");
    assert!(value(&metrics, "redis_memory_used_bytes").await.unwrap() > 500_000.0);
    for state in ["in_use", "idle"] {
        let sample = format!("redis_pool_connections{{state=\"{state}\"}}");
        assert!(value(&metrics, &sample).await.is_some(), "{state}");
    }

    redis.kill9();
    append(21).await.unwrap_err();
    until(&metrics, "redis_up", |up| up == 0.0).await;
    until(&metrics, "redis_errors_total{kind=\"unavailable\"}", |count| count > 0.0).await;
    assert_eq!(value(&metrics, "collector_success{collector=\"redis\"}").await, Some(1.0));
    assert_eq!(value(&metrics, "redis_memory_used_bytes").await, None, "no old value");

    redis.restart();
    until(&metrics, "redis_up", |up| up == 1.0).await;
    // Two shared ones, and the one of pub/sub.
    until(&metrics, "redis_reconnects_total", |count| count >= 2.0).await;
    service.ready().await;
    append(22).await.unwrap();
    until(&metrics, "redis_round_trip_seconds_count{command=\"append\"}", |n| n > CALLS + 2.0)
        .await;
}
