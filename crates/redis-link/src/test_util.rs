//! A private Redis for tests: on a free port, in a directory of its own, gone
//! with the test, however that ends.
//!
//! It panics with a clear message where it can't do what it is for: a test
//! without its Redis must fail.
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "only tests use this, and a test that can't have its server has to fail loudly"
)]

pub mod commands;
mod programs;
pub mod proxy;
pub mod secured;
pub mod sentinel;
mod waiting;

use std::{
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::RedisArgs;
pub use programs::valkey_server;
use programs::{INSTALL, server_command};
use secured::Secured;

/// How long a server may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Ports may be taken by others between choosing and using one.
const PORT_ATTEMPTS: usize = 5;

/// How a private Redis is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Write an append-only file, so that [`PrivateRedis::restart`] finds the
    /// data again.
    pub append_only: bool,
    /// `appendfsync always`: what is answered is on the disk.
    pub fsync_always: bool,
    /// `maxmemory`, as in `4mb`, with the policy `noeviction`.
    pub max_memory: Option<String>,
    /// Which server; otherwise `REDIS_SERVER_BIN`, or what is on the path.
    pub server: Option<PathBuf>,
    /// TLS, and a user for the services.
    pub secured: Option<Secured>,
    /// More arguments for the server, as in `["--slowlog-max-len", "10"]`.
    pub extra: Vec<String>,
}

/// A server that only one test knows.
#[derive(Debug)]
pub struct PrivateRedis {
    options: Options,
    directory: TempDir,
    port: u16,
    tls_port: u16,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    server: Child,
    watchdog: Child,
    /// Closed when this process ends in any way: then the watchdog acts.
    _lifeline: Option<ChildStdin>,
}

impl PrivateRedis {
    /// One that keeps everything in memory.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// One that survives [`PrivateRedis::restart`] with its data.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(Options { append_only: true, fsync_always: true, ..Options::default() })
    }

    /// One as described.
    ///
    /// # Panics
    /// When there is no server to start, or it doesn't come up.
    #[must_use]
    pub fn start_with(options: Options) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("private-redis-")
            .tempdir()
            .unwrap_or_else(|error| panic!("no directory for a private Redis: {error}"));
        if options.secured.is_some() {
            secured::prepare(directory.path());
        }
        let mut redis = Self { options, directory, port: 0, tls_port: 0, running: None };
        for _ in 0..PORT_ATTEMPTS {
            redis.port = free_port();
            redis.tls_port = free_port();
            if redis.try_run() {
                return redis;
            }
        }
        panic!("a private Redis did not start: {}", redis.log());
    }

    /// Its address: where it is secured, the one with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        if self.is_tls() {
            return format!("rediss://localhost:{}", self.tls_port);
        }
        self.plain_url()
    }

    /// Its address without TLS, for the test itself.
    fn plain_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Arguments that lead to it, otherwise the defaults.
    ///
    /// # Panics
    /// Never: its address is valid.
    #[must_use]
    pub fn args(&self) -> RedisArgs {
        RedisArgs::for_url(&self.url()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Kills it, as a power cut would.
    pub fn kill9(&mut self) {
        self.running = None;
    }

    /// Starts it again, on the same port and data; kills it first if it runs.
    ///
    /// # Panics
    /// When it doesn't come up.
    pub fn restart(&mut self) {
        self.kill9();
        // The port is known to be ours; the kernel may need a moment.
        for _ in 0..PORT_ATTEMPTS {
            if self.try_run() {
                return;
            }
        }
        panic!("the private Redis did not start again: {}", self.log());
    }

    /// Freezes it: it keeps its connections and answers nothing.
    pub fn stop_signal(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`PrivateRedis::stop_signal`].
    pub fn cont_signal(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Runs a command over a connection of its own, and answers what Redis
    /// said as text: one line per value, nil as an empty line, errors as they
    /// are.
    ///
    /// # Panics
    /// When the server can't be reached.
    #[must_use]
    pub fn cli(&self, command: &[&str]) -> String {
        text(&self.command(command))
    }

    /// As [`PrivateRedis::cli`], as a value; an error is a value too.
    ///
    /// # Panics
    /// When the server can't be reached.
    #[must_use]
    pub fn command(&self, command: &[&str]) -> redis::Value {
        let mut connection = connect(&self.plain_url())
            .unwrap_or_else(|error| panic!("the private Redis is not there: {error}"));
        answer(&mut connection, command)
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let Some(running) = &self.running else { panic!("the private Redis is not running") };
        i32::try_from(running.server.id()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap_or_else(|error| panic!("{signal}: {error}"));
    }

    fn try_run(&mut self) -> bool {
        let mut command = self.options.server.as_ref().map_or_else(server_command, Command::new);
        let log = self.directory.path().join("redis.log");
        let yes_no = |yes: bool| if yes { "yes" } else { "no" };
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", yes_no(self.options.append_only)])
            .args(["--appendfsync", if self.options.fsync_always { "always" } else { "everysec" }])
            .args(["--daemonize", "no", "--loglevel", "notice"])
            .arg("--dir")
            .arg(self.directory.path())
            .arg("--logfile")
            .arg(&log);
        if let Some(max) = &self.options.max_memory {
            command.args(["--maxmemory", max, "--maxmemory-policy", "noeviction"]);
        }
        if let Some(secured) = &self.options.secured {
            command.args(secured::arguments(secured, self.directory.path(), self.tls_port));
        }
        command.args(&self.options.extra);
        let server = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{:?} can't be started: {error}. {INSTALL}", command.get_program())
            });
        let mut running = Running::guard(server, self.directory.path());
        let up = wait_until_serving(&mut running.server, self.port);
        self.running = up.then_some(running);
        up
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }
}

/// A port below those that the kernel gives to outgoing connections: one of these could take the
/// port of a server that is down for a moment, and even connect to itself.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let seed = RandomState::new().hash_one(std::process::id());
    let ports = (0..500_u64).map(|step| {
        let port = 10_000 + seed.wrapping_add(step.wrapping_mul(7919)) % 10_000;
        u16::try_from(port).unwrap_or(10_000)
    });
    ports.into_iter().find(free).expect("a free port")
}

