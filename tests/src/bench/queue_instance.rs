//! A message queue by itself, on a Redis of its own: what it costs can be told apart.

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::queues_client::QueuesClient;
use redis_link::Value;
use redis_link::test_util::PrivateRedis;
use tempfile::TempDir;
use tonic::transport::Channel;

use super::world::started;
use crate::ports::Port;
use crate::process::Process;
use crate::topology::{MESSAGE_QUEUE, Places};

/// The service and its Redis.
#[derive(Debug)]
pub struct QueueInstance {
    channels: Vec<Channel>,
    service: Process,
    redis: PrivateRedis,
    _port: Port,
    _logs: TempDir,
}

impl QueueInstance {
    /// Starts both; clients may use so many connections.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(connections: usize) -> anyhow::Result<Self> {
        let redis = PrivateRedis::start();
        let logs = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let port = Port::reserve()?;
        let places = Places {
            redis_url: redis.url(),
            event_store_url: String::new(),
            message_queue_url: port.url(),
            orphaned: Signal::SIGKILL,
        };
        let service =
            started(&places.front(MESSAGE_QUEUE, &port.address(), "off")?, logs.path()).await?;
        let channels = (0..connections)
            .map(|_| Ok(svc_runtime::client::channel(&port.url(), 1)?))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { channels, service, redis, _port: port, _logs: logs })
    }

    /// A stub, over the connection of client `n`.
    #[must_use]
    pub fn queue(&self, client: usize) -> MessageQueueClient<Channel> {
        MessageQueueClient::new(self.channels[client % self.channels.len()].clone())
    }

    /// A stub for queues as a whole.
    #[must_use]
    pub fn queues(&self) -> QueuesClient<Channel> {
        QueuesClient::new(self.channels[0].clone())
    }

    /// Seconds that the service has computed.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.service.cpu_seconds()
    }

    /// How many channels the service listens to.
    ///
    /// # Errors
    /// When Redis doesn't tell.
    pub fn listening(&self) -> anyhow::Result<usize> {
        let info = self.redis.cli(&["INFO", "stats"]);
        let channels = info.lines().find_map(|line| line.strip_prefix("pubsub_channels:"));
        Ok(channels.context("no pubsub_channels")?.trim().parse()?)
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
}
