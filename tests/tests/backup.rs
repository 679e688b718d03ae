//! Backing up and restoring as docs/operate.md says: the append-only file is copied while clients
//! write, the server is lost, and what was answered before the copy began is found again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use redis_link::test_util::PrivateRedis;
use system_tests::readers::{whole_queue, whole_topic};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};
use system_tests::watch;
use system_tests::writers::{Ledger, Writers, lost_and_twice};

const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: usize = 4;
/// Writes of each kind before the copy, and after it.
const WRITES: usize = 300;
const FILES: &str = "appendonlydir";

fn data_folder(redis: &PrivateRedis) -> PathBuf {
    let answer = redis.cli(&["CONFIG", "GET", "dir"]);
    answer.lines().nth(1).expect("a server has a folder").into()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().expect("cp is there");
    assert!(status.success(), "{} could not be copied", from.display());
}

/// Copies the append-only file, in the steps of the document.
async fn back_up(redis: &PrivateRedis, to: &Path) {
    let percentage = "auto-aof-rewrite-percentage";
    assert!(redis.cli(&["CONFIG", "SET", percentage, "0"]).contains("OK"));
    watch::until("no rewrite under way", PATIENCE, || async {
        let state = redis.cli(&["INFO", "persistence"]);
        anyhow::ensure!(state.contains("aof_rewrite_in_progress:0"), "{state}");
        Ok(())
    })
    .await
    .unwrap();
    copy(&data_folder(redis).join(FILES), to);
    assert!(redis.cli(&["CONFIG", "SET", percentage, "100"]).contains("OK"));
}

fn acked(ledger: &Ledger) -> BTreeSet<String> {
    ledger.look(|account| account.acked.clone())
}

fn all_there_once(what: &str, answered: &BTreeSet<String>, found: &[String]) {
    let (lost, twice) = lost_and_twice(answered, found);
    assert!(lost.is_empty(), "{what} lost: {lost:?}");
    assert!(twice.is_empty(), "{what} twice: {twice:?}");
}

#[tokio::test]
async fn a_copy_of_the_append_only_file_restores_what_was_answered() {
    let mut system =
        System::of(PrivateRedis::start_durable(), &[EVENT_STORE, MESSAGE_QUEUE]).await.unwrap();
    let clients = system.clients().unwrap();
    let events = Writers::appending(&clients, "kept", WRITERS);
    let messages = Writers::sending(&clients, "kept", WRITERS);
    events.acked_more(WRITES, PATIENCE).await.unwrap();
    messages.acked_more(WRITES, PATIENCE).await.unwrap();

    let backup = tempfile::tempdir().unwrap();
    let before = (acked(events.ledger()), acked(messages.ledger()));
    back_up(system.redis(), backup.path()).await;
    events.acked_more(WRITES, PATIENCE).await.unwrap();
    messages.acked_more(WRITES, PATIENCE).await.unwrap();
    events.finish().await;
    messages.finish().await;
    let all = whole_topic(&clients, "kept").await.unwrap();

    for service in [EVENT_STORE, MESSAGE_QUEUE] {
        assert!(system.stop(service).await.unwrap().success());
    }
    let folder = data_folder(system.redis());
    system.redis().kill9();
    std::fs::remove_dir_all(folder.join(FILES)).unwrap();
    copy(&backup.path().join(FILES), &folder);
    system.redis().restart();
    for service in [EVENT_STORE, MESSAGE_QUEUE] {
        system.start(service).await.unwrap();
    }

    let clients = system.clients().unwrap();
    let restored = whole_topic(&clients, "kept").await.unwrap();
    all_there_once("events", &before.0, &restored);
    assert!(all.starts_with(&restored), "the restored topic is not the beginning of the lost one");
    assert!(restored.len() < all.len(), "the backup has what was written after it");
    all_there_once("messages", &before.1, &whole_queue(&clients, "kept").await.unwrap());
}
