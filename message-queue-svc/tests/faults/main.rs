//! Faults under load: two replicas, producers and consumers go on; nothing that was answered is
//! lost, keys keep their order, and what comes twice comes because its lease was lost. The figures
//! are printed; see them with `--nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly, and prints its figures"
)]

#[path = "../replicas/account.rs"]
mod account;
#[path = "../replicas/consumers.rs"]
mod consumers;
mod load;
mod lost_answers;
#[path = "../replicas/producers.rs"]
mod producers;
mod service;

use std::time::Duration;

use redis_link::test_util::PrivateRedis;
use tokio::time::sleep;

use load::Load;
use redis_link::test_util::proxy::Proxy;
use service::Service;

/// Messages that are handled before each fault.
const BUSY: usize = 1_000;

/// Two replicas in this process, and a load on both.
async fn load_on(urls: [&str; 2]) -> ([Service; 2], Load) {
    let pair = [Service::start(urls[0]).await, Service::start(urls[1]).await];
    let load = Load::start(&[&pair[0].url, &pair[1].url]).await;
    (pair, load)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_with_9_loses_nothing_that_was_synced() {
    let mut redis = PrivateRedis::start_durable();
    let (_pair, mut load) = load_on([&redis.url(), &redis.url()]).await;
    for _ in 0..3 {
        load.run(BUSY).await;
        redis.restart();
        let after = load.goes_on("Redis is back").await;
        println!("everybody went on {after:?} after Redis was back");
    }
    load.finish("kill -9 of Redis, appendfsync always").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_holds_up_and_loses_nothing() {
    let redis = PrivateRedis::start();
    let (_pair, mut load) = load_on([&redis.url(), &redis.url()]).await;
    for _ in 0..2 {
        load.run(BUSY).await;
        redis.stop_signal();
        sleep(Duration::from_secs(3)).await;
        redis.cont_signal();
        let after = load.goes_on("Redis goes on").await;
        println!("everybody went on {after:?} after Redis did");
    }
    load.finish("SIGSTOP of Redis for 3 s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_network_heals() {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let far = format!("redis://127.0.0.1:{}", proxy.port());
    // One replica is cut off, the other is not; for a moment, and for longer than patience lasts.
    let (_pair, mut load) = load_on([&far, &redis.url()]).await;
    for cut in [100, 1_000, 6_000] {
        load.run(BUSY).await;
        proxy.cut();
        sleep(Duration::from_millis(cut)).await;
        proxy.heal();
        let after = load.goes_on("the network is healed").await;
        println!("everybody went on {after:?} after a cut of {cut} ms");
    }
    load.finish("a cut network").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_network_heals() {
    let redis = PrivateRedis::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", redis.port())).await;
    let far = format!("redis://127.0.0.1:{}", proxy.port());
    let (_pair, mut load) = load_on([&far, &far]).await;
    for stall in [1_000, 7_000] {
        load.run(BUSY).await;
        proxy.stall();
        sleep(Duration::from_millis(stall)).await;
        proxy.heal();
        let after = load.goes_on("the network is healed").await;
        println!("everybody went on {after:?} after a stall of {stall} ms");
    }
    load.finish("a stalled network").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_and_flushed_scripts_come_back() {
    let redis = PrivateRedis::start();
    let (_pair, mut load) = load_on([&redis.url(), &redis.url()]).await;
    for round in 0..10 {
        load.run(BUSY / 2).await;
        if round % 2 == 0 {
            for kind in ["pubsub", "normal"] {
                let _ = redis.cli(&["CLIENT", "KILL", "TYPE", kind]);
            }
        } else {
            assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]), "OK\n");
        }
        load.goes_on("all connections were killed, or all scripts forgotten").await;
    }
    load.finish("CLIENT KILL of all connections and SCRIPT FLUSH, 5 times each").await;
}
