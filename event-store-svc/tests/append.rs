//! Append and AppendStream, over gRPC on a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use proto::eventstore::v1::expectation::Expected;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::*;
use tonic::Code;

#[tokio::test]
async fn an_append_is_read_back_with_dense_numbers() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let first = service
        .append(
            "order",
            vec![
                event("a", "order-1"),
                event("b", "order-2"),
                event("c", "order-1"),
                event("d", ""),
            ],
        )
        .await
        .unwrap();
    assert_eq!(first.first_sequence, 1);
    assert_eq!(first.subject_revisions, [("order-1".into(), 1), ("order-2".into(), 0)].into());
    let second = service.append("order", vec![event("e", "order-1")]).await.unwrap();
    assert_eq!((second.first_sequence, second.subject_revisions["order-1"]), (5, 2));

    let events = service.read_all("order").await;
    assert_eq!(sequences(&events), [1, 2, 3, 4, 5]);
    let revisions: Vec<_> = events.iter().map(|event| event.subject_revision).collect();
    assert_eq!(revisions, [Some(0), Some(0), Some(1), None, Some(2)]);
    assert_eq!(events[0].position, first.first_position);
    assert_eq!(events[3].position, first.last_position);
    assert_eq!(events[4].position, second.first_position);
    assert_eq!(events[0].event, Some(event("a", "order-1")));
    assert!(events[0].recorded_at.is_some());
}

#[tokio::test]
async fn a_repeated_append_answers_what_the_first_did() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let batch = || vec![event("a", "x"), event("b", "y"), event("", "x")];
    let first = service.append("t", batch()).await.unwrap();
    service.append("t", vec![event("c", "x")]).await.unwrap();
    // The expectation fails now, but a repeat does not look at expectations.
    let again = service
        .append_expecting("t", batch(), vec![expect("x", Expected::NoEvents(()))])
        .await
        .unwrap();
    assert!(again.deduplicated);
    assert_eq!(AppendResponse { deduplicated: false, ..again }, first);
    assert_eq!(service.read_all("t").await.len(), 4);

    let other = Event { r#type: "changed".into(), ..event("a", "x") };
    for reused in [vec![other], vec![event("a", "x")], vec![event("z", "x"), event("b", "y")]] {
        let status = service.append("t", reused).await.unwrap_err();
        assert_error(&status, Code::AlreadyExists, "ID_REUSED");
    }
    assert_eq!(service.read_all("t").await.len(), 4);
}

#[tokio::test]
async fn a_dedup_window_of_zero_remembers_nothing_and_a_short_one_forgets() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for (topic, window) in [("never", 0), ("short", 50)] {
        let settings = TopicSettings { dedup_window: Some(millis(window)), ..Default::default() };
        let request = CreateTopicRequest { topic: topic.into(), settings: Some(settings) };
        service.topics().create_topic(request).await.unwrap();
        service.append(topic, vec![event("a", "")]).await.unwrap();
        let mut again = service.append(topic, vec![event("a", "")]).await.unwrap();
        while again.deduplicated {
            again = service.append(topic, vec![event("a", "")]).await.unwrap();
        }
        assert_eq!(again.first_sequence, 2, "{topic}");
    }
}

#[tokio::test]
async fn expectations_are_checked_before_anything_is_written() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let append = |events, expectations| service.append_expecting("t", events, expectations);
    append(vec![event("", "a")], vec![expect("a", Expected::NoEvents(()))]).await.unwrap();
    append(vec![event("", "a")], vec![expect("a", Expected::Revision(0))]).await.unwrap();
    append(vec![event("", "b")], vec![expect("a", Expected::Exists(()))]).await.unwrap();
    for (expectation, facts) in [
        (expect("a", Expected::Revision(0)), ("a", "0", "1")),
        (expect("a", Expected::NoEvents(())), ("a", "no_events", "1")),
        (expect("c", Expected::Exists(())), ("c", "exists", "no_events")),
        (expect("c", Expected::Revision(0)), ("c", "0", "no_events")),
    ] {
        let others = vec![expect("b", Expected::Revision(0)), expectation];
        let status = append(vec![event("", "a"), event("", "c")], others).await.unwrap_err();
        let found = assert_error(&status, Code::Aborted, "REVISION_CONFLICT").metadata;
        assert_eq!((&*found["subject"], &*found["expected"], &*found["actual"]), facts);
    }
    assert_eq!(sequences(&service.read_all("t").await), [1, 2, 3]);
}

