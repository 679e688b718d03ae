//! The read model starts from its snapshot and reads only what followed; a snapshot that is
//! damaged, or of another version, is of no use and does no harm. What the event store lost it
//! forgets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use domain_svcs::service::{Clients, ServicesArgs, call};
use nix::sys::signal::Signal;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::load_subject_response::Item;
use proto::eventstore::v1::{LoadSubjectRequest, SaveSnapshotRequest, Snapshot};
use redis_link::test_util::PrivateRedis;
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};
use system_tests::watch;
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(60);
const READ_MODEL: &str = "read-model";
const TOPIC: &str = "read-model.snapshots";

/// How the read model came to what it knows.
#[derive(Debug, PartialEq)]
struct Progress {
    restored: u64,
    applied: u64,
    saved: u64,
}

async fn progress(system: &System) -> Progress {
    let (store, queue) = (system.url(EVENT_STORE).unwrap(), system.url(MESSAGE_QUEUE).unwrap());
    let queue = Clients::new("test", &ServicesArgs::at(&store, &queue)).unwrap().message_queue;
    let (nothing, headers) = (json!({}), std::collections::BTreeMap::new());
    let reply = call(queue, READ_MODEL, "get_progress", &nothing, headers, PATIENCE);
    let reply = reply.await.unwrap().result;
    let number = |name: &str| reply[name].as_u64().unwrap_or_else(|| panic!("{reply}"));
    Progress {
        restored: number("restored_items"),
        applied: number("applied_events"),
        saved: number("snapshots_saved"),
    }
}

async fn create(system: &System, products: usize) {
    let list: Vec<_> = (0..products).map(|i| json!({ "name": "x", "price": i })).collect();
    let body = Some(json!(list).to_string());
    let (status, answer) =
        system.rest().unwrap().send(Method::POST, "/product", body).await.unwrap();
    assert!(status.is_success(), "{answer}");
}

async fn products(system: &System) -> Value {
    system.rest().unwrap().get("/products").await.unwrap()
}

async fn load(store: &EventStoreClient<Channel>, subject: &str) -> Snapshot {
    let request = LoadSubjectRequest { topic: TOPIC.to_owned(), subject: subject.to_owned() };
    let mut items = store.clone().load_subject(request).await.unwrap().into_inner();
    match items.message().await.unwrap().and_then(|item| item.item) {
        Some(Item::Snapshot(snapshot)) => snapshot,
        other => panic!("no snapshot of {subject} but {other:?}"),
    }
}

async fn save(store: &EventStoreClient<Channel>, subject: &str, revision: u64, data: String) {
    let request = SaveSnapshotRequest {
        topic: TOPIC.to_owned(),
        subject: subject.to_owned(),
        revision,
        content_type: None,
        data: data.into(),
    };
    store.clone().save_snapshot(request).await.unwrap();
}

async fn manifest(store: &EventStoreClient<Channel>) -> (u64, Value) {
    let manifest = load(store, "manifest").await;
    (manifest.revision, serde_json::from_slice(&manifest.data).unwrap())
}

