//! What runs is written down, so that the next run can stop what a killed one left behind.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

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

/// A program that an earlier run left. What stands for it is not its id, which another may get
/// once it is gone.
struct Left {
    entry: Entry,
    process: OwnedFd,
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
        let left = text.lines().filter_map(parse).filter_map(|entry| entry.left().transpose());
        let left = left.collect::<anyhow::Result<Vec<Left>>>()?;
        if !left.is_empty() {
            println!("stopping {} programs that an earlier run left", left.len());
        }
        tokio::task::spawn_blocking(move || stop(&left)).await??;
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

/// Stops them, and waits until they have ended.
fn stop(left: &[Left]) -> anyhow::Result<()> {
    for signal in [Signal::TERM, Signal::KILL] {
        for left in left {
            // Gone in between is just as well.
            let _ = pidfd_send_signal(&left.process, signal);
        }
        let end = Instant::now() + STOP_LIMIT;
        for left in left {
            let rest = Timespec::try_from(end.saturating_duration_since(Instant::now()))?;
            // It can be read once the program has ended.
            let mut ended = [PollFd::new(&left.process, PollFlags::IN)];
            retry_on_intr(|| poll(&mut ended, Some(&rest)))?;
        }
    }
    if let Some(Left { entry, .. }) = left.iter().find(|left| left.entry.is_alive()) {
        bail!("{} (pid {}) can't be stopped", entry.name, entry.pid);
    }
    Ok(())
}

impl Entry {
    /// The program, if it is still there.
    fn left(self) -> anyhow::Result<Option<Left>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            opened => opened.with_context(|| format!("looking for {} (pid {pid})", self.name))?,
        };
        // Asked only now: from here on it cannot become another one.
        if !self.is_alive() {
            return Ok(None);
        }
        Ok(Some(Left { entry: self, process }))
    }

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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails loudly")]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    use super::*;

    fn sleeping() -> (Child, i32) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        (child, pid)
    }

    #[tokio::test]
    async fn what_was_left_is_stopped_and_not_what_has_its_id_by_now() {
        let folder = tempfile::tempdir().unwrap();
        let ((mut left, left_pid), (mut other, other_pid)) = (sleeping(), sleeping());
        let running = Running::lock(folder.path()).unwrap();
        running.add(left_pid, "left").unwrap();
        let list = folder.path().join("children");
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&list, format!("{text}{other_pid} 1 gone\n")).unwrap();
        running.stop_leftovers().await.unwrap();
        let ended = left.try_wait().unwrap().and_then(|status| status.signal());
        assert_eq!(ended, Some(Signal::TERM.as_raw()));
        assert!(other.try_wait().unwrap().is_none(), "it was another one's");
        assert!(!list.exists(), "nothing is left");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
