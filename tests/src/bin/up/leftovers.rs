//! What runs is written down, so that the next run can stop what a killed one left behind.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than any of the programs takes to stop.
const STOP_LIMIT: Duration = Duration::from_secs(27);

/// The list of what runs, `<data>/run/children`, with a lock that only one `up` can have.
pub struct Running {
    list: PathBuf,
    _lock: Flock<File>,
}

/// One line of the list. A process id alone may belong to somebody else by now.
#[derive(Debug, Eq, PartialEq)]
struct Entry {
    pid: i32,
    started: String,
    name: String,
}

impl Running {
    /// Takes the lock.
    ///
    /// # Errors
    /// When another `up` runs on this data.
    pub fn lock(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            bail!("it already runs on this data ({}): stop that one first", folder.display());
        };
        Ok(Self { list: folder.join("children"), _lock: lock })
    }

    /// Stops what the list names and is still there.
    ///
    /// # Errors
    /// When something can't be stopped.
    pub async fn stop_leftovers(&self) -> anyhow::Result<()> {
        let text = fs::read_to_string(&self.list).unwrap_or_default();
        let left: Vec<Entry> = text.lines().filter_map(parse).filter(Entry::is_alive).collect();
        if !left.is_empty() {
            println!("stopping {} programs that an earlier run left", left.len());
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            for entry in left.iter().filter(|entry| entry.is_alive()) {
                // Gone in between is just as well.
                let _ = kill(Pid::from_raw(entry.pid), signal);
            }
            let end = Instant::now() + STOP_LIMIT;
            while left.iter().any(Entry::is_alive) && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        if let Some(entry) = left.iter().find(|entry| entry.is_alive()) {
            bail!("{} (pid {}) can't be stopped", entry.name, entry.pid);
        }
        self.clear()
    }

    /// Writes down one that was started.
    ///
    /// # Errors
    /// When the list can't be written.
    pub fn add(&self, pid: i32, name: &str) -> anyhow::Result<()> {
        let mut list = OpenOptions::new().create(true).append(true).open(&self.list)?;
        let started = started(pid).unwrap_or_default();
        writeln!(list, "{pid} {started} {name}")?;
        Ok(())
    }

    /// Nothing runs any more.
    ///
    /// # Errors
    /// When the list can't be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.list) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Entry {
    fn is_alive(&self) -> bool {
        started(self.pid).as_deref() == Some(&self.started)
    }
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.splitn(3, ' ');
    Some(Entry {
        pid: words.next()?.parse().ok()?,
        started: words.next()?.to_owned(),
        name: words.next()?.to_owned(),
    })
}

/// When a process started, in ticks since boot; none when it is gone or only waits to be reaped.
fn started(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may itself hold spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    // Field 22 of proc(5); the iterator stands behind field 3.
    let started = fields.nth(18)?;
    (state != "Z").then(|| started.to_owned())
}
