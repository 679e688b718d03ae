//! The page at `/` in a real headless Chromium, with the whole shop behind it. The checks themselves
//! are in `page/`, run by node; this starts the shop and does to it what they ask for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests; what was checked is printed"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use system_tests::clients::{outgoing, send};
use system_tests::programs;
use system_tests::system::System;
use system_tests::topology::GATEWAY;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Longer than all checks take together on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(240);

fn tools() -> PathBuf {
    let folder = programs::repository().join("target/tools/page");
    let there = folder.join("node_modules/playwright-core").is_dir();
    assert!(there, "{} is not complete: fetch it with `make tools`", folder.display());
    folder
}

fn chromium() -> PathBuf {
    if let Some(named) = std::env::var_os("CHROMIUM_BIN") {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    let found = folders.find_map(|folder| {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        names.map(|name| folder.join(name)).into_iter().find(|program| program.is_file())
    });
    found.unwrap_or_else(|| {
        panic!("no Chromium is here: `make tools` installs it, or name one with CHROMIUM_BIN")
    })
}

fn checks() -> Command {
    let mut command = Command::new("node");
    command
        .arg(programs::repository().join("tests/tests/page/main.js"))
        .env("PAGE_TOOLS", tools())
        .env("CHROMIUM_BIN", chromium())
        .env("SCREENSHOTS", programs::repository().join("target/page"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Does what a check asks for.
async fn obey(system: &mut System, order: &Value) {
    let name = order["name"].as_str().unwrap_or_default();
    match order["do"].as_str().unwrap_or_default() {
        "kill9" => system.kill9(name).await.unwrap(),
        "start" => system.start(name).await.unwrap(),
        // Past the gateway, as if it came from somewhere else.
        "send" => {
            let kind = order["type"].as_str().unwrap();
            let message = outgoing(kind, &order["body"].to_string());
            let mut queue = system.clients().unwrap().queue;
            queue.send(send(name, vec![message])).await.unwrap();
        }
        "" => eprintln!("{}", order["say"].as_str().unwrap_or_default()),
        other => panic!("a check asks for {other}"),
    }
}

#[tokio::test]
async fn the_page_shows_the_shop_as_it_happens() {
    let mut checks = checks();
    let mut system = System::shop().await.unwrap();
    checks.env("GATEWAY_URL", system.url(GATEWAY).unwrap());
    let node = checks.spawn();
    let mut node = node
        .unwrap_or_else(|error| panic!("node cannot be run ({error}): `make tools` installs it"));
    let mut orders = BufReader::new(node.stdout.take().unwrap()).lines();
    let mut answers = node.stdin.take().unwrap();
    let run = async {
        while let Some(line) = orders.next_line().await.unwrap() {
            let order: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("not what checks say: {line:?}: {error}"));
            obey(&mut system, &order).await;
            let done = format!("{}\n", json!({ "done": order["id"] }));
            // Fails when it asked for nothing more and ended.
            let _ = answers.write_all(done.as_bytes()).await;
        }
        node.wait().await.unwrap()
    };
    let status = timeout(LIMIT, run).await.unwrap_or_else(|_| panic!("took longer than {LIMIT:?}"));
    assert!(status.success(), "{status}: what failed is above, pictures are in target/page");
}
