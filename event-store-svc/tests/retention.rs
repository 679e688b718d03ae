//! What is kept and what goes: limits by count, age and bytes, truncation, and what readers and
//! groups see of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use std::time::Duration;

use prost::Message as _;
use proto::eventstore::v1::start::At;
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::truncate_topic_request::Before;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::consumer::sequence;
use support::*;
use tonic::Code;

async fn topic(service: &Service, topic: &str) -> Topic {
    let request = GetTopicRequest { topic: topic.into() };
    service.topics().get_topic(request).await.unwrap().into_inner().topic.unwrap()
}

/// Waits until a topic is in a state that is watched for.
async fn watch(service: &Service, name: &str, wanted: impl Fn(&Topic) -> bool) -> Topic {
    let watched = async {
        loop {
            let found = topic(service, name).await;
            if wanted(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), watched).await.expect("the topic gets there")
}

async fn retain(service: &Service, topic: &str, retention: Retention) {
    let settings = Some(TopicSettings { retention: Some(retention), dedup_window: None });
    let request = UpdateTopicRequest { topic: topic.into(), settings };
    service.topics().update_topic(request).await.unwrap();
}

async fn truncate(service: &Service, topic: &str, before: Before) -> u64 {
    let request = TruncateTopicRequest { topic: topic.into(), before: Some(before) };
    service.topics().truncate_topic(request).await.unwrap().into_inner().removed
}

/// Thirty events, over three subjects in turn.
async fn thirty(service: &Service, topic: &str) {
    let events = (0..30).map(|n| event(&format!("{topic}-{n}"), &format!("s{}", n % 3)));
    service.append(topic, events.collect()).await.unwrap();
}

/// Bytes, revisions and the index of subjects fit what is kept.
async fn is_consistent(service: &Service, name: &str) {
    let (found, kept) = (topic(service, name).await, service.read_all(name).await);
    let bytes: usize = kept.iter().map(|e| e.event.as_ref().unwrap().encoded_len()).sum();
    assert_eq!((found.events, found.bytes), (kept.len() as u64, bytes as u64), "{name}");
    assert_eq!(found.first_position.as_ref(), kept.first().map(|event| &event.position));
    for subject in ["s0", "s1", "s2"] {
        let of = |event: &&RecordedEvent| {
            event.event.as_ref().unwrap().subject.as_deref() == Some(subject)
        };
        let expected: Vec<_> = kept.iter().filter(of).cloned().collect();
        let read = |start| {
            let subject = Some(subject.into());
            service.read(ReadRequest { topic: name.into(), subject, start, ..Default::default() })
        };
        assert_eq!(read(None).await.unwrap(), expected, "{name} {subject}");
        if let Some(first) = expected.first().and_then(|event| event.subject_revision) {
            let from = read(start(At::FromRevision(first))).await.unwrap();
            assert_eq!(from, expected, "{name} {subject} from revision {first}");
            if first > 0 {
                let status = read(start(At::FromRevision(first - 1))).await.unwrap_err();
                assert_error(&status, Code::OutOfRange, "POSITION_TRIMMED");
            }
        }
    }
}

#[tokio::test]
async fn limits_by_count_age_and_bytes_hold() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for name in ["count", "age", "bytes"] {
        thirty(&service, name).await;
    }
    let one = topic(&service, "bytes").await.bytes / 30;
    let limit = |max_events, max_age, max_bytes| Retention {
        max_events,
        max_age,
        max_bytes,
        keep_unacknowledged: None,
    };
    retain(&service, "count", limit(Some(10), None, None)).await;
    retain(&service, "bytes", limit(None, None, Some(one * 12))).await;
    watch(&service, "count", |topic| topic.events == 10).await;
    let kept = watch(&service, "bytes", |topic| topic.bytes <= one * 12).await;
    assert!(kept.events >= 11, "no more than needed goes, but {} are left", kept.events);
    is_consistent(&service, "count").await;
    is_consistent(&service, "bytes").await;

    retain(&service, "age", limit(None, Some(millis(1_000)), None)).await;
    let empty = watch(&service, "age", |topic| topic.events == 0).await;
    assert_eq!((empty.bytes, empty.first_position), (0, None));
    assert_eq!((empty.last_sequence, empty.subjects), (Some(30), 3));
    // Numbers go on where they were.
    let next = service.append("age", vec![event("", "s0")]).await.unwrap();
    assert_eq!((next.first_sequence, next.subject_revisions["s0"]), (31, 10));
    for name in ["count", "bytes"] {
        service.append(name, vec![event("", "s0")]).await.unwrap();
        is_consistent(&service, name).await;
    }
}