fn connect(url: &str) -> redis::RedisResult<redis::Connection> {
    redis::Client::open(url)?.get_connection_with_timeout(Duration::from_secs(5))
}

/// What it answers; an error is a value too.
fn answer(connection: &mut redis::Connection, command: &[&str]) -> redis::Value {
    let mut cmd = redis::Cmd::new();
    for part in command {
        cmd.arg(part);
    }
    redis::ConnectionLike::req_command(connection, &cmd)
        .unwrap_or_else(|error| redis::Value::SimpleString(error.to_string()))
}

/// As text: one line per value.
fn text(value: &redis::Value) -> String {
    let mut lines = String::new();
    flatten(value, &mut lines);
    lines
}

fn wait_until_serving(server: &mut Child, port: u16) -> bool {
    let start = Instant::now();
    while start.elapsed() < START_LIMIT {
        if server.try_wait().is_ok_and(|status| status.is_some()) {
            return false;
        }
        if serving(port).is_ok_and(|process| process == server.id()) {
            return true;
        }
        // A process tells of no other way that its port is open.
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Which process serves there, once it serves: another one may have been faster to take the port,
/// and ours has not found out yet.
fn serving(port: u16) -> std::io::Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut ask = |command: &[u8], answer: &mut [u8]| {
        stream.write_all(command)?;
        stream.read(answer)
    };
    let mut answer = [0; 8192];
    let length = ask(b"PING\r\n", &mut answer)?;
    if !answer[..length].starts_with(b"+PONG") {
        return Err(std::io::ErrorKind::NotConnected.into());
    }
    let length = ask(b"INFO server\r\n", &mut answer)?;
    let info = String::from_utf8_lossy(&answer[..length]);
    let process = info.lines().find_map(|line| line.strip_prefix("process_id:"));
    let process = process.and_then(|process| process.trim().parse().ok());
    process.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

impl Running {
    /// The watchdog ends the server when this process is gone without having
    /// had the time to drop anything (kill -9, abort).
    fn guard(server: Child, directory: &Path) -> Self {
        let mut watchdog = Command::new("sh")
            .arg("-c")
            .arg("read -r _; kill -9 \"$1\" 2>/dev/null; rm -rf -- \"$2\"")
            .arg("private-redis-watchdog")
            .arg(server.id().to_string())
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        let lifeline = watchdog.stdin.take();
        Self { server, watchdog, _lifeline: lifeline }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // First the watchdog, while its directory and process id are ours.
        for child in [&mut self.watchdog, &mut self.server] {
            // Already gone is just as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn flatten(value: &redis::Value, lines: &mut String) {
    use redis::Value;
    match value {
        Value::Array(items) | Value::Set(items) => {
            for item in items {
                flatten(item, lines);
            }
            return;
        }
        Value::BulkString(bytes) => lines.push_str(&String::from_utf8_lossy(bytes)),
        Value::Int(int) => lines.push_str(&int.to_string()),
        Value::SimpleString(text) => lines.push_str(text),
        Value::Okay => lines.push_str("OK"),
        Value::Nil => {}
        other => lines.push_str(&format!("{other:?}")),
    }
    lines.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_on_the_port_is_not_taken_for_ours() {
        let other = PrivateRedis::start();
        let directory = tempfile::tempdir().unwrap();
        let options = Options::default();
        let (port, running) = (other.port, None);
        let mut ours = PrivateRedis { options, directory, port, tls_port: 0, running };
        assert!(!ours.try_run());
        assert_eq!(other.cli(&["PING"]), "PONG\n");
    }
}
