//! Topics: created, listed in pages, deleted; and a service that creates none by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod support;

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::*;
use svc_runtime::rpc_error::status_of;
use tonic::{Code, Status};

async fn create(
    service: &Service,
    topic: &str,
    settings: Option<TopicSettings>,
) -> Result<Topic, Status> {
    let request = CreateTopicRequest { topic: topic.into(), settings };
    Ok(service.topics().create_topic(request).await?.into_inner().topic.unwrap())
}

#[tokio::test]
async fn a_topic_is_created_once_and_changed_by_updates() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let limited = || TopicSettings {
        retention: Some(Retention { max_events: Some(5), ..Default::default() }),
        dedup_window: Some(millis(60_000)),
    };
    let created = create(&service, "t", Some(limited())).await.unwrap();
    let settings = settings_of(&created);
    assert_eq!(settings.dedup_window, Some(millis(60_000)));
    assert_eq!(settings.retention.as_ref().unwrap().keep_unacknowledged, Some(true));
    assert_eq!((created.events, created.last_position.clone()), (0, None));
    assert_eq!(create(&service, "t", Some(limited())).await.unwrap(), created, "the same again");

    let other = TopicSettings { dedup_window: Some(millis(1)), ..limited() };
    for settings in [None, Some(other)] {
        let status = create(&service, "t", settings).await.unwrap_err();
        assert_error(&status, Code::AlreadyExists, "ALREADY_EXISTS");
    }
    // What is absent stays as it is.
    let settings = Some(TopicSettings { dedup_window: Some(millis(0)), retention: None });
    let request = UpdateTopicRequest { topic: "t".into(), settings };
    let updated = service.topics().update_topic(request).await.unwrap().into_inner();
    let updated = updated.topic.unwrap().settings.unwrap();
    assert_eq!(updated.dedup_window, Some(millis(0)));
    assert_eq!(updated.retention, settings_of(&created).retention);
    // One that was made by its first append has the defaults.
    service.append("u", vec![event("", "")]).await.unwrap();
    create(&service, "u", None).await.unwrap();
    let status = create(&service, "u", Some(limited())).await.unwrap_err();
    assert_error(&status, Code::AlreadyExists, "ALREADY_EXISTS");
}

fn settings_of(topic: &Topic) -> TopicSettings {
    topic.settings.unwrap()
}

