//! docs/build-a-service.md: the service that it shows is the one that is compiled, it is as short as
//! promised, and it works beside the shop, also when it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use domain_svcs::scenario::{Options, play};
use domain_svcs::service::{Clients, ServicesArgs, call};
use nix::sys::signal::Signal;
use serde_json::json;
use system_tests::process::{Plan, Process};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE};
use system_tests::{programs, quiet, watch};

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "loyalty-service";
/// What the first customer of a scenario pays: for the products of 10 and of 20 euros.
const PAID: u64 = 30;

#[test]
fn the_page_shows_what_is_compiled() {
    let read = |path: &str| std::fs::read_to_string(programs::repository().join(path)).unwrap();
    let page = read("docs/build-a-service.md");
    let shown = page.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown, read("domain-svcs/examples/loyalty.rs"));
    let lines = shown.lines().count();
    assert!(lines <= 60, "{lines} lines");
    assert!(page.contains(&format!("in {lines} lines")), "it has {lines} lines");
}

fn start(system: &System, logs: &Path) -> Process {
    let program = programs::folder().unwrap().join("examples/loyalty");
    assert!(program.is_file(), "no example: build it with `cargo build --workspace --all-targets`");
    let (store, queue) = (system.url(EVENT_STORE).unwrap(), system.url(MESSAGE_QUEUE).unwrap());
    let args = ["--event-store-url", &store, "--message-queue-url", &queue];
    let plan = Plan {
        name: SERVICE.to_owned(),
        program,
        args: args.iter().map(OsString::from).collect(),
        orphaned: Signal::SIGKILL,
    };
    Process::start(&plan, logs).unwrap()
}

async fn points(system: &System, customer: &str) -> u64 {
    let (store, queue) = (system.url(EVENT_STORE).unwrap(), system.url(MESSAGE_QUEUE).unwrap());
    let queue = Clients::new("test", &ServicesArgs::at(&store, &queue)).unwrap().message_queue;
    let (body, headers) = (json!({ "customer_id": customer }), BTreeMap::new());
    let reply = call(queue, SERVICE, "get_points", &body, headers, PATIENCE).await.unwrap();
    reply.result.as_u64().unwrap()
}

#[tokio::test]
async fn customers_earn_points_once_also_when_the_service_is_killed() {
    let system = System::shop().await.unwrap();
    let logs = tempfile::tempdir().unwrap();
    let mut service = start(&system, logs.path());
    let options =
        Options { url: system.url(GATEWAY).unwrap(), patience: PATIENCE, ..Options::default() };
    let played = play(&options, |_| {}).await.unwrap();
    let customer = &played.customers[0];
    let clients = system.clients().unwrap();
    watch::until("everything to be done", PATIENCE, || quiet::check(&clients)).await.unwrap();
    assert_eq!(points(&system, customer).await, PAID);

    // All events once more, to a service that was killed: nothing is earned twice.
    service.kill9().await.unwrap();
    let group = ("billing".to_owned(), SERVICE.to_owned());
    let reset = proto::eventstore::v1::ResetGroupRequest {
        topic: group.0,
        group: group.1,
        start: Some(proto::eventstore::v1::Start {
            at: Some(proto::eventstore::v1::start::At::Beginning(())),
        }),
    };
    clients.groups.clone().reset_group(reset).await.unwrap();
    let _service = start(&system, logs.path());
    watch::until("everything to be done", PATIENCE, || quiet::check(&clients)).await.unwrap();
    assert_eq!(points(&system, customer).await, PAID);
    assert_eq!(points(&system, &played.customers[1]).await, 0);
}
