//! Snapshots and LoadSubject, over gRPC on a real Redis.

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
use support::*;
use tonic::Code;

#[tokio::test]
async fn snapshots_come_first_and_what_follows_after() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for id in ["0", "1", "2", "3"] {
        service.append("t", vec![event(id, "a"), event(&format!("b{id}"), "b")]).await.unwrap();
    }
    let save = |revision, state: &'static str| {
        let data = state.as_bytes().into();
        let content_type = Some("text/plain".to_owned());
        let request = SaveSnapshotRequest {
            topic: "t".into(),
            subject: "a".into(),
            revision,
            content_type,
            data,
        };
        let mut store = service.store();
        async move { store.save_snapshot(request).await }
    };
    let load = async || {
        let request = LoadSubjectRequest { topic: "t".into(), subject: "a".into() };
        let mut stream = service.store().load_subject(request).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(item) = stream.message().await.unwrap() {
            found.push(match item.item.unwrap() {
                load_subject_response::Item::Snapshot(s) => {
                    format!("snapshot {} {}", s.revision, String::from_utf8_lossy(&s.data))
                }
                load_subject_response::Item::Event(e) => {
                    format!("event {}", e.subject_revision.unwrap())
                }
            });
        }
        found
    };
    assert_eq!(load().await, ["event 0", "event 1", "event 2", "event 3"]);
    let status = save(4, "beyond").await.unwrap_err();
    let facts = assert_error(&status, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(facts.violations[0].0, "revision");
    save(2, "two").await.unwrap();
    save(1, "one is older").await.unwrap();
    assert_eq!(load().await, ["snapshot 2 two", "event 3"]);
    save(3, "three").await.unwrap();
    assert_eq!(load().await, ["snapshot 3 three"]);
    let request = || DeleteSnapshotRequest { topic: "t".into(), subject: "a".into() };
    service.store().delete_snapshot(request()).await.unwrap();
    let gone = service.store().delete_snapshot(request()).await.unwrap_err();
    assert_error(&gone, Code::NotFound, "SNAPSHOT_NOT_FOUND");
    assert_eq!(load().await.len(), 4);
}
