//! kill -9 of Redis in the middle of work, and started again on the same data: calls fail as
//! documented, the services come back by themselves, and nothing that was answered is gone.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; figures are printed")]

use std::time::Duration;

use redis_link::test_util::PrivateRedis;
use system_tests::readers::{follow, whole_queue, whole_topic};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};
use system_tests::watch;
use system_tests::writers::{Ledger, Writers};
use tokio::time::Instant;

const WRITERS: usize = 4;
const KILLS: usize = 3;
/// Writes of each kind between one kill and the next.
const BETWEEN: usize = 300;
/// The promised limit.
const RECOVERY: Duration = Duration::from_secs(5);

/// Kills Redis a few times while the writers write, and sees that `service` says so and recovers.
async fn kill_redis_again_and_again(system: &mut System, service: &str, writers: &Writers) {
    let mut recoveries = Vec::new();
    for _ in 0..KILLS {
        writers.acked_more(BETWEEN, Duration::from_secs(60)).await.unwrap();
        system.redis().kill9();
        watch::until("not being ready", RECOVERY, || async {
            anyhow::ensure!(system.check(service).await.is_err(), "{service} is ready");
            Ok(())
        })
        .await
        .unwrap();
        system.redis().restart();
        let back = Instant::now();
        writers.acked_more(1, RECOVERY).await.unwrap();
        system.ready(service).await.unwrap();
        recoveries.push(back.elapsed());
    }
    eprintln!("{service} recovered after {recoveries:?}");
    assert!(recoveries.iter().all(|took| *took <= RECOVERY), "{recoveries:?}");
}

#[tokio::test]
async fn no_acknowledged_event_is_lost() {
    let redis = PrivateRedis::start_durable();
    let mut system = System::of(redis, &[EVENT_STORE]).await.unwrap();
    let clients = system.clients().unwrap();
    let writers = Writers::appending(&clients, "outage", WRITERS);
    let (follower, mut seen) = follow(&clients, "outage");

    kill_redis_again_and_again(&mut system, EVENT_STORE, &writers).await;
    let ledger = writers.finish().await;
    let stored = whole_topic(&clients, "outage").await.unwrap();
    report("events", &ledger, &stored);

    // The one who followed all the time has missed nothing.
    let all = u64::try_from(stored.len()).unwrap();
    let followed = seen.wait_for(|sequence| *sequence >= all);
    tokio::time::timeout(RECOVERY, followed).await.unwrap().unwrap();
    follower.abort();
    let ended = follower.await;
    assert!(ended.is_err_and(|error| error.is_cancelled()), "the follower failed");
}

#[tokio::test]
async fn no_acknowledged_message_is_lost() {
    let redis = PrivateRedis::start_durable();
    let mut system = System::of(redis, &[MESSAGE_QUEUE]).await.unwrap();
    let clients = system.clients().unwrap();
    let writers = Writers::sending(&clients, "outage", WRITERS);

    kill_redis_again_and_again(&mut system, MESSAGE_QUEUE, &writers).await;
    let ledger = writers.finish().await;
    let queued = whole_queue(&clients, "outage").await.unwrap();
    report("messages", &ledger, &queued);
}

/// Prints the figures, and fails unless each answered write is there, each exactly once.
fn report(what: &str, ledger: &Ledger, found: &[String]) {
    let verdict = ledger.held_against(found);
    eprintln!("{what}: {verdict:?}");
    assert!(verdict.is_kept(), "{verdict:?}");
    assert!(verdict.outages > 0, "no call noticed that Redis was gone");
}
