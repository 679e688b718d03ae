//! Read and its limits, over gRPC on a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use proto::eventstore::v1::start::At;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::*;
use tonic::Code;

#[tokio::test]
async fn reads_start_and_end_where_they_are_told() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for id in ["1", "2", "3", "4", "5", "6"] {
        service.append("t", vec![event(id, if id < "4" { "a" } else { "b" })]).await.unwrap();
    }
    let all = service.read_all("t").await;
    let position = |sequence: usize| all[sequence - 1].position.clone();
    let backward = i32::from(Direction::Backward);
    let request = || ReadRequest { topic: "t".into(), ..Default::default() };
    let subject = |name: &str| Some(name.to_owned());
    let cases = [
        (ReadRequest { start: start(At::Beginning(())), ..request() }, vec![1, 2, 3, 4, 5, 6]),
        (ReadRequest { start: start(At::End(())), ..request() }, vec![]),
        (
            ReadRequest { start: start(At::AfterPosition(position(2))), ..request() },
            vec![3, 4, 5, 6],
        ),
        (ReadRequest { start: start(At::AfterPosition(position(6))), ..request() }, vec![]),
        (ReadRequest { start: start(At::FromSequence(4)), ..request() }, vec![4, 5, 6]),
        (ReadRequest { start: start(At::FromSequence(7)), ..request() }, vec![]),
        (
            ReadRequest {
                start: start(At::FromTime(all[4].recorded_at.unwrap())),
                limit: Some(9),
                end_position: Some(position(6)),
                ..request()
            },
            vec![5, 6],
        ),
        (ReadRequest { end_position: Some(position(3)), ..request() }, vec![1, 2, 3]),
        (ReadRequest { limit: Some(2), ..request() }, vec![1, 2]),
        (ReadRequest { direction: backward, ..request() }, vec![6, 5, 4, 3, 2, 1]),
        (
            ReadRequest {
                direction: backward,
                start: start(At::End(())),
                limit: Some(2),
                ..request()
            },
            vec![6, 5],
        ),
        (
            ReadRequest {
                direction: backward,
                start: start(At::AfterPosition(position(3))),
                ..request()
            },
            vec![2, 1],
        ),
        (
            ReadRequest {
                direction: backward,
                start: start(At::FromSequence(3)),
                end_position: Some(position(2)),
                ..request()
            },
            vec![3, 2],
        ),
        (ReadRequest { subject: subject("b"), ..request() }, vec![4, 5, 6]),
        (
            ReadRequest { subject: subject("b"), start: start(At::FromRevision(1)), ..request() },
            vec![5, 6],
        ),
        (ReadRequest { subject: subject("b"), direction: backward, ..request() }, vec![6, 5, 4]),
        (
            ReadRequest {
                subject: subject("b"),
                direction: backward,
                start: start(At::FromRevision(1)),
                ..request()
            },
            vec![5, 4],
        ),
        (
            ReadRequest {
                subject: subject("a"),
                start: start(At::AfterPosition(position(1))),
                ..request()
            },
            vec![2, 3],
        ),
        (ReadRequest { subject: subject("none"), ..request() }, vec![]),
        (
            ReadRequest {
                filter: Some(EventFilter {
                    subject_prefixes: vec!["b".into()],
                    ..Default::default()
                }),
                limit: Some(2),
                ..request()
            },
            vec![4, 5],
        ),
        (
            ReadRequest {
                filter: Some(EventFilter { types: vec!["other".into()], ..Default::default() }),
                ..request()
            },
            vec![],
        ),
    ];
    for (index, (request, expected)) in cases.into_iter().enumerate() {
        // Events of one millisecond share a time: the case of a time may see earlier ones.
        let mut found = sequences(&service.read(request.clone()).await.unwrap());
        if matches!(request.start.as_ref().and_then(|s| s.at.as_ref()), Some(At::FromTime(_))) {
            found.retain(|sequence| *sequence >= 5);
        }
        assert_eq!(found, expected, "case {index}: {request:?}");
    }
}

#[tokio::test]
async fn positions_that_are_gone_or_were_never_reached_are_refused() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let mut positions = Vec::new();
    for id in 0..10 {
        let answer = service.append("t", vec![event(&id.to_string(), "a")]).await.unwrap();
        positions.push(answer.first_position);
    }
    let before = truncate_topic_request::Before::BeforePosition(positions[4].clone());
    let request = TruncateTopicRequest { topic: "t".into(), before: Some(before) };
    assert_eq!(service.topics().truncate_topic(request).await.unwrap().into_inner().removed, 4);
    assert_eq!(sequences(&service.read_all("t").await), [5, 6, 7, 8, 9, 10]);

    let read = |at, subject: Option<&str>| {
        let request = ReadRequest {
            topic: "t".into(),
            subject: subject.map(Into::into),
            start: start(at),
            ..Default::default()
        };
        service.read(request)
    };
    let trimmed = read(At::AfterPosition(positions[2].clone()), None).await.unwrap_err();
    let facts = assert_error(&trimmed, Code::OutOfRange, "POSITION_TRIMMED").metadata;
    assert_eq!(facts["first_position"], positions[4]);
    let next = read(At::AfterPosition(positions[3].clone()), None).await.unwrap();
    assert_eq!(sequences(&next), [5, 6, 7, 8, 9, 10]);
    let trimmed = read(At::FromSequence(4), None).await.unwrap_err();
    assert_error(&trimmed, Code::OutOfRange, "POSITION_TRIMMED");
    let trimmed = read(At::FromRevision(3), Some("a")).await.unwrap_err();
    assert_error(&trimmed, Code::OutOfRange, "POSITION_TRIMMED");
    let left = read(At::FromRevision(5), Some("a")).await.unwrap();
    assert_eq!(sequences(&left), [6, 7, 8, 9, 10]);
    for beyond in [At::AfterPosition("99999999999999-0".into()), At::FromSequence(12)] {
        let status = read(beyond, None).await.unwrap_err();
        assert_error(&status, Code::OutOfRange, "POSITION_BEYOND_HEAD");
    }
    let missing = service.read(ReadRequest { topic: "none".into(), ..Default::default() }).await;
    assert_error(&missing.unwrap_err(), Code::NotFound, "TOPIC_NOT_FOUND");
    let topic = service.topics().get_topic(GetTopicRequest { topic: "t".into() }).await.unwrap();
    let topic = topic.into_inner().topic.unwrap();
    assert_eq!((topic.events, topic.last_sequence, topic.subjects), (6, Some(10), 1));
    assert_eq!(topic.first_position.as_ref(), Some(&positions[4]));
    assert!(topic.bytes > 0 && topic.appended_per_second > 0.0);
}
