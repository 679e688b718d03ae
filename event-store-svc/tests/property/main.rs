//! Random histories of everything that can be written and read, against a simple model and the
//! real service on Redis and on Valkey 9: they never differ. `PROPERTY_CASES` sets how many
//! histories; `make soak` runs many more than the tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly, and prints its figures"
)]

mod model;
mod ops;
mod play;
#[path = "../support/mod.rs"]
mod support;

use proptest::test_runner::{Config, TestRunner};
use redis_link::test_util::{Options, PrivateRedis, valkey_server};
use support::Service;

fn histories_agree(options: Options) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let redis = PrivateRedis::start_with(options);
    let service = runtime.block_on(Service::start(&redis));
    let cases = std::env::var("PROPERTY_CASES").ok().map_or(60, |cases| cases.parse().unwrap());
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let topics = std::cell::Cell::new(0);
    let played = runner.run(&ops::ops(), |history| {
        topics.set(topics.get() + 1);
        runtime.block_on(play::play(&service, &format!("topic-{}", topics.get()), &history));
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
    println!("{} histories agree with the model", topics.get());
}

#[test]
fn histories_agree_on_redis() {
    histories_agree(Options::default());
}

#[test]
fn histories_agree_on_valkey() {
    histories_agree(Options { server: Some(valkey_server()), ..Options::default() });
}