#[tokio::test]
async fn what_a_group_still_has_to_do_is_spared() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for (name, keep) in [("keep", true), ("drop", false)] {
        thirty(&service, name).await;
        service.create_group(name, "g", GroupSettings::default()).await;
        let held = service.fetch(name, "g", 5, 0).await;
        service.ack(name, "g", &[&held[0], &held[1]]).await;
        // The third waits for a retry, the fourth and the fifth are held, the others undelivered.
        service.nack(name, "g", &held[2], NackAction::Retry, Some(3_600_000)).await;
        let retention = Retention {
            max_events: Some(1),
            keep_unacknowledged: Some(keep),
            ..Default::default()
        };
        retain(&service, name, retention).await;
        let left = if keep { 28 } else { 1 };
        let found = watch(&service, name, |topic| topic.events <= left).await;
        assert_eq!(found.events, left, "{name}");
        is_consistent(&service, name).await;
        // Acks of what is gone are as good as others.
        let outcomes = service.ack(name, "g", &[&held[3], &held[4]]).await;
        assert!(outcomes.iter().all(|outcome| outcome.error.is_none()));
        let rest = service.fetch(name, "g", 100, 5_000).await;
        let expected: Vec<u64> = if keep { (6..=30).collect() } else { vec![30] };
        assert_eq!(rest.iter().map(sequence).collect::<Vec<_>>(), expected, "{name}");
        service.ack(name, "g", &rest.iter().collect::<Vec<_>>()).await;
        if keep {
            // The one that waits for its retry still holds up the rest.
            let found = watch(&service, name, |topic| topic.events == 28).await;
            assert_eq!(found.events, 28);
            let reset = ResetGroupRequest {
                topic: name.into(),
                group: "g".into(),
                start: start(At::End(())),
            };
            service.groups().reset_group(reset).await.unwrap();
            watch(&service, name, |topic| topic.events == 1).await;
            is_consistent(&service, name).await;
        }
    }
}

#[tokio::test]
async fn a_topic_is_truncated_by_time_and_by_position() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    thirty(&service, "t").await;
    let early = service.read_all("t").await.pop().unwrap().recorded_at.unwrap();
    // The clock of Redis is watched until it has gone on.
    let later = loop {
        service.append("t", vec![event("", "s0")]).await.unwrap();
        let last = service.read_all("t").await.pop().unwrap();
        if last.recorded_at.unwrap() != early {
            break last;
        }
    };
    let time = later.recorded_at.unwrap();
    let removed = truncate(&service, "t", Before::BeforeTime(time)).await;
    assert_eq!(removed, later.sequence - 1);
    is_consistent(&service, "t").await;
    assert_eq!(truncate(&service, "t", Before::BeforeTime(time)).await, 0);

    thirty(&service, "u").await;
    let all = service.read_all("u").await;
    let before = Before::BeforePosition(all[20].position.clone());
    assert_eq!(truncate(&service, "u", before).await, 20);
    is_consistent(&service, "u").await;
    let kept = topic(&service, "u").await;
    assert_eq!(kept.first_position.as_ref(), Some(&all[20].position));
}

