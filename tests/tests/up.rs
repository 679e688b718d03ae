//! `make up` as a user has it: it starts everything, Ctrl-C leaves nothing behind, data outlives
//! even kill -9, a dead program and a taken port are named in one line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use system_tests::clients::{Clients, append, event};
use system_tests::programs;
use system_tests::readers::whole_topic;
use system_tests::topology::WORKERS;
use system_tests::up_ports::UpPorts;
use system_tests::watch;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const UP_LIMIT: Duration = Duration::from_secs(60);
const DOWN_LIMIT: Duration = Duration::from_secs(30);

/// Ports and a folder of its own, for one `make up` after the other.
struct Place {
    ports: UpPorts,
    data: TempDir,
}

/// A running `make up`.
struct Up {
    child: Child,
    pid: i32,
    output: Lines<BufReader<ChildStdout>>,
}

impl Place {
    fn new() -> Self {
        Self { ports: UpPorts::reserve().unwrap(), data: tempfile::tempdir().unwrap() }
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(programs::repository().join("scripts").join(script));
        command
            .envs(self.ports.variables())
            .env("DATA_DIR", self.data.path())
            .env("PROFILE", "debug")
            .env("NO_BUILD", "1")
            .env_remove("BIND_ADDRESS")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn start(&self) -> Up {
        let mut child = self.command("up.sh").stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        Up { child, pid, output }
    }

    async fn started(&self) -> Up {
        let mut up = self.start();
        up.line("Ctrl-C stops everything").await;
        up
    }

    fn clients(&self) -> Clients {
        Clients::new(&self.ports.store.url(), &self.ports.queue.url()).unwrap()
    }

    /// The processes that the running `up` has written down.
    fn children(&self) -> Vec<(i32, String)> {
        let list = std::fs::read_to_string(self.data.path().join("run/children")).unwrap();
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let pid = words.next().unwrap().parse().unwrap();
            (pid, words.nth(1).unwrap().to_owned())
        };
        list.lines().map(parse).collect()
    }

    /// What Redis has written.
    fn append_only_file(&self) -> anyhow::Result<String> {
        let mut written = String::new();
        for file in std::fs::read_dir(self.data.path().join("redis/appendonlydir"))? {
            written += &String::from_utf8_lossy(&std::fs::read(file?.path())?);
        }
        Ok(written)
    }

    fn assert_nothing_runs(&self, children: &[(i32, String)]) {
        for (pid, name) in children {
            assert!(!runs(*pid), "{name} still runs");
        }
        let UpPorts { redis, store, queue, gateway, .. } = &self.ports;
        for port in [redis, store, queue, gateway] {
            let free = std::net::TcpListener::bind(port.address());
            assert!(free.is_ok(), "{} is still taken", port.address());
        }
        assert!(!self.data.path().join("run/children").exists());
    }
}

impl Up {
    /// Reads its output up to a line that contains `text`, and answers that line.
    async fn line(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let reading = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                if line.contains(text) {
                    return Some(line);
                }
                seen.push(line);
            }
            None
        };
        let line = timeout(UP_LIMIT, reading).await.ok().flatten();
        line.unwrap_or_else(|| panic!("no {text:?} in:\n{}", seen.join("\n")))
    }

    /// As a Ctrl-C at the terminal: to the whole process group.
    fn interrupt(&self) {
        kill(Pid::from_raw(-self.pid), Signal::SIGINT).unwrap();
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(DOWN_LIMIT, self.child.wait()).await.unwrap().unwrap()
    }
}

/// Whether a process is there and more than a zombie.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn append_one(clients: &Clients, id: &str) {
    let request = append("kept", vec![event(id, "happened", id)]);
    clients.store.clone().append(request).await.unwrap();
}

fn kill9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn data_outlives_ctrl_c_and_kill_9() {
    let place = Place::new();
    let clients = place.clients();

    let mut up = place.started().await;
    append_one(&clients, "before ctrl-c").await;
    let children = place.children();
    assert_eq!(children.len(), 1 + 2 + WORKERS.len() + 1);
    up.interrupt();
    up.line("stopping").await;
    up.interrupt();
    assert!(up.ended().await.success());
    place.assert_nothing_runs(&children);

    // kill -9 of the supervisor alone: its children stop by themselves or by the next one.
    let mut up = place.started().await;
    append_one(&clients, "before kill -9 of up").await;
    kill9(up.pid);
    up.ended().await;

    // kill -9 of everything. A killed process loses nothing that it has written; Redis writes
    // before it answers, but up to two seconds later while the disk is busy with a sync.
    let mut up = place.started().await;
    append_one(&clients, "before kill -9 of all").await;
    let written = async || {
        let held = place.append_only_file()?.contains("before kill -9 of all");
        held.then_some(()).context("it is not in the append-only file")
    };
    watch::until("the write of Redis", DOWN_LIMIT, written).await.unwrap();
    let children = place.children();
    kill9(up.pid);
    for (pid, _) in &children {
        kill9(*pid);
    }
    up.ended().await;

    let mut up = place.started().await;
    let kept = whole_topic(&clients, "kept").await.unwrap();
    let written = ["before ctrl-c", "before kill -9 of up", "before kill -9 of all"];
    assert_eq!(kept, written);
    let children = place.children();
    kill(Pid::from_raw(up.pid), Signal::SIGTERM).unwrap();
    assert!(up.ended().await.success());
    place.assert_nothing_runs(&children);
}

#[tokio::test]
async fn the_demo_plays_and_a_dead_program_is_named() {
    let place = Place::new();
    let mut up = place.started().await;
    let demo = place.command("demo.sh").output().await.unwrap();
    let printed = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{printed}{}", String::from_utf8_lossy(&demo.stderr));
    assert!(printed.lines().count() > 10, "{printed}");

    let second = place.command("up.sh").output().await.unwrap();
    assert!(!second.status.success(), "a second one on the same data started");
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(said.contains("already runs"), "{said}");

    let children = place.children();
    let (pid, _) = children.iter().find(|(_, name)| name == "cart-service").unwrap();
    kill9(*pid);
    up.line("cart-service ended by itself").await;
    assert!(!up.ended().await.success());
    place.assert_nothing_runs(&children);
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_do() {
    let place = Place::new();
    let taker = std::net::TcpListener::bind(place.ports.gateway.address()).unwrap();
    let output = place.command("up.sh").output().await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in
        ["api-gateway", "is taken", "GATEWAY_PORT=", &place.ports.gateway.number().to_string()]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(is_empty(place.data.path()), "something was started");
    drop(taker);

    // A worker's health port is looked at too, before anything starts.
    let taken = &place.ports.health[3];
    let _taker = std::net::TcpListener::bind(taken.address()).unwrap();
    let output = place.command("up.sh").output().await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    for part in [WORKERS[3], "is taken by", "HEALTH_PORT="] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}
