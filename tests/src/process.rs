//! One running program of the system: its log, its end, and its death with the one who started it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The unit of times in /proc, which is the same on all of Linux (USER_HZ).
pub const TICKS_A_SECOND: f64 = 100.0;

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How it is called in messages, and its log file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What it gets when the one who started it is gone without ending it.
    pub orphaned: Signal,
}

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    pid: i32,
}

/// Seconds of the processor that a process has used.
///
/// # Errors
/// When the kernel doesn't tell.
pub fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before it may have blanks. User and system time are fields 14 and 15 of all.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: u32 = times.map(str::parse::<u32>).sum::<Result<_, _>>()?;
    Ok(f64::from(ticks) / TICKS_A_SECOND)
}

impl Process {
    /// Starts it in a process group of its own (a Ctrl-C at the terminal is not for it), with
    /// everything it says going to the end of `<logs>/<name>.log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(plan: &Plan, logs: &Path) -> anyhow::Result<Self> {
        let log = logs.join(format!("{}.log", plan.name));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        // setpriv sets what only the process itself can ask of the kernel, then becomes the program.
        let signal = plan.orphaned.as_str().trim_start_matches("SIG");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", signal, "--"])
            .arg(&plan.program)
            .args(&plan.args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {} with setpriv (util-linux)", plan.name))?;
        let pid = child.id().context("it ended before it was started")?;
        Ok(Self { name: plan.name.clone(), log, child, pid: i32::try_from(pid)? })
    }

    /// How it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Seconds of the processor that it has used.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.pid)
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if self.child.id().is_none() {
            bail!("{} has ended", self.name);
        }
        kill(Pid::from_raw(self.pid), signal)
            .with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits for its end. Can be given up and called again.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it as kill -9 does, and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// When it has not ended after `limit`; it is killed then.
    pub async fn stop(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.has_ended()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        match timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                self.kill9().await?;
                bail!("{} did not stop within {limit:?} and was killed", self.name)
            }
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

/// The last lines of a log.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