#[tokio::test]
async fn a_place_that_is_gone_is_told_with_the_first_one_left() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    thirty(&service, "t").await;
    let all = service.read_all("t").await;
    truncate(&service, "t", Before::BeforePosition(all[10].position.clone())).await;
    let after = |index: usize| start(At::AfterPosition(all[index].position.clone()));
    for gone in [after(0), after(8), start(At::FromSequence(10)), start(At::FromSequence(1))] {
        let mut stream = service.subscribe("t", gone.clone()).await;
        let subscribed = stream.message().await.unwrap_err();
        let request = ReadRequest { topic: "t".into(), start: gone, ..Default::default() };
        let read = service.read(request).await.unwrap_err();
        for status in [subscribed, read] {
            let facts = assert_error(&status, Code::OutOfRange, "POSITION_TRIMMED");
            assert_eq!(facts.metadata["first_position"], all[10].position);
        }
    }
    // Behind the last one that went nothing is missing.
    for kept in [after(9), start(At::FromSequence(11)), start(At::Beginning(()))] {
        let mut stream = service.subscribe("t", kept).await;
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::Event(event) => assert_eq!(event.sequence, 11),
            other => panic!("{other:?}"),
        }
    }
    let beyond = format!("{}-0", u64::MAX);
    let mut stream = service.subscribe("t", start(At::AfterPosition(beyond))).await;
    let status = stream.message().await.unwrap_err();
    let facts = assert_error(&status, Code::OutOfRange, "POSITION_BEYOND_HEAD");
    assert_eq!(facts.metadata["head_position"], all[29].position);
}

#[tokio::test]
async fn replicas_that_trim_at_once_count_once() {
    let redis = PrivateRedis::start();
    let replicas = [Service::start(&redis).await, Service::start(&redis).await];
    for _ in 0..100 {
        let events = (0..30).map(|n| event("", &format!("s{}", n % 3))).collect();
        replicas[0].append("t", events).await.unwrap();
    }
    let all = replicas[0].read_all("t").await;
    let mut removed = 0;
    for cut in (100..=1_500).step_by(100) {
        let before = || Before::BeforePosition(all[cut].position.clone());
        let (a, b) = tokio::join!(
            truncate(&replicas[0], "t", before()),
            truncate(&replicas[1], "t", before())
        );
        removed += a + b;
        assert_eq!(removed, cut as u64);
    }
    is_consistent(&replicas[1], "t").await;
    let limit = Retention { max_events: Some(50), ..Default::default() };
    retain(&replicas[0], "t", limit).await;
    // Both sweep, and one truncates at the same time.
    for cut in (1_600..=2_900).step_by(100) {
        truncate(&replicas[1], "t", Before::BeforePosition(all[cut].position.clone())).await;
    }
    watch(&replicas[0], "t", |topic| topic.events == 50).await;
    is_consistent(&replicas[0], "t").await;
    assert_eq!(sequences(&replicas[1].read_all("t").await), (2_951..=3_000).collect::<Vec<_>>());
}

/// A group that comes, or goes back, between the look at all groups and the removal is spared: the
/// script itself, as the two cannot be made to meet through the service.
#[tokio::test]
async fn nothing_is_removed_once_a_group_has_come_or_gone_back() {
    const TRIM: &str = include_str!("../src/store/redis/scripts/trim.lua");
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    thirty(&service, "t").await;
    let first = service.read_all("t").await[0].position.clone();
    let changes = || redis.cli(&["HGET", "es:{t}:meta", "groups_changed"]).trim().to_owned();
    let trim = |changes: &str| {
        let keys = ["es:{t}:log", "es:{t}:meta", "es:{t}:s:s0"];
        let call = ["EVAL", TRIM, "3", keys[0], keys[1], keys[2]];
        redis.cli(&[&call[..], &[&first, &first, "1", "1", "1", changes, "1"]].concat())
    };
    service.create_group("t", "g", GroupSettings::default()).await;
    assert_eq!((changes(), trim("0")), ("1".into(), "0\n".into()));
    let reset = ResetGroupRequest { topic: "t".into(), group: "g".into(), start: None };
    service.groups().reset_group(reset).await.unwrap();
    assert_eq!((changes(), trim("1")), ("2".into(), "0\n".into()));
    assert_eq!(service.read_all("t").await.len(), 30);
    assert_eq!(trim("2"), "1\n");
    assert_eq!(service.read_all("t").await.len(), 29);
}
