//! What is measured: both services and the echo as processes of their own, on one private Redis.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use proto::eventstore::v1::consumer_groups_client::ConsumerGroupsClient;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use redis_link::test_util::PrivateRedis;
use redis_link::{Link, cmd, values};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::echo::v1::bare_client::BareClient;
use super::echo::v1::echo_client::EchoClient;
use super::processor::Scripts;
use super::raw;
use crate::health::Probe;
use crate::ports::Port;
use crate::process::{self, Plan, Process};
use crate::topology::{EVENT_STORE, MESSAGE_QUEUE, Member, Places};
use crate::{programs, watch};

/// Connections that unary load is spread over: one connection is one task on either side.
const CHANNELS: usize = 4;

const READY_LIMIT: Duration = Duration::from_secs(20);

/// Everything that a row may use.
#[derive(Debug)]
pub struct World {
    /// One multiplexed connection to Redis.
    pub raw: Link,
    store: Vec<Channel>,
    queue: Vec<Channel>,
    echo: Vec<Channel>,
    bare: Vec<Channel>,
    processes: Vec<Process>,
    redis: PrivateRedis,
    _ports: Vec<Port>,
    _logs: TempDir,
}

impl World {
    /// Starts it all. Redis keeps everything in memory: no append-only file, no snapshots.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn start() -> anyhow::Result<Self> {
        let redis = PrivateRedis::start();
        let logs = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let ports = [Port::reserve()?, Port::reserve()?, Port::reserve()?, Port::reserve()?];
        let places = Places {
            redis_url: redis.url(),
            event_store_url: ports[0].url(),
            message_queue_url: ports[1].url(),
            orphaned: Signal::SIGKILL,
        };
        let members = [
            places.front(EVENT_STORE, &ports[0].address(), "off")?,
            places.front(MESSAGE_QUEUE, &ports[1].address(), "off")?,
            limit("echo", &ports[2].address(), &[])?,
            limit("bare", &ports[3].address(), &["--redis-url", &redis.url()])?,
        ];
        let mut processes = Vec::new();
        for member in members {
            processes.push(started(&member, logs.path()).await?);
        }
        Ok(Self {
            raw: raw::connect(&redis.url()).await?,
            store: channels(&ports[0])?,
            queue: channels(&ports[1])?,
            echo: channels(&ports[2])?,
            bare: channels(&ports[3])?,
            processes,
            redis,
            _ports: ports.into(),
            _logs: logs,
        })
    }

    /// A stub of the event store, over the channel of worker `n`.
    #[must_use]
    pub fn store(&self, worker: usize) -> EventStoreClient<Channel> {
        EventStoreClient::new(self.store[worker % CHANNELS].clone())
    }

    /// A stub of the event store's groups, over the channel of worker `n`.
    #[must_use]
    pub fn groups(&self, worker: usize) -> ConsumerGroupsClient<Channel> {
        ConsumerGroupsClient::new(self.store[worker % CHANNELS].clone())
    }

    /// A stub of the message queue, over the channel of worker `n`.
    #[must_use]
    pub fn queue(&self, worker: usize) -> MessageQueueClient<Channel> {
        MessageQueueClient::new(self.queue[worker % CHANNELS].clone())
    }

    /// A stub of the echo, over the channel of worker `n`.
    #[must_use]
    pub fn echo(&self, worker: usize) -> EchoClient<Channel> {
        EchoClient::new(self.echo[worker % CHANNELS].clone())
    }

    /// A stub of the bare service, over the channel of worker `n`.
    #[must_use]
    pub fn bare(&self, worker: usize) -> BareClient<Channel> {
        BareClient::new(self.bare[worker % CHANNELS].clone())
    }

    /// The scripts that Redis has run.
    ///
    /// # Errors
    /// When Redis doesn't tell.
    pub async fn scripts(&self) -> anyhow::Result<Scripts> {
        let mut info = cmd("INFO");
        info.arg("commandstats");
        Scripts::of(&values::text(self.raw.query(&info).await?)?)
    }

    /// Seconds that each process has computed, the load first.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn cpu_seconds(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let load = ("load".to_owned(), i32::try_from(std::process::id())?);
        let redis = ("redis".to_owned(), self.redis.pid());
        let served = self.processes.iter().map(|p| (p.name().to_owned(), p.pid()));
        let all = [load].into_iter().chain(served).chain([redis]);
        all.map(|(name, pid)| Ok((name, process::cpu_seconds(pid)?))).collect()
    }
}

/// Starts a program and waits until it is ready.
///
/// # Errors
/// When it can't be started, or ends.
pub async fn started(member: &Member, logs: &Path) -> anyhow::Result<Process> {
    let mut process = Process::start(&member.plan, logs)?;
    let name = process.name().to_owned();
    tokio::select! {
        ready = watch::until(&name, READY_LIMIT, || member.probe.check()) => ready?,
        status = process.ended() => anyhow::bail!("{name} ended ({})", status?),
    }
    Ok(process)
}

fn channels(port: &Port) -> anyhow::Result<Vec<Channel>> {
    (0..CHANNELS).map(|_| Ok(svc_runtime::client::channel(&port.url(), 1)?)).collect()
}

/// A limit is part of this program, as a process of its own.
fn limit(name: &str, listen: &str, arguments: &[&str]) -> anyhow::Result<Member> {
    let program: PathBuf = programs::program("bench").context("the limits are part of bench")?;
    let serve = [format!("--serve-{name}"), listen.to_owned()];
    Ok(Member {
        plan: Plan {
            name: name.to_owned(),
            program,
            args: serve
                .iter()
                .map(String::as_str)
                .chain(arguments.iter().copied())
                .map(Into::into)
                .collect(),
            orphaned: Signal::SIGKILL,
        },
        probe: Probe::Grpc(listen.to_owned()),
    })
}
