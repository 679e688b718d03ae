//! A primary, its replica, and Sentinels that watch over both.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    INSTALL, Options, PORT_ATTEMPTS, PrivateRedis, Running, START_LIMIT, answer, connect,
    free_port, server_command, text,
};
use crate::RedisArgs;

/// What the Sentinels call the primary.
pub const MASTER: &str = "mymaster";

/// The user of the services at the Sentinels.
pub const USER: &str = "services";

/// What docs/operate.md says that this user needs.
const RIGHTS: &str = "+ping +subscribe +sentinel|master &+switch-master";

/// How long a replica may take to be in sync, and Sentinels to know each other.
const LIMIT: Duration = Duration::from_secs(20);

const SENTINELS: usize = 3;

/// The port with TLS is so much above the other one.
const SECURED: u16 = 10_000;

/// A private Redis that fails over, within a second or two.
#[derive(Debug)]
pub struct Watched {
    /// The two servers; the first one is the primary at the beginning.
    pub servers: [PrivateRedis; 2],
    sentinels: Vec<Sentinel>,
}

/// What watches over a primary.
#[derive(Debug)]
pub struct Sentinel {
    url: String,
    port: u16,
    _running: Running,
    _directory: TempDir,
}

impl Watched {
    /// Two servers that keep their data, and three Sentinels, with [`USER`] if there is a password.
    ///
    /// # Panics
    /// When they do not come up.
    #[must_use]
    pub fn start(password: Option<&str>) -> Self {
        let options = |extra: Vec<String>| Options {
            append_only: true,
            fsync_always: true,
            extra,
            ..Options::default()
        };
        let primary = PrivateRedis::start_with(options(Vec::new()));
        let of = format!("127.0.0.1 {}", primary.port());
        // Without a disk, so at once.
        let extra = ["--repl-diskless-sync-delay", "0", "--replicaof", &of].map(str::to_owned);
        let replica = PrivateRedis::start_with(options(extra.to_vec()));
        let sentinels = (0..SENTINELS).map(|_| Sentinel::start(primary.port(), password));
        let watched = Self { sentinels: sentinels.collect(), servers: [primary, replica] };
        watched.until("all are known to each other", || {
            let replicated =
                watched.servers[0].cli(&["INFO", "replication"]).contains("state=online");
            replicated && watched.sentinels.iter().all(Sentinel::knows_all)
        });
        watched
    }

    /// The flags, other than `--redis-url`, that lead to the primary.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        ["--redis-sentinels", &self.addresses(), "--redis-sentinel-master", MASTER]
            .map(str::to_owned)
            .to_vec()
    }

    /// Arguments that lead to the primary; their URL leads nowhere.
    ///
    /// # Panics
    /// Never: the addresses are valid.
    #[must_use]
    pub fn args(&self) -> RedisArgs {
        let mut args = RedisArgs::for_url("redis://nowhere.invalid").expect("it is a URL");
        let addresses = self.addresses();
        args.sentinel.redis_sentinels = addresses
            .split(',')
            .map(|address| address.parse().expect("it is an address"))
            .collect();
        args.sentinel.redis_sentinel_master = Some(MASTER.to_owned());
        args
    }

    fn addresses(&self) -> String {
        let all: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        all.join(",")
    }

    /// Ends one of the Sentinels.
    pub fn end_sentinel(&mut self, index: usize) {
        drop(self.sentinels.remove(index));
    }

    /// Has the Sentinels make the replica the primary while both are well.
    #[must_use]
    pub fn fail_over(&self) -> String {
        self.sentinels[0].cli(&["SENTINEL", "FAILOVER", MASTER])
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < LIMIT, "not in time: {what}");
            // Servers tell it only when asked.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Sentinel {
    fn start(primary: u16, password: Option<&str>) -> Self {
        let settings = |port: u16| {
            let mut settings = format!(
                "port {port}\nbind 127.0.0.1\n\
                 sentinel monitor {MASTER} 127.0.0.1 {primary} 2\n\
                 sentinel down-after-milliseconds {MASTER} 500\n\
                 sentinel failover-timeout {MASTER} 3000\n",
            );
            if let Some(password) = password {
                settings += &format!("user {USER} on >{password} {RIGHTS}\n");
            }
            settings
        };
        Self::with(&settings)
    }

    /// One that speaks TLS as a secured Redis does, which it calls by its name.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn secured(redis: &PrivateRedis) -> Self {
        let file = |name: &str| redis.file(name).display().to_string();
        let settings = |port: u16| {
            format!(
                "port {port}\nbind 127.0.0.1\ntls-port {}\ntls-replication yes\n\
                 tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n\
                 tls-auth-clients no\n\
                 sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n\
                 sentinel monitor {MASTER} localhost {} 1\n",
                port + SECURED,
                file("server.crt"),
                file("server.key"),
                file("ca.crt"),
                redis.tls_port,
            )
        };
        let mut sentinel = Self::with(&settings);
        sentinel.port += SECURED;
        sentinel
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn with(settings: &dyn Fn(u16) -> String) -> Self {
        let try_start = |_| {
            let port = free_port();
            Self::try_start(port, &settings(port))
        };
        (0..PORT_ATTEMPTS).find_map(try_start).expect("a Sentinel starts")
    }

    fn try_start(port: u16, settings: &str) -> Option<Self> {
        let directory = tempfile::Builder::new()
            .prefix("private-sentinel-")
            .tempdir()
            .expect("there is a place for a Sentinel");
        let file = directory.path().join("sentinel.conf");
        let settings = format!("{settings}dir {}\n", directory.path().display());
        std::fs::write(&file, settings).expect("its folder can be written");
        let server = server_command()
            .arg(file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("no Sentinel can be started: {error}. {INSTALL}"));
        let mut running = Running::guard(server, directory.path());
        let url = format!("redis://127.0.0.1:{port}");
        let start = Instant::now();
        while connect(&url).is_err() {
            let ended = running.server.try_wait().is_ok_and(|status| status.is_some());
            if ended || start.elapsed() > START_LIMIT {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self { url, port, _running: running, _directory: directory })
    }

    fn cli(&self, command: &[&str]) -> String {
        let mut connection = connect(&self.url).expect("the Sentinel is there");
        text(&answer(&mut connection, command))
    }

    /// Whether it knows the replica and the other Sentinels.
    fn knows_all(&self) -> bool {
        let known = self.cli(&["SENTINEL", "MASTER", MASTER]);
        let lines: Vec<_> = known.lines().collect();
        let field = |name: &str| {
            lines.iter().position(|line| *line == name).and_then(|at| lines.get(at + 1).copied())
        };
        let others = (SENTINELS - 1).to_string();
        field("num-slaves") == Some("1") && field("num-other-sentinels") == Some(&others)
    }
}
