//! A stranger's first ten minutes: from the README to a consumer group in Python that handles the
//! shop's orders, in a fresh clone, by what docs/first-consumer.md says and nothing else. Each step
//! is timed.
//!
//! With `COLD=1` nothing is taken from this machine but the toolchains: packages are downloaded and
//! everything is built. Otherwise the clone runs the programs that were built with this test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that reports")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use system_tests::console;
use system_tests::programs;
use system_tests::up_ports::UpPorts;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A build from nothing on a slow machine.
const UP_LIMIT: Duration = Duration::from_secs(40 * 60);
const DOWN_LIMIT: Duration = Duration::from_secs(30);
/// What is promised of all steps together, without the first build.
const PROMISED: Duration = Duration::from_secs(10 * 60);

fn cold() -> bool {
    std::env::var_os("COLD").is_some()
}

async fn run(command: &mut Command) {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `make up` in the clone, until it says that it is ready.
async fn up(clone: &Path, ports: &UpPorts, home: &Path) -> Child {
    let mut make = Command::new("make");
    make.arg("up").current_dir(clone).envs(ports.variables());
    if cold() {
        make.env("CARGO_HOME", home).env_remove("CARGO_TARGET_DIR");
    } else {
        let profile = programs::folder().unwrap();
        make.env("CARGO_TARGET_DIR", profile.parent().unwrap()).env("NO_BUILD", "1");
        make.env("PROFILE", profile.file_name().unwrap());
    }
    for variable in ["BIND_ADDRESS", "DATA_DIR", "MAKEFLAGS", "MAKELEVEL"] {
        make.env_remove(variable);
    }
    let mut child = make
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            println!("  {line}");
            if line.contains("Ctrl-C stops everything") {
                return true;
            }
        }
        false
    };
    assert!(timeout(UP_LIMIT, ready).await.unwrap(), "make up ended");
    // It goes on talking, and nobody has to listen.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child
}

/// As a Ctrl-C at the terminal: to the whole process group.
async fn interrupt(mut up: Child) {
    let group = i32::try_from(up.id().unwrap()).unwrap();
    kill(Pid::from_raw(-group), Signal::SIGINT).unwrap();
    timeout(DOWN_LIMIT, up.wait()).await.unwrap().unwrap();
}

/// The heading above a line of a document.
fn heading(page: &str, line: usize) -> String {
    let above = page.lines().take(line);
    let heading = above.filter_map(|line| line.strip_prefix("## ")).last();
    heading.unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_has_a_consumer_within_ten_minutes() {
    let folder = tempfile::tempdir().unwrap();
    let (clone, home) = (folder.path().join("clone"), folder.path().join("cargo-home"));
    let mut steps: Vec<(String, Duration)> = Vec::new();
    let mut step = |name: &str, took: Duration| match steps.last_mut() {
        Some((last, all)) if last == name => *all += took,
        _ => steps.push((name.to_owned(), took)),
    };

    let started = Instant::now();
    run(Command::new("git").arg("clone").arg("-q").args([programs::repository(), &clone])).await;
    let readme = std::fs::read_to_string(clone.join("README.md")).unwrap();
    assert!(readme.contains("(docs/first-consumer.md)"), "the README does not lead there");
    let page = std::fs::read_to_string(clone.join("docs/first-consumer.md")).unwrap();
    assert!(page.contains("\nmake up\n"), "the page does not start the shop");
    step("git clone", started.elapsed());
    if cold() {
        let started = Instant::now();
        let mut fetch = Command::new("cargo");
        run(fetch.args(["fetch", "-q", "--locked"]).current_dir(&clone).env("CARGO_HOME", &home))
            .await;
        step("downloading crates", started.elapsed());
    }
    let started = Instant::now();
    let ports = UpPorts::reserve().unwrap();
    let up = up(&clone, &ports, &home).await;
    step("make up", started.elapsed());

    let mut places = BTreeMap::new();
    let named = [("50051", &ports.store), ("50052", &ports.queue), ("5000", &ports.gateway)];
    for (port, real) in named {
        places.insert(format!("localhost:{port}"), real.address());
    }
    let mut examples = console::examples(&page);
    if cold() {
        // Its first command, so that every package is downloaded.
        examples[0].command.insert_str(0, "export PIP_NO_CACHE_DIR=1; ");
    }
    let printed = console::run(&examples, &places, &clone).await.unwrap();
    for (example, printed) in examples.iter().zip(&printed) {
        console::compare(example, &printed.text).unwrap();
        step(&heading(&page, example.line), printed.took);
    }
    interrupt(up).await;

    let all: Duration = steps.iter().map(|(_, took)| *took).sum();
    for (name, took) in steps.iter().chain([&("all".to_owned(), all)]) {
        println!("{name:25} {:7.1} s", took.as_secs_f64());
    }
    assert!(cold() || all < PROMISED, "it took {all:?}");
}
