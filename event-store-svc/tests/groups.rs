//! Fetch, Ack, Nack, Extend and parked events, over gRPC on a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::consumer::*;
use support::*;
use svc_runtime::rpc_error::ErrorFacts;

#[tokio::test]
async fn fetched_events_are_done_when_acked() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 3, |_| "s".into()).await;
    let group = service.create_group("t", "g", GroupSettings::default()).await;
    assert_eq!((group.lag, group.pending), (3, 0));
    assert_eq!(group.settings.as_ref().unwrap().max_deliveries, Some(5));
    let deliveries = service.fetch("t", "g", 2, 0).await;
    assert_eq!(deliveries.iter().map(sequence).collect::<Vec<_>>(), [1, 2]);
    assert!(deliveries.iter().all(|delivery| delivery.delivery_count == 1));
    let group = service.group("t", "g").await;
    assert_eq!((group.lag, group.pending), (1, 2));
    assert_eq!((group.consumers[0].name.as_str(), group.consumers[0].in_flight), ("worker", 2));
    assert!(group.oldest_pending_age.is_some());

    for _ in 0..2 {
        let outcomes = service.ack("t", "g", &[&deliveries[0], &deliveries[1]]).await;
        assert!(
            outcomes.iter().all(|outcome| outcome.error.is_none()),
            "acking again is a success"
        );
    }
    let group = service.group("t", "g").await;
    assert_eq!((group.lag, group.pending), (1, 0));
    assert!(group.acked_per_second > 0.0);
    assert_eq!(service.fetch("t", "g", 5, 0).await.len(), 1);
    assert!(service.fetch("t", "g", 5, 0).await.is_empty());
}

#[tokio::test]
async fn a_fetch_waits_for_the_first_event() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    service.create_group("t", "g", GroupSettings::default()).await;
    let (found, ()) =
        tokio::join!(service.fetch("t", "g", 5, 10_000), append(&service, 1, |_| "s".into()));
    assert_eq!(found.len(), 1);
    assert!(service.fetch("t", "g", 5, 100).await.is_empty());
    append(&service, 1, |_| "s".into()).await;
    assert_eq!(
        service.fetch("t", "g", 5, 5_000).await.len(),
        1,
        "a fetch that gave up left nothing leased"
    );
}

#[tokio::test]
async fn an_event_that_is_not_acked_in_time_is_delivered_again() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 1, |_| "s".into()).await;
    let settings = GroupSettings {
        ack_timeout: Some(millis(1_000)),
        retry_backoff: Some(Backoff { initial: Some(millis(0)), ..Default::default() }),
        ..Default::default()
    };
    service.create_group("t", "g", settings).await;
    let first = service.fetch("t", "g", 1, 0).await.remove(0);
    let second = service.fetch("t", "g", 1, 10_000).await.remove(0);
    assert_eq!(second.delivery_count, 2);
    let outcome = service.ack("t", "g", &[&first]).await.remove(0);
    let facts = ErrorFacts::of_item(&outcome.error.unwrap()).unwrap();
    assert_eq!(facts.reason, "LEASE_LOST");
    assert!(service.ack("t", "g", &[&second]).await[0].error.is_none());
    let outcome = service.ack("t", "g", &[&first]).await.remove(0);
    assert!(outcome.error.is_some(), "the first lease did not finish it");
    assert!(service.ack("t", "g", &[&second]).await[0].error.is_none());
    assert_eq!(service.group("t", "g").await.pending, 0);
}

#[tokio::test]
async fn an_extended_lease_lasts() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 1, |_| "s".into()).await;
    let settings = GroupSettings { ack_timeout: Some(millis(1_000)), ..Default::default() };
    service.create_group("t", "g", settings).await;
    let delivery = service.fetch("t", "g", 1, 0).await.remove(0);
    let request = ExtendRequest {
        topic: "t".into(),
        group: "g".into(),
        receipts: vec![delivery.receipt.clone()],
        by: Some(millis(60_000)),
    };
    let outcome = service.groups().extend(request).await.unwrap().into_inner().outcomes.remove(0);
    assert!(outcome.error.is_none());
    assert!(service.fetch("t", "g", 1, 2_000).await.is_empty());
    assert!(service.ack("t", "g", &[&delivery]).await[0].error.is_none());
}

