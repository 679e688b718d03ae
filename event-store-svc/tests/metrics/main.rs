//! Metrics of a real service, scraped and parsed: they add up with what was done, and stay few and
//! cheap however many topics there are.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_imports,
    clippy::float_cmp,
    clippy::cast_precision_loss,
    reason = "a test fails loudly, prints its figures, and compares numbers that were counted"
)]

mod adds_up;
mod many;
#[path = "../../../crates/svc-observe/tests/observe/scraped.rs"]
mod scraped;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;

use redis_link::test_util::{PrivateRedis, free_port};
use scraped::Scraped;
use support::Service;
use tokio::sync::Mutex;

/// Histograms are those of the process: one test at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// A replica with an admin port, and that port.
async fn observed(redis: &PrivateRedis, max_names: &str) -> (Service, SocketAddr) {
    let admin = format!("127.0.0.1:{}", free_port());
    let flags = ["--admin-listen", &admin, "--metrics-max-names", max_names];
    (Service::start_with(redis, &flags).await, admin.parse().unwrap())
}

/// A scrape in which all collectors succeeded.
async fn scrape(admin: SocketAddr) -> Scraped {
    let scraped = Scraped::get(admin).await;
    for collector in ["topics", "groups"] {
        let success = scraped.value("collector_success", &[("collector", collector)]);
        assert_eq!(success, Some(1.0), "{collector}\n{}", scraped.text);
    }
    scraped
}
