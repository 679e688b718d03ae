//! Groups administered, lost and deleted, over gRPC on a real Redis.

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
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::consumer::*;
use support::*;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::Code;

#[tokio::test]
async fn a_group_that_redis_lost_goes_on_where_it_stood() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 5, |_| "s".into()).await;
    service.create_group("t", "g", GroupSettings::default()).await;
    let held = service.fetch("t", "g", 3, 0).await;
    service.ack("t", "g", &[&held[0]]).await;
    let _ = redis.cli(&["XGROUP", "DESTROY", "es:{t}:log", "g"]);
    let _ = redis.cli(&["SCRIPT", "FLUSH"]);
    let next = service.fetch("t", "g", 5, 1_000).await;
    assert_eq!(next.iter().map(sequence).collect::<Vec<_>>(), [4, 5]);
    let outcomes = service.ack("t", "g", &[&held[1], &held[2], &next[0], &next[1]]).await;
    assert!(outcomes.iter().all(|outcome| outcome.error.is_none()));
    assert_eq!(service.group("t", "g").await.pending, 0);
}

#[tokio::test]
async fn groups_are_administered() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    append(&service, 4, |_| "s".into()).await;
    let from = |at| GroupSettings { start: start(at), ..Default::default() };
    service.create_group("t", "g", from(At::FromSequence(3))).await;
    service.create_group("t", "g", from(At::FromSequence(3))).await;
    service.create_group("t", "end", from(At::End(()))).await;
    let create = CreateGroupRequest { topic: "t".into(), group: "g".into(), settings: None };
    let status = service.groups().create_group(create).await.unwrap_err();
    assert_error(&status, Code::AlreadyExists, "ALREADY_EXISTS");
    let list = ListGroupsRequest { topic: "t".into(), page_size: 1, ..Default::default() };
    let page = service.groups().list_groups(list.clone()).await.unwrap().into_inner();
    assert_eq!((page.groups[0].group.as_str(), page.groups[0].lag), ("end", 0));
    let rest = ListGroupsRequest { page_token: page.next_page_token, ..list };
    let rest = service.groups().list_groups(rest).await.unwrap().into_inner();
    assert_eq!((rest.groups[0].group.as_str(), rest.groups[0].lag), ("g", 2));

    let held = service.fetch("t", "g", 2, 0).await;
    assert_eq!(held.iter().map(sequence).collect::<Vec<_>>(), [3, 4]);
    let reset = ResetGroupRequest { topic: "t".into(), group: "g".into(), start: None };
    let group = service.groups().reset_group(reset).await.unwrap().into_inner().group.unwrap();
    assert_eq!((group.lag, group.pending), (4, 0));
    let all = service.fetch("t", "g", 10, 0).await;
    assert_eq!(all.iter().map(sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let outcome = service.ack("t", "g", &[&held[0]]).await.remove(0);
    assert_eq!(ErrorFacts::of_item(&outcome.error.unwrap()).unwrap().reason, "LEASE_LOST");

    let update = UpdateGroupRequest {
        topic: "t".into(),
        group: "g".into(),
        settings: Some(GroupSettings { ack_timeout: Some(millis(5_000)), ..Default::default() }),
    };
    let group = service.groups().update_group(update).await.unwrap().into_inner().group.unwrap();
    assert_eq!(group.settings.unwrap().ack_timeout, Some(millis(5_000)));

    let delete = || DeleteGroupRequest { topic: "t".into(), group: "g".into() };
    service.groups().delete_group(delete()).await.unwrap();
    let status = service.groups().delete_group(delete()).await.unwrap_err();
    assert_error(&status, Code::NotFound, "GROUP_NOT_FOUND");
    let status = ConsumerStream::open(&service, "c", 1).await.err().unwrap();
    assert_error(&status, Code::NotFound, "GROUP_NOT_FOUND");
}

#[tokio::test]
async fn deleting_a_group_or_a_topic_ends_its_streams() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for topic in [false, true] {
        service.create_group("t", "g", GroupSettings::default()).await;
        append(&service, 1, |_| "s".into()).await;
        let mut consumer = ConsumerStream::open(&service, "c", 5).await.unwrap();
        consumer.delivery().await;
        if topic {
            let request = DeleteTopicRequest { topic: "t".into() };
            service.topics().delete_topic(request).await.unwrap();
        } else {
            let request = DeleteGroupRequest { topic: "t".into(), group: "g".into() };
            service.groups().delete_group(request).await.unwrap();
        }
        let ended = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                if let Err(status) = consumer.hear.message().await {
                    return status;
                }
            }
        });
        assert_eq!(ended.await.expect("the stream ends").code(), Code::NotFound);
    }
    append(&service, 1, |_| "s".into()).await;
    assert_eq!(
        sequences(&service.read_all("t").await),
        [1],
        "a topic of the same name begins anew"
    );
    let left = redis.cli(&["KEYS", "es:{t}:*"]);
    assert!(!left.contains(":g:"), "{left}");
}
