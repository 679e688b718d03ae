//! Consume, shared and ordered, over gRPC on a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use proto::eventstore::v1::consume_response::Message;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::consumer::*;
use support::*;
use tokio::sync::mpsc;

#[tokio::test]
async fn a_stream_keeps_to_its_credit_and_gives_back_what_it_held() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 10, |_| "s".into()).await;
    service.create_group("t", "g", GroupSettings::default()).await;
    let mut consumer = ConsumerStream::open(&service, "one", 3).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(consumer.delivery().await);
    }
    let quiet = tokio::time::timeout(Duration::from_millis(300), consumer.delivery());
    assert!(quiet.await.is_err(), "no more than its credit");
    consumer.ack(&held[0]).await;
    let outcome = consumer.next().await;
    assert_eq!(
        outcome,
        Message::Outcome(Outcome { receipt: held[0].receipt.clone(), error: None })
    );
    assert_eq!(sequence(&consumer.delivery().await), 4);
    drop(consumer);
    let group = watch(&service, |group| group.pending == 3).await;
    assert_eq!(group.lag, 6);
    let mut other = ConsumerStream::open(&service, "two", 100).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..9 {
        let delivery = other.delivery().await;
        assert_eq!(delivery.delivery_count, 1, "unused leases are no failures");
        found.push(sequence(&delivery));
        other.ack(&delivery).await;
    }
    found.sort_unstable();
    assert_eq!(found, (2..=10).collect::<Vec<_>>());
    watch(&service, |group| group.pending == 0 && group.lag == 0).await;
}

#[tokio::test]
async fn consumers_share_a_topic() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let replica = Service::start(&redis).await;
    service.create_group("t", "g", GroupSettings::default()).await;
    let (seen, mut events) = mpsc::unbounded_channel();
    let mut consumers = Vec::new();
    for (index, service) in [&service, &replica, &service, &replica].into_iter().enumerate() {
        let mut consumer = ConsumerStream::open(service, &format!("c{index}"), 50).await.unwrap();
        let seen = seen.clone();
        consumers.push(tokio::spawn(async move {
            loop {
                let delivery = consumer.delivery().await;
                consumer.ack(&delivery).await;
                if seen.send((index, sequence(&delivery))).is_err() {
                    return;
                }
            }
        }));
    }
    let batches = (0..20).map(|_| (0..100).map(|_| event("", "")).collect::<Vec<_>>());
    for batch in batches {
        service.append("t", batch).await.unwrap();
    }
    let (mut found, mut by) = (HashSet::new(), HashSet::new());
    while found.len() < 2_000 {
        let next = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
        let (consumer, sequence) = next.expect("all events in time").unwrap();
        assert!(found.insert(sequence), "{sequence} came twice");
        by.insert(consumer);
    }
    assert!(by.len() > 1, "only {by:?} got something");
    watch(&service, |group| group.pending == 0).await;
    consumers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_ordered_group_delivers_a_subject_s_events_one_by_one() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 30, |index| format!("s{}", index % 3)).await;
    let settings = GroupSettings {
        ordering: Ordering::Subject.into(),
        max_deliveries: Some(2),
        retry_backoff: Some(Backoff { initial: Some(millis(0)), ..Default::default() }),
        ..Default::default()
    };
    service.create_group("t", "g", settings).await;
    let mut last = [0; 3];
    let mut done = 0;
    let mut parked = false;
    while done < 30 {
        let deliveries = service.fetch("t", "g", 10, 5_000).await;
        let subjects: HashSet<_> = deliveries.iter().map(|d| (sequence(d) - 1) % 3).collect();
        assert_eq!(subjects.len(), deliveries.len(), "one of a subject at a time");
        for delivery in &deliveries {
            let (sequence, subject) =
                (sequence(delivery), usize::try_from((sequence(delivery) - 1) % 3).unwrap());
            if sequence == 4 && !parked {
                // Fails twice, is parked, and does not hold up what follows.
                service.nack("t", "g", delivery, NackAction::Retry, None).await;
                parked = delivery.delivery_count == 2;
                done += usize::from(parked);
                continue;
            }
            assert!(sequence > last[subject], "{sequence} after {}", last[subject]);
            last[subject] = sequence;
            service.ack("t", "g", &[delivery]).await;
            done += 1;
        }
    }
    let group = service.group("t", "g").await;
    assert_eq!((group.pending, group.parked, group.lag), (0, 1, 0));
}

#[tokio::test]
async fn a_unary_ack_gives_a_stream_its_credit_back() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    service.create_group("t", "g", GroupSettings::default()).await;
    append(&service, 40, |_| "s".into()).await;
    let mut consumer = ConsumerStream::open(&service, "one", 4).await.unwrap();
    for expected in 1..=40 {
        let delivery = consumer.delivery().await;
        assert_eq!(sequence(&delivery), expected);
        assert!(service.ack("t", "g", &[&delivery]).await[0].error.is_none());
    }
}