#[tokio::test]
async fn it_reads_what_followed_its_snapshot_and_everything_if_that_is_of_no_use() {
    let arguments = [(READ_MODEL, &["--snapshot-every", "100"][..])];
    let mut system = System::shop_with(&arguments).await.unwrap();
    let store = system.clients().unwrap().store;
    create(&system, 150).await;
    let all = products(&system).await;
    assert_eq!(all.as_array().unwrap().len(), 150);
    assert_eq!(progress(&system).await.applied, 150);

    // A clean end keeps a last snapshot: nothing has to be read after it.
    assert!(system.stop(READ_MODEL).await.unwrap().success());
    system.start(READ_MODEL).await.unwrap();
    assert_eq!(progress(&system).await, Progress { restored: 150, applied: 0, saved: 0 });
    assert_eq!(products(&system).await, all);

    // After kill -9 it reads what came since the last one, and no more.
    create(&system, 130).await;
    watch::until("a snapshot", PATIENCE, || async {
        // How a snapshot ended is noticed with the next event.
        create(&system, 1).await;
        products(&system).await;
        let now = progress(&system).await;
        anyhow::ensure!(now.saved == 1, "{now:?}");
        Ok(())
    })
    .await
    .unwrap();
    let applied = progress(&system).await.applied;
    let (_, kept) = manifest(&store).await;
    let kept = kept["items"].as_u64().unwrap();
    let all = products(&system).await;
    system.kill9(READ_MODEL).await.unwrap();
    system.start(READ_MODEL).await.unwrap();
    let now = progress(&system).await;
    assert_eq!(now, Progress { restored: kept, applied: 150 + applied - kept, saved: 0 });
    assert!(kept > 150 && now.applied < 100, "{now:?}");
    assert_eq!(products(&system).await, all);
    let everything = 150 + applied;

    // A part that was damaged.
    system.kill9(READ_MODEL).await.unwrap();
    let (revision, mut described) = manifest(&store).await;
    let part = described["parts"][0]["subject"].as_str().unwrap().to_owned();
    let at = described["parts"][0]["revision"].as_u64().unwrap();
    let whole = load(&store, &part).await.data;
    save(&store, &part, at, String::from_utf8(whole[1..].to_vec()).unwrap()).await;
    system.start(READ_MODEL).await.unwrap();
    let now = progress(&system).await;
    assert_eq!((now.restored, now.applied), (0, everything));
    assert_eq!(products(&system).await, all);
    assert!(system.log(READ_MODEL).unwrap().contains("missing or damaged"));

    // One that another version made, and one that cannot even be read.
    system.kill9(READ_MODEL).await.unwrap();
    let (latest, _) = manifest(&store).await;
    assert!(latest >= revision);
    described["version"] = 0.into();
    for (data, why) in
        [(described.to_string(), "of another version"), ("{".to_owned(), "manifest cannot be read")]
    {
        let (latest, _) = (load(&store, "manifest").await.revision, ());
        save(&store, "manifest", latest, data).await;
        system.start(READ_MODEL).await.unwrap();
        let now = progress(&system).await;
        assert_eq!((now.restored, now.applied), (0, everything), "{why}");
        assert_eq!(products(&system).await, all);
        assert!(system.log(READ_MODEL).unwrap().contains(why), "{why}");
        // It is not to keep a new one: the next is to be looked at.
        system.kill9(READ_MODEL).await.unwrap();
    }
    system.start(READ_MODEL).await.unwrap();
    assert_eq!(products(&system).await, all);
}

/// More than fits one part, kept by two replicas that end at the same moment.
#[tokio::test]
async fn a_snapshot_of_several_parts_comes_back_whole() {
    const PRODUCTS: u64 = 6_000;
    let mut system = System::shop().await.unwrap();
    let store = system.clients().unwrap().store;
    let replica = system.add_replica(READ_MODEL).await.unwrap();
    for _ in 0..PRODUCTS / 1_000 {
        create(&system, 1_000).await;
    }
    let all = products(&system).await;
    assert_eq!(u64::try_from(all.as_array().unwrap().len()).unwrap(), PRODUCTS);
    for name in [READ_MODEL, &replica] {
        system.signal(name, Signal::SIGTERM).unwrap();
    }
    for name in [READ_MODEL, &replica] {
        assert!(system.ended(name).await.unwrap().success());
    }
    let (_, described) = manifest(&store).await;
    assert!(described["parts"].as_array().unwrap().len() > 1, "{described}");
    system.start(READ_MODEL).await.unwrap();
    // The replica whose snapshot counts may have been a few events behind.
    let now = progress(&system).await;
    assert!(now.restored > PRODUCTS / 2 && now.restored + now.applied == PRODUCTS, "{now:?}");
    assert_eq!(products(&system).await, all);
}

/// Redis comes back without its data: what was read of it must not be served on.
#[tokio::test]
async fn it_forgets_what_the_event_store_lost() {
    let fronts = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY];
    let all: Vec<&str> = fronts.into_iter().chain(WORKERS).collect();
    let mut system = System::of(PrivateRedis::start(), &all).await.unwrap();
    create(&system, 20).await;
    assert_eq!(products(&system).await.as_array().unwrap().len(), 20);
    system.redis().kill9();
    system.redis().restart();
    let rest = system.rest().unwrap();
    watch::until("a product after the loss", PATIENCE, || async {
        let body = Some(json!({ "name": "new", "price": 1 }).to_string());
        let (status, answer) = rest.send(Method::POST, "/product", body).await?;
        anyhow::ensure!(status.is_success(), "{answer}");
        Ok(())
    })
    .await
    .unwrap();
    watch::until("the read model to begin anew", PATIENCE, || async {
        let list = rest.get("/products").await?;
        let names: Vec<_> = list.as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        anyhow::ensure!(!names.is_empty() && names.iter().all(|name| name == "new"), "{names:?}");
        Ok(())
    })
    .await
    .unwrap();
}
