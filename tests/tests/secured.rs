//! Both services on a Redis as production has it: over TLS, with the user of deploy/ and no right
//! more. Every call of both works; rights that are missing are named in the log, not to clients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use redis_link::test_util::secured::{PASSWORD, Secured};
use redis_link::test_util::{Options, PrivateRedis, valkey_server};
use system_tests::clients::{append, event, outgoing, send};
use system_tests::console;
use system_tests::failure::Failure;
use system_tests::programs;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};
use system_tests::watch;
use tonic::{Code, Status};

const SERVICES: [&str; 2] = [EVENT_STORE, MESSAGE_QUEUE];
const LIMIT: Duration = Duration::from_secs(20);

async fn services(redis: PrivateRedis) -> System {
    with(redis, &SERVICES).await
}

/// These programs; both services are among them.
async fn with(redis: PrivateRedis, names: &[&str]) -> System {
    let flags = redis.secured_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let arguments = SERVICES.map(|name| (name, &flags[..]));
    System::with_arguments(redis, names, &arguments).await.unwrap()
}

#[tokio::test]
async fn every_call_works_over_tls_with_the_rights_of_the_deployed_user() {
    // With the shop, as the book was written.
    let all: Vec<&str> = SERVICES.into_iter().chain([GATEWAY]).chain(WORKERS).collect();
    let mut system = with(PrivateRedis::start_secured(Secured::default()), &all).await;
    let book = programs::repository().join("docs/grpcurl.md");
    let examples = console::examples(&std::fs::read_to_string(book).unwrap());
    let places: BTreeMap<String, String> = [("50051", EVENT_STORE), ("50052", MESSAGE_QUEUE)]
        .map(|(port, name)| {
            (format!("localhost:{port}"), system.url(name).unwrap().replace("http://", ""))
        })
        .into();
    let printed = console::run(&examples, &places, programs::repository()).await.unwrap();
    for (example, printed) in examples.iter().zip(printed) {
        console::compare(example, &printed.text).unwrap();
    }
    // The sweeps of both have been through as well.
    let redis = &*system.redis();
    for command in ["smembers", "pexpire"] {
        watch::until(command, LIMIT, || async {
            let stats = redis.cli(&["INFO", "commandstats"]);
            ensure!(stats.contains(&format!("cmdstat_{command}:")), "it was not called");
            Ok(())
        })
        .await
        .unwrap();
    }
    let refused = redis.cli(&["INFO", "errorstats"]);
    assert!(!refused.contains("NOPERM"), "{refused}");
    for name in SERVICES {
        assert!(!system.log(name).unwrap().contains(PASSWORD));
    }
}

#[tokio::test]
async fn durability_is_found_out_and_waited_for_with_these_rights() {
    let redis = PrivateRedis::start_with(Options {
        append_only: true,
        server: Some(valkey_server()),
        secured: Some(Secured { plain: true, ..Secured::default() }),
        ..Options::default()
    });
    let system = services(redis).await;
    let clients = system.clients().unwrap();
    let mut request = append("order", vec![event("1", "happened", "")]);
    request.durability = proto::eventstore::v1::Durability::Fsynced.into();
    let appended = clients.store.clone().append(request).await.unwrap().into_inner();
    assert_eq!(appended.durability, i32::from(proto::eventstore::v1::Durability::Fsynced));
    let mut request = send("work", vec![outgoing("do", "it")]);
    request.durability = proto::messagequeue::v1::Durability::Fsynced.into();
    clients.queue.clone().send(request).await.unwrap();
}

#[track_caller]
fn assert_unavailable(status: &Status) {
    let failure = Failure::from(status);
    assert_eq!(failure.code, Code::Unavailable, "{failure:?}");
    assert_eq!(failure.reason.as_deref(), Some("STORAGE_UNAVAILABLE"), "{failure:?}");
    for inside in ["edis", "NOPERM", "messaging", "may not", "127.0.0.1"] {
        assert!(!failure.message.contains(inside), "{failure:?} speaks of the inside");
    }
}

#[tokio::test]
async fn missing_rights_are_named_in_the_log_and_not_to_clients() {
    let mut system = services(PrivateRedis::start_secured(Secured::default())).await;
    let clients = system.clients().unwrap();
    let set = |system: &mut System, rule: &str| {
        assert_eq!(system.redis().cli(&["ACL", "SETUSER", "messaging", rule]), "OK\n");
        let _ = system.redis().cli(&["CLIENT", "KILL", "USER", "messaging"]);
    };
    set(&mut system, "-publish");
    for name in SERVICES {
        watch::until(name, LIMIT, || async {
            ensure!(system.check(name).await.is_err(), "it is still ready");
            let named = system.log(name)?.contains("may not use publish; --redis-username");
            ensure!(named, "the log does not say it");
            Ok(())
        })
        .await
        .unwrap();
    }
    let events = append("order", vec![event("1", "happened", "")]);
    assert_unavailable(&clients.store.clone().append(events).await.unwrap_err());
    let messages = send("work", vec![outgoing("do", "it")]);
    assert_unavailable(&clients.queue.clone().send(messages).await.unwrap_err());
    set(&mut system, "+publish");
    for name in SERVICES {
        system.ready(name).await.unwrap();
    }
    let events = append("order", vec![event("1", "happened", "")]);
    clients.store.clone().append(events).await.unwrap();
}
