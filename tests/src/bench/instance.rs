//! A service by itself, on a Redis of its own: several of them can take turns.

use std::ffi::OsString;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use redis_link::Value;
use redis_link::test_util::PrivateRedis;
use tempfile::TempDir;
use tonic::transport::Channel;

use super::world::started;
use crate::ports::Port;
use crate::process::Process;
use crate::topology::{EVENT_STORE, Places};

/// The service and its Redis.
#[derive(Debug)]
pub struct Instance {
    channels: Vec<Channel>,
    service: Process,
    redis: PrivateRedis,
    _port: Port,
    _logs: TempDir,
}

impl Instance {
    /// Starts an event store and its Redis; clients may use so many connections.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(connections: usize) -> anyhow::Result<Self> {
        Self::start_front(EVENT_STORE, connections, &[]).await
    }

    /// Starts a front service with these arguments and its Redis.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start_front(
        name: &str,
        connections: usize,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let redis = PrivateRedis::start();
        let logs = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let port = Port::reserve()?;
        let places = Places {
            redis_url: redis.url(),
            event_store_url: port.url(),
            message_queue_url: port.url(),
            orphaned: Signal::SIGKILL,
        };
        let mut member = places.front(name, &port.address(), "off")?;
        member.plan.args.extend(arguments.iter().map(OsString::from));
        let service = started(&member, logs.path()).await?;
        let channels = (0..connections)
            .map(|_| Ok(svc_runtime::client::channel(&port.url(), 1)?))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { channels, service, redis, _port: port, _logs: logs })
    }

    /// A stub, over the connection of client `n`.
    #[must_use]
    pub fn store(&self, client: usize) -> EventStoreClient<Channel> {
        EventStoreClient::new(self.channel(client))
    }

    /// The connection of client `n`.
    #[must_use]
    pub fn channel(&self, client: usize) -> Channel {
        self.channels[client % self.channels.len()].clone()
    }

    /// Seconds that the service has computed.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.service.cpu_seconds()
    }

    /// Has it do nothing at all, until [`Instance::thaw`].
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.service.signal(Signal::SIGSTOP)?;
        self.redis.stop_signal();
        Ok(())
    }

    /// Has it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.redis.cont_signal();
        self.service.signal(Signal::SIGCONT)
    }

    /// Bytes of memory that the service has.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.service.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kilobytes.context("no VmRSS")?.trim().parse::<u64>()? * 1024)
    }

    /// How many connections the service has to Redis.
    ///
    /// # Errors
    /// When Redis doesn't tell.
    pub fn redis_connections(&self) -> anyhow::Result<usize> {
        match self.redis.command(&["CLIENT", "LIST"]) {
            // The one that asks is none of the service.
            Value::BulkString(list) => Ok(String::from_utf8(list)?.lines().count() - 1),
            other => bail!("CLIENT LIST answered {other:?}"),
        }
    }

    /// How many channels of Redis the service listens to.
    ///
    /// # Errors
    /// When Redis doesn't tell.
    pub fn listening(&self) -> anyhow::Result<usize> {
        let info = self.redis.cli(&["INFO", "stats"]);
        let channels = info.lines().find_map(|line| line.strip_prefix("pubsub_channels:"));
        Ok(channels.context("no pubsub_channels")?.trim().parse()?)
    }
}

/// Two that take turns: while one is measured the other one does nothing.
#[derive(Debug)]
pub struct Twins(pub [Instance; 2]);

impl Twins {
    /// Gives one of them the turn.
    ///
    /// # Errors
    /// When one is gone.
    pub fn turn(&self, side: usize) -> anyhow::Result<()> {
        self.0[1 - side].freeze()?;
        self.0[side].thaw()
    }

    /// Lets both go on.
    ///
    /// # Errors
    /// When one is gone.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.0.iter().try_for_each(Instance::thaw)
    }
}
