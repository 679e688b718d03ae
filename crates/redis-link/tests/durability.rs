//! What Redis and Valkey can give, and that it is looked at again when they were reached anew.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has to fail")]

use std::time::Duration;

use redis_link::durability::{Durability, Level, Need};
use redis_link::test_util::{Options, PrivateRedis, valkey_server};
use redis_link::{Link, cmd};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

async fn connected(redis: &PrivateRedis, min_replicas: u16) -> (Link, Durability) {
    let mut args = redis.args();
    args.redis_min_replicas = min_replicas;
    // Another one would count up when it is there.
    args.redis_connections = 1;
    let link = Link::start(&args).unwrap();
    timeout(LIMIT, link.ready().wait_for(|ready| *ready)).await.unwrap().unwrap();
    (link.clone(), Durability::new(link))
}

async fn need(durability: &Durability, level: Level) -> Need {
    durability.need(level).await.unwrap()
}

async fn write_and_wait(durability: &Durability, level: Level) {
    let mut connection = durability.connection().await.unwrap();
    connection.query(cmd("SET").arg("a").arg(1)).await.unwrap();
    durability.wait(&mut connection, level).await.unwrap();
}

#[tokio::test]
async fn without_an_append_only_file_nothing_is_durable() {
    let redis = PrivateRedis::start();
    let (_, durability) = connected(&redis, 0).await;
    assert_eq!(need(&durability, Level::Fsynced).await, Need::Unavailable);
    assert_eq!(need(&durability, Level::Replicated).await, Need::Unavailable);
    assert!(!durability.is_always_fsynced());
}

#[tokio::test]
async fn what_was_found_is_forgotten_with_the_connection() {
    let redis = PrivateRedis::start_durable();
    let (link, durability) = connected(&redis, 0).await;
    assert_eq!(need(&durability, Level::Fsynced).await, Need::Answer);
    assert!(durability.is_always_fsynced());
    // As a failover to a server that is set up otherwise would.
    assert_eq!(redis.cli(&["CONFIG", "SET", "appendfsync", "everysec"]), "OK\n");
    let mut generation = link.generation();
    let before = *generation.borrow_and_update();
    let _ = redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    timeout(LIMIT, generation.wait_for(|now| *now > before)).await.unwrap().unwrap();
    assert!(!durability.is_always_fsynced(), "what is not known is not promised");
}

#[tokio::test]
async fn valkey_is_waited_for() {
    let server = Some(valkey_server());
    let redis =
        PrivateRedis::start_with(Options { append_only: true, server, ..Options::default() });
    let (_, durability) = connected(&redis, 0).await;
    assert_eq!(need(&durability, Level::Fsynced).await, Need::Wait);
    write_and_wait(&durability, Level::Fsynced).await;
}

#[tokio::test]
async fn replicas_are_counted_and_waited_for() {
    // Redis would wait for some seconds whether more replicas come.
    let at_once = ["--repl-diskless-sync-delay", "0"].map(str::to_owned).into();
    let redis = PrivateRedis::start_with(Options { extra: at_once, ..Options::default() });
    let (_, durability) = connected(&redis, 1).await;
    assert_eq!(need(&durability, Level::Replicated).await, Need::Unavailable);
    let port = redis.port().to_string();
    let replica = PrivateRedis::start_with(Options {
        extra: ["--replicaof", "127.0.0.1", &port].map(str::to_owned).into(),
        ..Options::default()
    });
    let joined = async {
        while need(&durability, Level::Replicated).await != Need::Wait {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, joined).await.unwrap();
    write_and_wait(&durability, Level::Replicated).await;
    assert_eq!(replica.cli(&["GET", "a"]), "1\n");
}