#[tokio::test]
async fn nacked_events_are_retried_parked_skipped_and_replayed() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 3, |index| format!("s{index}")).await;
    let settings = GroupSettings {
        max_deliveries: Some(2),
        retry_backoff: Some(Backoff { initial: Some(millis(0)), ..Default::default() }),
        ..Default::default()
    };
    service.create_group("t", "g", settings).await;
    let first = service.fetch("t", "g", 3, 0).await;
    service.nack("t", "g", &first[0], NackAction::Retry, Some(0)).await;
    service.nack("t", "g", &first[1], NackAction::Park, None).await;
    service.nack("t", "g", &first[2], NackAction::Skip, None).await;
    let again = service.fetch("t", "g", 3, 5_000).await;
    assert_eq!((again.len(), sequence(&again[0]), again[0].delivery_count), (1, 1, 2));
    // The second failure is one too many.
    service.nack("t", "g", &again[0], NackAction::Retry, None).await;
    let group = service.group("t", "g").await;
    assert_eq!((group.pending, group.parked), (0, 2));

    let list = ListParkedRequest {
        topic: "t".into(),
        group: "g".into(),
        page_size: 1,
        ..Default::default()
    };
    let page = service.groups().list_parked(list.clone()).await.unwrap().into_inner();
    let rest = ListParkedRequest { page_token: page.next_page_token.clone(), ..list };
    let rest = service.groups().list_parked(rest).await.unwrap().into_inner();
    assert!(rest.next_page_token.is_empty());
    let parked = [&page.events[0], &rest.events[0]];
    assert_eq!(parked.map(|parked| parked.event.as_ref().unwrap().sequence), [2, 1]);
    assert_eq!(
        parked.map(|parked| (parked.delivery_count, parked.reason.as_str())),
        [(1, "because"), (2, "because")]
    );

    let replay = ReplayParkedRequest {
        topic: "t".into(),
        group: "g".into(),
        receipts: vec![parked[1].receipt.clone()],
        limit: None,
    };
    assert_eq!(service.groups().replay_parked(replay).await.unwrap().into_inner().replayed, 1);
    let replayed = service.fetch("t", "g", 3, 5_000).await;
    assert_eq!((replayed.len(), sequence(&replayed[0]), replayed[0].delivery_count), (1, 1, 1));
    assert!(service.ack("t", "g", &[&again[0]]).await[0].error.is_some());
    assert!(service.ack("t", "g", &[&replayed[0]]).await[0].error.is_none());
    let discard = DiscardParkedRequest {
        topic: "t".into(),
        group: "g".into(),
        limit: Some(10),
        receipts: vec![],
    };
    assert_eq!(service.groups().discard_parked(discard).await.unwrap().into_inner().discarded, 1);
    let group = service.group("t", "g").await;
    assert_eq!((group.pending, group.parked, group.lag), (0, 0, 0));
}

#[tokio::test]
async fn pages_of_parked_events_miss_none_while_they_are_worked_off() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    service.append("t", (0..12).map(|_| event("", "")).collect()).await.unwrap();
    service.create_group("t", "g", GroupSettings::default()).await;
    let deliveries = service.fetch("t", "g", 12, 0).await;
    // Some together, at one time, and some one by one.
    let request = NackRequest {
        topic: "t".into(),
        group: "g".into(),
        receipts: deliveries[..9].iter().map(|delivery| delivery.receipt.clone()).collect(),
        action: NackAction::Park.into(),
        ..Default::default()
    };
    service.groups().nack(request).await.unwrap();
    for delivery in &deliveries[9..] {
        service.nack("t", "g", delivery, NackAction::Park, None).await;
    }
    let list = ListParkedRequest {
        topic: "t".into(),
        group: "g".into(),
        page_size: 2,
        ..Default::default()
    };
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListParkedRequest { page_token, ..list.clone() };
        let page = service.groups().list_parked(request).await.unwrap().into_inner();
        let receipts: Vec<_> = page.events.iter().map(|event| event.receipt.clone()).collect();
        seen.extend(page.events.iter().map(|parked| parked.event.as_ref().unwrap().sequence));
        let request =
            DiscardParkedRequest { topic: "t".into(), group: "g".into(), receipts, limit: None };
        service.groups().discard_parked(request).await.unwrap();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    // Those of one moment come in the order of their texts.
    assert_eq!((seen.len(), seen.iter().collect::<std::collections::HashSet<_>>().len()), (12, 12));
    assert_eq!(service.group("t", "g").await.parked, 0);
}

/// Each of its leases was given back, so none of their receipts is good for an ack.
#[tokio::test]
async fn an_event_that_was_truncated_before_its_retry_was_acked_by_nobody() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 2, |_| "s".into()).await;
    service.create_group("t", "g", GroupSettings::default()).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let delivery = service.fetch("t", "g", 1, 0).await.remove(0);
        service.nack("t", "g", &delivery, NackAction::Retry, Some(0)).await;
        held.push(delivery);
    }
    let last = service.read_all("t").await.remove(1);
    let before = truncate_topic_request::Before::BeforePosition(last.position);
    let request = TruncateTopicRequest { topic: "t".into(), before: Some(before) };
    service.topics().truncate_topic(request).await.unwrap();
    assert_eq!(sequence(&service.fetch("t", "g", 1, 0).await[0]), 2);
    for delivery in &held {
        let outcome = service.ack("t", "g", &[delivery]).await.remove(0);
        let facts = ErrorFacts::of_item(&outcome.error.unwrap()).unwrap();
        assert_eq!(facts.reason, "LEASE_LOST");
    }
}
