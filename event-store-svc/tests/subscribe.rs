//! Subscribe, over gRPC on a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use std::time::Duration;

use proto::eventstore::v1::start::At;
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use redis_link::test_util::proxy::Proxy;
use support::*;
use tonic::Code;

#[tokio::test]
async fn a_subscription_catches_up_and_goes_on() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let mut early = service.subscribe("t", None).await;
    let caught_up = early.message().await.unwrap().unwrap().message.unwrap();
    assert_eq!(caught_up, Message::CaughtUp(CaughtUp { topic: "t".into() }));
    for id in 0..1_200 {
        service.append("t", vec![event(&id.to_string(), "a")]).await.unwrap();
        if id == 600 {
            let mut late = service.subscribe("t", None).await;
            assert_eq!(take(&mut late, 601).await, (1..=601).collect::<Vec<_>>());
        }
    }
    assert_eq!(take(&mut early, 1_200).await, (1..=1_200).collect::<Vec<_>>());
    let mut tail = service.subscribe("t", start(At::End(()))).await;
    assert!(matches!(
        tail.message().await.unwrap().unwrap().message.unwrap(),
        Message::CaughtUp(_)
    ));
    service.append("t", vec![event("last", "a")]).await.unwrap();
    assert_eq!(take(&mut tail, 1).await, [1_201]);
    assert_eq!(take(&mut early, 1).await, [1_201]);
}

/// The sequences of the next so many events.
async fn take(stream: &mut tonic::Streaming<SubscribeResponse>, count: usize) -> Vec<u64> {
    let mut found = Vec::new();
    while found.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.message());
        let message = next.await.expect("an event in time").unwrap().unwrap().message.unwrap();
        if let Message::Event(event) = message {
            found.push(event.sequence);
        }
    }
    found
}

#[tokio::test]
async fn a_subscription_to_several_topics_filters_and_beats() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    service.append("a", vec![event("1", "x"), event("2", "y")]).await.unwrap();
    service.append("b", vec![event("3", "x")]).await.unwrap();
    let request = SubscribeRequest {
        topics: ["a", "b", "later"].map(|t| TopicStart { topic: t.into(), start: None }).into(),
        filter: Some(EventFilter { subjects: vec!["x".into()], ..Default::default() }),
        heartbeat_interval: Some(millis(1_000)),
    };
    let mut stream = service.store().subscribe(request).await.unwrap().into_inner();
    let (mut events, mut caught_up) = (Vec::new(), Vec::new());
    let beat = loop {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::Event(event) => events.push((event.topic.clone(), data(&event).to_owned())),
            Message::CaughtUp(topic) => caught_up.push(topic.topic),
            Message::Heartbeat(beat) => break beat,
            Message::FellBehind(_) => panic!("nothing fell behind"),
        }
    };
    events.sort();
    caught_up.sort();
    assert_eq!(events, [("a".into(), "data of 1".into()), ("b".into(), "data of 3".into())]);
    assert_eq!(caught_up, ["a", "b", "later"]);
    let progress: Vec<_> = beat
        .topics
        .iter()
        .map(|t| (&*t.topic, t.position.is_some(), t.position == t.head_position))
        .collect();
    assert_eq!(progress, [("a", true, true), ("b", true, true), ("later", false, true)]);
    service.append("later", vec![event("4", "x")]).await.unwrap();
    assert_eq!(take(&mut stream, 1).await, [1]);
}

#[tokio::test]
async fn a_slow_subscriber_falls_behind_and_loses_nothing() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let mut slow = service.subscribe("t", start(At::Beginning(()))).await;
    assert!(matches!(
        slow.message().await.unwrap().unwrap().message.unwrap(),
        Message::CaughtUp(_)
    ));
    let big = "x".repeat(64 << 10);
    let mut fell_behind = false;
    for batch in 0..200u64 {
        let events = (0..10)
            .map(|_| Event { data: Some(event::Data::TextData(big.clone())), ..event("", "a") });
        service.append("t", events.collect()).await.unwrap();
        let _ = batch;
    }
    let mut expected = 1;
    while expected <= 2_000 {
        match slow.message().await.unwrap().unwrap().message.unwrap() {
            Message::Event(event) => {
                assert_eq!(event.sequence, expected);
                expected += 1;
            }
            Message::FellBehind(_) => fell_behind = true,
            _ => {}
        }
    }
    assert!(fell_behind, "200 pages of 640 KiB do not fit into the ring");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_told_when_retention_was_faster() {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let far = Service::start_at(&format!("redis://127.0.0.1:{}", proxy.port()), &[]).await;
    let near = Service::start(&redis).await;
    near.append("t", vec![event("", "a")]).await.unwrap();
    let mut stream = far.subscribe("t", None).await;
    assert_eq!(take(&mut stream, 1).await, [1]);
    // What comes and goes while its replica hears nothing of Redis.
    proxy.stall();
    near.append("t", (0..9).map(|_| event("", "a")).collect()).await.unwrap();
    let all = near.read_all("t").await;
    let before = Some(truncate_topic_request::Before::BeforePosition(all[7].position.clone()));
    let request = TruncateTopicRequest { topic: "t".into(), before };
    assert_eq!(near.topics().truncate_topic(request).await.unwrap().into_inner().removed, 7);
    proxy.heal();
    let facts = assert_error(&end(stream).await, Code::OutOfRange, "POSITION_TRIMMED");
    assert_eq!(facts.metadata["first_position"], all[7].position);
    // It goes on with what is left.
    let mut stream = far.subscribe("t", None).await;
    assert_eq!(take(&mut stream, 3).await, [8, 9, 10]);
}

/// The status that ends a subscription that must get no more events.
async fn end(mut stream: tonic::Streaming<SubscribeResponse>) -> tonic::Status {
    let end = async {
        loop {
            match stream.message().await {
                Ok(Some(message)) => assert!(
                    !matches!(message.message, Some(Message::Event(_))),
                    "it goes on: {message:?}"
                ),
                Ok(None) => panic!("a subscription ends with a status"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), end).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_told_that_its_topic_is_another_one() {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let far = Service::start_at(&format!("redis://127.0.0.1:{}", proxy.port()), &[]).await;
    let near = Service::start(&redis).await;
    near.append("t", (0..5).map(|_| event("", "a")).collect()).await.unwrap();
    let mut stream = far.subscribe("t", None).await;
    assert_eq!(take(&mut stream, 5).await, [1, 2, 3, 4, 5]);
    proxy.stall();
    let request = DeleteTopicRequest { topic: "t".into() };
    near.topics().delete_topic(request).await.unwrap();
    near.append("t", (0..3).map(|_| event("", "a")).collect()).await.unwrap();
    proxy.heal();
    assert_error(&end(stream).await, Code::OutOfRange, "POSITION_BEYOND_HEAD");
}
