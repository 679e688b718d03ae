//! Faults under load: two replicas, appenders, subscribers and consumer groups go on, nothing that
//! was answered is lost, nothing is there twice, and no stream hangs. The figures are printed; see
//! them with `--nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "a test fails loudly, and prints its figures"
)]

mod support;

use std::time::Duration;

use proto::eventstore::v1::start::At;
use proto::eventstore::v1::truncate_topic_request::Before;
use proto::eventstore::v1::*;
use redis_link::test_util::proxy::Proxy;
use redis_link::test_util::{Options, PrivateRedis};
use support::consumer::{ConsumerStream, sequence, watch};
use support::load::{GROUPS, Load, TOPIC};
use support::replica::Replica;
use support::*;
use tokio::time::sleep;
use tonic::Code;

/// Events that are appended before each fault.
const BUSY: usize = 1_000;

/// Two replicas in this process.
async fn pair(redis_url: &str) -> [Service; 2] {
    [Service::start_at(redis_url, &[]).await, Service::start_at(redis_url, &[]).await]
}

async fn load_on(pair: &[Service; 2]) -> Load {
    // The default lease: what is lost with a connection must not wait for it to run out.
    Load::start(&[&pair[0].url, &pair[1].url], None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_with_9_loses_nothing() {
    let redis = PrivateRedis::start();
    let mut replicas = [Replica::start(&redis.url()).await, Replica::start(&redis.url()).await];
    // What a dead replica had leased comes back when the leases run out.
    let ack_timeout = Some(millis(1_000));
    let mut load = Load::start(&[&replicas[0].url, &replicas[1].url], ack_timeout).await;
    for round in 0..4 {
        let replica = &mut replicas[round % 2];
        load.run(BUSY).await;
        replica.kill9();
        let after = load.goes_on("a replica is dead").await;
        replica.restart().await;
        load.goes_on("it is back").await;
        println!("everybody went on {after:?} after the kill");
    }
    load.finish("kill -9 of a replica").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_with_9_loses_nothing_that_was_synced() {
    let mut redis = PrivateRedis::start_durable();
    let pair = pair(&redis.url()).await;
    let mut load = load_on(&pair).await;
    for _ in 0..3 {
        load.run(BUSY / 4).await;
        redis.restart();
        let after = load.goes_on("Redis is back").await;
        println!("everybody went on {after:?} after Redis was back");
    }
    assert_eq!(load.delivery_count(), 1, "what nobody saw is no failed delivery");
    load.finish("kill -9 of Redis, appendfsync always").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_holds_up_and_loses_nothing() {
    let redis = PrivateRedis::start();
    let pair = pair(&redis.url()).await;
    let mut load = load_on(&pair).await;
    for _ in 0..2 {
        load.run(BUSY).await;
        redis.stop_signal();
        sleep(Duration::from_secs(3)).await;
        redis.cont_signal();
        let after = load.goes_on("Redis goes on").await;
        println!("everybody went on {after:?} after Redis did");
    }
    assert_eq!(load.delivery_count(), 1, "what nobody saw is no failed delivery");
    load.finish("SIGSTOP of Redis for 3 s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_network_heals() {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    // One replica is cut off, the other is not; then a short cut, and one that outlasts patience.
    let pair = [
        Service::start_at(&format!("redis://127.0.0.1:{}", proxy.port()), &[]).await,
        Service::start(&redis).await,
    ];
    let mut load = load_on(&pair).await;
    for cut in [100, 1_000, 6_000] {
        load.run(BUSY).await;
        proxy.cut();
        sleep(Duration::from_millis(cut)).await;
        proxy.heal();
        let after = load.goes_on("the network is healed").await;
        load.replicas_answer("the network is healed").await;
        println!("everybody went on {after:?} after a cut of {cut} ms");
    }
    assert_eq!(load.delivery_count(), 1, "what nobody saw is no failed delivery");
    load.finish("a cut network").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_network_heals() {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let pair = pair(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let mut load = load_on(&pair).await;
    for stall in [1_000, 7_000] {
        load.run(BUSY).await;
        proxy.stall();
        sleep(Duration::from_millis(stall)).await;
        proxy.heal();
        let after = load.goes_on("the network is healed").await;
        load.replicas_answer("the network is healed").await;
        println!("everybody went on {after:?} after a stall of {stall} ms");
    }
    assert_eq!(load.delivery_count(), 1, "what nobody saw is no failed delivery");
    load.finish("a stalled network").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_come_back() {
    let redis = PrivateRedis::start();
    let pair = pair(&redis.url()).await;
    let mut load = load_on(&pair).await;
    for _ in 0..10 {
        load.run(BUSY / 2).await;
        for kind in ["pubsub", "normal"] {
            let _ = redis.cli(&["CLIENT", "KILL", "TYPE", kind]);
        }
        load.goes_on("all connections were killed").await;
    }
    assert_eq!(load.delivery_count(), 1, "what nobody saw is no failed delivery");
    load.finish("CLIENT KILL of all connections, 10 times").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_scripts_that_redis_forgot_are_restored() {
    let redis = PrivateRedis::start();
    let pair = pair(&redis.url()).await;
    let mut load = load_on(&pair).await;
    for _ in 0..5 {
        load.run(BUSY / 2).await;
        for group in GROUPS {
            let _ = redis.cli(&["XGROUP", "DESTROY", &format!("es:{{{TOPIC}}}:log"), group]);
        }
        let _ = redis.cli(&["SCRIPT", "FLUSH"]);
        load.goes_on("groups and scripts are gone").await;
    }
    assert_eq!(load.delivery_count(), 1, "what nobody saw is no failed delivery");
    load.finish("XGROUP DESTROY and SCRIPT FLUSH, 5 times").await;
}

#[tokio::test]
async fn readers_of_a_flushed_redis_are_told() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    for _ in 0..10 {
        service.append("t", vec![event("", "s")]).await.unwrap();
    }
    service.create_group("t", "g", GroupSettings::default()).await;
    let mut subscriber = service.subscribe("t", None).await;
    let mut consumer = ConsumerStream::open(&service, "c", 5).await.unwrap();
    consumer.delivery().await;
    let last = service.read_all("t").await.pop().unwrap().position;
    let _ = redis.cli(&["FLUSHALL"]);
    let ends = async {
        let subscribed = loop {
            if let Err(status) = subscriber.message().await {
                break status;
            }
        };
        let consumed = loop {
            if let Err(status) = consumer.hear.message().await {
                break status;
            }
        };
        (subscribed, consumed)
    };
    let ends = tokio::time::timeout(Duration::from_secs(5), ends).await;
    let (subscribed, consumed) = ends.expect("the streams end");
    assert_error(&subscribed, Code::OutOfRange, "POSITION_BEYOND_HEAD");
    assert_error(&consumed, Code::NotFound, "TOPIC_NOT_FOUND");
    // A client that resumes is told as well, also when the topic has come to life again.
    for _ in 0..2 {
        let mut resumed = service.subscribe("t", start(At::AfterPosition(last.clone()))).await;
        let status = resumed.message().await.unwrap_err();
        assert_error(&status, Code::OutOfRange, "POSITION_BEYOND_HEAD");
        let _ = redis.cli(&["XADD", "es:{t}:log", "1-1", "q", "1", "e", ""]);
        let _ = redis.cli(&["HSET", "es:{t}:meta", "created", "1", "sequence", "1", "last", "1-1"]);
    }
}

#[tokio::test]
async fn a_full_redis_refuses_appends_and_still_serves() {
    let options = Options { max_memory: Some("12mb".into()), ..Options::default() };
    let redis = PrivateRedis::start_with(options);
    let service = Service::start(&redis).await;
    service.append("t", vec![event("first", "s")]).await.unwrap();
    service.create_group("t", "g", GroupSettings::default()).await;
    let large = |n: usize| {
        let data = Some(event::Data::TextData("x".repeat(50_000)));
        vec![Event { data, ..event(&format!("large-{n}"), "s") }, event(&format!("small-{n}"), "s")]
    };
    let mut appended = 1;
    let full = loop {
        match service.append("t", large(appended)).await {
            Ok(_) => appended += 2,
            Err(status) => break status,
        }
        assert!(appended < 1_000, "12 MB are full at some time");
    };
    assert_error(&full, Code::ResourceExhausted, "STORAGE_FULL");
    // Also where much is asked at once, and where something would be created.
    let status = service.append("other", large(0)).await.unwrap_err();
    assert_error(&status, Code::ResourceExhausted, "STORAGE_FULL");
    let all = service.read_all("t").await;
    assert_eq!(sequences(&all), (1..=appended as u64).collect::<Vec<_>>(), "nothing half written");

    let mut subscriber = service.subscribe("t", None).await;
    assert!(subscriber.message().await.unwrap().is_some());
    let mut consumer = ConsumerStream::open(&service, "c", 3).await.unwrap();
    for expected in 1..=appended as u64 {
        let delivery = consumer.delivery().await;
        assert_eq!(sequence(&delivery), expected);
        consumer.ack(&delivery).await;
    }
    watch(&service, |group| (group.lag, group.pending) == (0, 0)).await;
    println!("a full Redis: {appended} events kept, read and acked; appends refused");

    // Room is made, and appends go through again.
    let before = Some(Before::BeforePosition(all[all.len() - 1].position.clone()));
    let request = TruncateTopicRequest { topic: "t".into(), before };
    let removed = service.topics().truncate_topic(request).await.unwrap().into_inner().removed;
    assert_eq!(removed, appended as u64 - 1);
    let next = service.append("t", large(appended)).await.unwrap();
    assert_eq!((next.first_sequence, next.deduplicated), (appended as u64 + 1, false));
}
