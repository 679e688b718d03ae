//! Deliveries whose answer was lost between Redis and the service: nobody has them, and they come
//! again at once and not as failures, long before their leases run out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use std::time::{Duration, Instant};

use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use redis_link::test_util::proxy::Proxy;
use support::consumer::*;
use support::*;
use tonic::Code;

const AT_ONCE: Duration = Duration::from_secs(5);

struct Net {
    proxy: Proxy,
    /// Reaches Redis through the proxy.
    far: Service,
    /// Reaches it directly.
    near: Service,
    _redis: PrivateRedis,
}

/// At once, so that one call delivers them all.
async fn append_five(service: &Service) {
    let events = (0..5).map(|n| event("", &format!("s{n}")));
    service.append("t", events.collect()).await.unwrap();
}

async fn net() -> Net {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let far = Service::start_at(&format!("redis://127.0.0.1:{}", proxy.port()), &[]).await;
    let near = Service::start(&redis).await;
    let settings = GroupSettings { ordering: Ordering::Subject.into(), ..Default::default() };
    near.create_group("t", "g", settings).await;
    // Redis knows the script from here on: loading it takes an answer.
    assert!(far.fetch("t", "g", 1, 0).await.is_empty());
    Net { proxy, far, near, _redis: redis }
}

fn fetch() -> FetchRequest {
    FetchRequest {
        topic: "t".into(),
        group: "g".into(),
        consumer: "c".into(),
        max_events: Some(10),
        wait: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_gets_again_what_a_cut_connection_swallowed() {
    let Net { proxy, far, near, _redis } = net().await;
    let mut consumer = ConsumerStream::open(&far, "c", 10).await.unwrap();
    for _ in 0..3 {
        proxy.swallow("data of");
        append_five(&near).await;
        watch(&near, |group| group.pending == 5).await;
        proxy.cut();
        proxy.heal();
        let healed = Instant::now();
        for _ in 0..5 {
            let delivery = consumer.delivery().await;
            assert_eq!(delivery.delivery_count, 1, "nobody saw it before");
            consumer.ack(&delivery).await;
        }
        assert!(healed.elapsed() < AT_ONCE, "only after {:?}", healed.elapsed());
        watch(&near, |group| group.pending == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_gets_what_a_stream_that_ended_was_owed() {
    let Net { proxy, far, near, _redis } = net().await;
    let mut consumer = ConsumerStream::open(&far, "c", 10).await.unwrap();
    proxy.swallow("data of");
    append_five(&near).await;
    watch(&near, |group| group.pending == 5).await;
    proxy.cut();
    let end = async {
        loop {
            if let Err(status) = consumer.hear.message().await {
                return status;
            }
        }
    };
    let end = tokio::time::timeout(Duration::from_secs(15), end).await.expect("it ends");
    assert_error(&end, Code::Unavailable, "STORAGE_UNAVAILABLE");
    proxy.heal();
    let healed = Instant::now();
    let mut other = ConsumerStream::open(&near, "other", 10).await.unwrap();
    for _ in 0..5 {
        assert_eq!(other.delivery().await.delivery_count, 1, "nobody saw it before");
    }
    assert!(healed.elapsed() < AT_ONCE, "only after {:?}", healed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_gets_what_a_client_that_left_was_owed() {
    let Net { proxy, far, near, _redis } = net().await;
    let consumer = ConsumerStream::open(&far, "c", 10).await.unwrap();
    proxy.swallow("data of");
    append_five(&near).await;
    watch(&near, |group| group.pending == 5).await;
    drop(consumer);
    let mut other = ConsumerStream::open(&near, "other", 10).await.unwrap();
    proxy.cut();
    proxy.heal();
    let healed = Instant::now();
    for _ in 0..5 {
        assert_eq!(other.delivery().await.delivery_count, 1, "nobody saw it before");
    }
    assert!(healed.elapsed() < AT_ONCE, "only after {:?}", healed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_failed_or_was_given_up_leaves_nothing_leased() {
    let Net { proxy, far, near, _redis } = net().await;
    for given_up in [false, true] {
        append_five(&near).await;
        proxy.swallow("data of");
        let fetching = loop {
            let mut groups = far.groups();
            let mut fetching = tokio::spawn(async move { groups.fetch(fetch()).await });
            tokio::select! {
                _ = watch(&near, |group| group.pending == 5) => break fetching,
                // One of its connections was cut before, and that was not noticed until now.
                refused = &mut fetching => assert!(refused.unwrap().is_err()),
            }
        };
        if given_up {
            // Its connection stays as it is.
            fetching.abort();
            proxy.heal();
        } else {
            proxy.cut();
            proxy.heal();
            let status = fetching.await.unwrap().unwrap_err();
            assert_error(&status, Code::Unknown, "OUTCOME_UNKNOWN");
        }
        let healed = Instant::now();
        let mut groups = near.groups();
        let mut found = Vec::new();
        while found.len() < 5 {
            let request = FetchRequest { wait: Some(millis(5_000)), ..fetch() };
            found.extend(groups.fetch(request).await.unwrap().into_inner().deliveries);
            assert!(healed.elapsed() < AT_ONCE, "only {} came", found.len());
        }
        for delivery in &found {
            assert_eq!(delivery.delivery_count, 1, "nobody saw it before");
            near.nack("t", "g", delivery, NackAction::Skip, None).await;
        }
    }
}