#[tokio::test]
async fn racing_writers_have_one_winner_per_revision() {
    let redis = PrivateRedis::start();
    let service = std::sync::Arc::new(Service::start(&redis).await);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32 {
        let service = service.clone();
        writers.spawn(async move {
            let mut won = 0;
            for revision in 0..10u64 {
                let subject = format!("s{}", writer % 8);
                let expected = match revision {
                    0 => Expected::NoEvents(()),
                    _ => Expected::Revision(revision - 1),
                };
                let expectation = vec![expect(&subject, expected)];
                match service.append_expecting("race", vec![event("", &subject)], expectation).await
                {
                    Ok(answer) => {
                        assert_eq!(answer.subject_revisions[&subject], revision);
                        won += 1;
                    }
                    Err(status) => {
                        let facts =
                            assert_error(&status, Code::Aborted, "REVISION_CONFLICT").metadata;
                        assert_ne!(facts["expected"], facts["actual"]);
                    }
                }
            }
            won
        });
    }
    let won: u64 = writers.join_all().await.into_iter().sum();
    let events = service.read_all("race").await;
    assert_eq!(won, events.len() as u64);
    assert_eq!(sequences(&events), (1..=won).collect::<Vec<_>>());
    for subject in 0..8 {
        let revisions: Vec<_> = events
            .iter()
            .filter(|e| {
                e.event.as_ref().unwrap().subject.as_deref() == Some(&format!("s{subject}"))
            })
            .map(|e| e.subject_revision.unwrap())
            .collect();
        assert_eq!(revisions, (0..revisions.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_append_stream_answers_in_order_and_outlives_bad_items() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let requests = (0..500).map(|index| AppendRequest {
        topic: if index % 50 == 7 { "Bad Name".into() } else { "t".into() },
        events: vec![event(&index.to_string(), "")],
        ..Default::default()
    });
    let stream = tokio_stream::iter(requests.collect::<Vec<_>>());
    let mut answers = service.store().append_stream(stream).await.unwrap().into_inner();
    let (mut appended, mut refused) = (Vec::new(), 0);
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.result.unwrap() {
            append_stream_response::Result::Appended(answer) => {
                appended.push(answer.first_sequence);
            }
            append_stream_response::Result::Error(error) => {
                let facts = svc_runtime::rpc_error::ErrorFacts::of_item(&error).unwrap();
                assert_eq!(facts.reason, "INVALID_NAME");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 10);
    assert_eq!(appended, (1..=490).collect::<Vec<_>>());
}

#[tokio::test]
async fn durability_is_told_or_refused() {
    let append = |service: &Service, durability: Durability| {
        let request = AppendRequest {
            topic: "t".into(),
            events: vec![event("", "")],
            durability: durability.into(),
            ..Default::default()
        };
        let mut store = service.store();
        async move { store.append(request).await }
    };
    let memory = PrivateRedis::start();
    let service = Service::start(&memory).await;
    for durability in [Durability::Fsynced, Durability::Replicated] {
        let status = append(&service, durability).await.unwrap_err();
        assert_error(&status, Code::FailedPrecondition, "DURABILITY_UNAVAILABLE");
    }
    let durable = PrivateRedis::start_durable();
    let service = Service::start(&durable).await;
    let answer = append(&service, Durability::Fsynced).await.unwrap().into_inner();
    assert_eq!(answer.durability(), Durability::Fsynced);
}
