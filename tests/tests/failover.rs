//! A primary that Sentinels watch over is killed in the middle of work: both services follow to the
//! replica, and nothing that was answered as replicated is gone, also when the old one comes back.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; figures are printed")]

use std::time::Duration;

use proto::eventstore::v1::Durability as StoreDurability;
use proto::messagequeue::v1::Durability as QueueDurability;
use redis_link::test_util::{PrivateRedis, sentinel::Watched};
use svc_runtime::rpc_error::ErrorFacts;
use system_tests::clients::Clients;
use system_tests::readers::{whole_queue, whole_topic};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};
use system_tests::watch;
use system_tests::writers::{Writers, append_one, send_one};
use tokio::time::{Instant, sleep};
use tonic::Status;

const WRITERS: usize = 4;
const BETWEEN: usize = 200;
const LIMIT: Duration = Duration::from_secs(60);

/// Until there is a replica again nothing can be replicated, which is said: then it is tried again.
async fn when_there_is_a_replica<Fut>(one: impl Fn() -> Fut + Send) -> Result<(), Status>
where
    Fut: Future<Output = Result<(), Status>> + Send,
{
    loop {
        match one().await {
            Err(status) if reason(&status) == "DURABILITY_UNAVAILABLE" => {
                sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

fn reason(status: &Status) -> String {
    ErrorFacts::of(status).map(|facts| facts.reason).unwrap_or_default()
}

/// Appends one, as durable as said.
async fn appended(clients: Clients, id: String, durability: StoreDurability) -> Result<(), Status> {
    append_one(clients.store, "kept".to_owned(), id, durability).await
}

/// Sends one, as durable as said.
async fn sent(clients: Clients, id: String, durability: QueueDurability) -> Result<(), Status> {
    send_one(clients.queue, "kept".to_owned(), id, durability).await
}

#[tokio::test]
async fn nothing_replicated_is_lost_when_the_primary_is_killed() {
    let mut watched = Watched::start(None);
    let mut flags = watched.flags();
    flags.extend(["--redis-min-replicas", "1"].map(str::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let arguments = [(EVENT_STORE, flags.as_slice()), (MESSAGE_QUEUE, flags.as_slice())];
    // Its own Redis is one that the services do not use: Sentinels say where theirs is.
    let unused = PrivateRedis::start();
    let names = [EVENT_STORE, MESSAGE_QUEUE];
    let mut system = System::with_arguments(unused, &names, &arguments).await.unwrap();
    let clients = system.clients().unwrap();

    let store = clients.clone();
    let appending = Writers::start(WRITERS, move |id| {
        let one = store.clone();
        when_there_is_a_replica(move || {
            appended(one.clone(), id.clone(), StoreDurability::Replicated)
        })
    });
    let queue = clients.clone();
    let sending = Writers::start(WRITERS, move |id| {
        let one = queue.clone();
        when_there_is_a_replica(move || sent(one.clone(), id.clone(), QueueDurability::Replicated))
    });
    appending.acked_more(BETWEEN, LIMIT).await.unwrap();
    sending.acked_more(BETWEEN, LIMIT).await.unwrap();

    watched.servers[0].kill9();
    let killed = Instant::now();
    watch::until("appends to the replica", LIMIT, || async {
        appended(clients.clone(), "after".to_owned(), StoreDurability::Unspecified).await?;
        Ok(())
    })
    .await
    .unwrap();
    watch::until("sends to the replica", LIMIT, || async {
        sent(clients.clone(), "after".to_owned(), QueueDurability::Unspecified).await?;
        Ok(())
    })
    .await
    .unwrap();
    let took = killed.elapsed();

    // It comes back, becomes the replica, and can take part again.
    watched.servers[0].restart();
    appending.acked_more(BETWEEN, LIMIT).await.unwrap();
    sending.acked_more(BETWEEN, LIMIT).await.unwrap();
    let (events, messages) = (appending.finish().await, sending.finish().await);
    assert_eq!(system.redis().cli(&["DBSIZE"]), "0\n", "the flags led elsewhere");
    let stored = whole_topic(&clients, "kept").await.unwrap();
    let queued = whole_queue(&clients, "kept").await.unwrap();
    eprintln!("both services were back {took:?} after the kill");
    for (what, ledger, found) in [("events", events, stored), ("messages", messages, queued)] {
        let verdict = ledger.held_against(&found);
        eprintln!("{what}: {verdict:?}");
        assert!(verdict.is_kept(), "{verdict:?}");
    }
}