#[tokio::test]
async fn topics_and_subjects_are_listed_in_pages() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let names: Vec<_> = (0..25).map(|n| format!("topic-{n:02}")).collect();
    for name in names.iter().rev() {
        create(&service, name, None).await.unwrap();
    }
    let (mut found, mut pages, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let request = ListTopicsRequest { page_size: 10, page_token };
        let page = service.topics().list_topics(request).await.unwrap().into_inner();
        found.extend(page.topics.into_iter().map(|topic| topic.topic));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((found, pages), (names, 3));

    for batch in 0..3 {
        let subjects = (0..1_000).map(|n| event("", &format!("subject-{}", batch * 500 + n)));
        service.append("many", subjects.collect()).await.unwrap();
    }
    let mut expected = BTreeMap::new();
    for recorded in service.read_all("many").await {
        let subject = recorded.event.unwrap().subject.unwrap();
        expected.insert(subject, recorded.subject_revision.unwrap());
    }
    let (mut found, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let request = ListSubjectsRequest { topic: "many".into(), page_size: 200, page_token };
        let page = service.topics().list_subjects(request).await.unwrap().into_inner();
        assert!(page.subjects.len() < 1_000, "about 200 are asked for");
        found.extend(page.subjects.into_iter().map(|info| (info.subject, info.last_revision)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_page_has_a_thousand_at_most_whatever_is_asked_for() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let create = |n: usize| {
        let service = &service;
        async move { create(service, &format!("t{n}"), None).await }
    };
    let created = stream::iter(0..1_001).map(create).buffer_unordered(50);
    created.try_for_each(|_| async { Ok(()) }).await.unwrap();
    let list = async |page_size, page_token| {
        let request = ListTopicsRequest { page_size, page_token };
        service.topics().list_topics(request).await.unwrap().into_inner()
    };
    assert_eq!(list(0, String::new()).await.topics.len(), 100);
    let first = list(i32::MAX, String::new()).await;
    assert_eq!(first.topics.len(), 1_000);
    assert_eq!(list(1_001, first.next_page_token).await.topics.len(), 1);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_with_all_that_belongs_to_it() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let subjects = (0..1_000).map(|n| event(&format!("id-{n}"), &format!("s{n}")));
    service.append("t", subjects.collect()).await.unwrap();
    service.create_group("t", "g", GroupSettings::default()).await;
    let held = service.fetch("t", "g", 10, 0).await;
    service.nack("t", "g", &held[0], NackAction::Park, None).await;
    let snapshot =
        SaveSnapshotRequest { topic: "t".into(), subject: "s1".into(), ..Default::default() };
    service.store().save_snapshot(snapshot).await.unwrap();
    let mut subscriber = service.subscribe("t", None).await;
    subscriber.message().await.unwrap();

    let delete = || DeleteTopicRequest { topic: "t".into() };
    service.topics().delete_topic(delete()).await.unwrap();
    let left = redis.cli(&["KEYS", "*"]);
    assert!(left.is_empty(), "{left}");
    let status = service.topics().delete_topic(delete()).await.unwrap_err();
    assert_error(&status, Code::NotFound, "TOPIC_NOT_FOUND");
    let request = ReadRequest { topic: "t".into(), ..Default::default() };
    assert_error(&service.read(request).await.unwrap_err(), Code::NotFound, "TOPIC_NOT_FOUND");
    let end = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        loop {
            if let Err(status) = subscriber.message().await {
                return status;
            }
        }
    });
    let status = end.await.expect("a subscriber is told");
    assert_error(&status, Code::OutOfRange, "POSITION_BEYOND_HEAD");
    // Ids are forgotten too, and numbers begin anew.
    let again = service.append("t", vec![event("id-0", "s0")]).await.unwrap();
    assert_eq!((again.first_sequence, again.subject_revisions["s0"]), (1, 0));
    assert!(!again.deduplicated);
}

#[tokio::test]
async fn without_auto_create_topics_must_be_created() {
    let redis = PrivateRedis::start();
    let service = Service::start_with(&redis, &["--no-auto-create"]).await;
    let append = || service.append("t", vec![event("", "s")]);
    assert_error(&append().await.unwrap_err(), Code::NotFound, "TOPIC_NOT_FOUND");
    let request =
        AppendRequest { topic: "t".into(), events: vec![event("", "s")], ..Default::default() };
    let requests = tokio_stream::iter([request.clone(), request]);
    let mut answers = service.store().append_stream(requests).await.unwrap().into_inner();
    for _ in 0..2 {
        match answers.message().await.unwrap().unwrap().result.unwrap() {
            Answer::Error(error) => {
                assert_error(&status_of(&error), Code::NotFound, "TOPIC_NOT_FOUND");
            }
            Answer::Appended(answer) => panic!("{answer:?}"),
        }
    }
    let group = CreateGroupRequest { topic: "t".into(), group: "g".into(), settings: None };
    let status = service.groups().create_group(group.clone()).await.unwrap_err();
    assert_error(&status, Code::NotFound, "TOPIC_NOT_FOUND");
    assert!(redis.cli(&["KEYS", "*"]).is_empty(), "nothing was written");

    create(&service, "t", None).await.unwrap();
    append().await.unwrap();
    service.groups().create_group(group).await.unwrap();
}

/// Whoever deletes and whoever makes topics at the same time: one that is there is listed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_while_it_is_deleted_is_listed() {
    let redis = PrivateRedis::start();
    let replicas = [Service::start(&redis).await, Service::start(&redis).await];
    for round in 0..60 {
        let name = format!("t-{round}");
        create(&replicas[0], &name, None).await.unwrap();
        let deleting = async {
            for _ in 0..3 {
                let request = DeleteTopicRequest { topic: name.clone() };
                let _ = replicas[0].topics().delete_topic(request).await;
            }
        };
        let making = async {
            for _ in 0..3 {
                let _ = create(&replicas[1], &name, None).await;
                let _ = replicas[1].append(&name, vec![event("", "s")]).await;
            }
        };
        tokio::join!(deleting, making);
        let request = ListTopicsRequest { page_size: 1_000, ..Default::default() };
        let listed = replicas[0].topics().list_topics(request).await.unwrap().into_inner().topics;
        let listed = listed.iter().any(|topic| topic.topic == name);
        let request = GetTopicRequest { topic: name.clone() };
        let there = replicas[0].topics().get_topic(request).await.is_ok();
        assert_eq!(listed, there, "{name}");
    }
}
