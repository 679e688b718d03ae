//! The example clients of `clients/` as a test runs them: lines go in, lines of JSON come out.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::programs;

/// The languages that there is an example in.
pub const LANGUAGES: [&str; 4] = ["python", "go", "typescript", "java"];
/// How long one may take to end, on a machine that is busy with other tests.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Where the examples find the services, as `host:port`.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of event-store-svc.
    pub event_store: String,
    /// Of message-queue-svc.
    pub message_queue: String,
}

/// A running example. Killed when dropped.
#[derive(Debug)]
pub struct Example {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    said: watch::Receiver<Vec<Value>>,
}

impl Example {
    /// Starts what `clients/<language>/run.sh` built before.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(language: &str, at: &Addresses, args: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(language, at, args, None)
    }

    /// The same, with stubs from another folder.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_with(
        language: &str,
        at: &Addresses,
        args: &[&str],
        stubs: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let name = format!("{language} {}", args.join(" "));
        let run = programs::repository().join("clients").join(language).join("run.sh");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(run)
            .args(args)
            .env("NO_BUILD", "1")
            .env("EVENT_STORE", &at.event_store)
            .env("MESSAGE_QUEUE", &at.message_queue)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(stubs) = stubs {
            command.env("STUBS", stubs);
        }
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let output = child.stdout.take().context("no output")?;
        let (saying, said) = watch::channel(Vec::new());
        let speaker = name.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|_| Value::String(format!("{speaker} says no JSON: {line}")));
                saying.send_modify(|all| all.push(value));
            }
        });
        let input = child.stdin.take();
        Ok(Self { name, child, input, said })
    }

    /// Gives it a line.
    ///
    /// # Errors
    /// When it takes none any more.
    pub async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        let told = input.write_all(format!("{line}\n").as_bytes()).await;
        told.with_context(|| format!("{}: it takes no input", self.name))
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> Vec<Value> {
        self.said.borrow().clone()
    }

    /// The values of a field in all lines that have it.
    #[must_use]
    pub fn all(&self, field: &str) -> Vec<Value> {
        self.said.borrow().iter().filter_map(|line| line.get(field).cloned()).collect()
    }

    /// The sequences of all lines that have a field.
    #[must_use]
    pub fn sequences(&self, field: &str) -> Vec<u64> {
        let said = self.said.borrow();
        let lines = said.iter().filter(|line| line.get(field).is_some());
        lines.filter_map(|line| line["sequence"].as_u64()).collect()
    }

    /// Waits until it has said at least so many lines with a field.
    ///
    /// # Errors
    /// When it has not within `limit`, or has ended: with all that it said.
    pub async fn says(&self, field: &str, count: usize, limit: Duration) -> anyhow::Result<()> {
        let enough =
            |all: &Vec<Value>| all.iter().filter(|line| line.get(field).is_some()).count() >= count;
        let mut said = self.said.clone();
        let outcome = timeout(limit, said.wait_for(enough)).await;
        let problem = match outcome {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => "it has ended",
            Err(_) => "it took too long",
        };
        bail!("{}: {count} lines with {field}: {problem}; it said {:#?}", self.name, self.said())
    }

    /// Ends its input and waits for its own end. Answers how it ended and what it said.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn finish(mut self) -> anyhow::Result<(ExitStatus, Vec<Value>)> {
        self.input = None;
        self.ended().await
    }

    /// Sends SIGTERM and waits for its end. Answers how it ended and what it said.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> anyhow::Result<(ExitStatus, Vec<Value>)> {
        let pid = self.child.id().with_context(|| format!("{} has ended", self.name))?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        self.ended().await
    }

    async fn ended(&mut self) -> anyhow::Result<(ExitStatus, Vec<Value>)> {
        let status = timeout(END_LIMIT, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not end", self.name))??;
        // Everything was said when the one who listens is gone.
        let mut said = self.said.clone();
        let gone = timeout(END_LIMIT, said.wait_for(|_| false)).await;
        anyhow::ensure!(gone.is_ok(), "{}: its output stays open", self.name);
        Ok((status, self.said()))
    }
}
