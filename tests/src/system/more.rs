//! More of a system: the shop with arguments of the test's choice, replicas side by side, logs.

use std::process::ExitStatus;

use anyhow::Context as _;
use redis_link::test_util::PrivateRedis;
use tokio::time::timeout;

use super::{Running, STOP_LIMIT, System};
use crate::ports::Port;
use crate::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};

impl System {
    /// Everything, with more arguments for some of the programs.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn shop_with(arguments: &[(&str, &[&str])]) -> anyhow::Result<Self> {
        let fronts = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY];
        let all: Vec<&str> = fronts.into_iter().chain(WORKERS).collect();
        Self::with_arguments(PrivateRedis::start_durable(), &all, arguments).await
    }

    /// Everything, with front services that speak TLS as `localhost`: which certificates and tokens
    /// there are is for `arguments` to say.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn shop_over_tls(arguments: &[(&str, &[&str])]) -> anyhow::Result<Self> {
        let fronts = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY];
        let all: Vec<&str> = fronts.into_iter().chain(WORKERS).collect();
        let redis = PrivateRedis::start_durable();
        Self::assemble(redis, &all, arguments, "https://localhost").await
    }

    /// Where the shop reaches a front service.
    ///
    /// # Errors
    /// When the program is none.
    pub fn front_url(&self, name: &str) -> anyhow::Result<&str> {
        match name {
            EVENT_STORE => Ok(&self.places.event_store_url),
            MESSAGE_QUEUE => Ok(&self.places.message_queue_url),
            _ => anyhow::bail!("{name} is no front service"),
        }
    }

    /// Metrics of a front service that has an admin port, as Prometheus reads them.
    ///
    /// # Errors
    /// When there are none.
    pub async fn metrics(&self, name: &str) -> anyhow::Result<String> {
        let port = self.admin_ports.get(name).context("it has no admin port")?;
        let response = reqwest::get(format!("{}/metrics", port.url())).await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// Starts another replica of a worker, and answers what it is called here.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn add_replica(&mut self, of: &str) -> anyhow::Result<String> {
        let replicas = self.members.keys().filter(|name| name.starts_with(of)).count();
        let name = format!("{of}.{}", replicas + 1);
        let port = Port::reserve()?;
        let mut member = self.places.worker(of, &port.address())?;
        member.plan.name.clone_from(&name);
        self.ports.insert(name.clone(), port);
        self.members.insert(name.clone(), Running { member, process: None });
        self.start(&name).await?;
        Ok(name)
    }

    /// Waits for the end of a program that was told to stop.
    ///
    /// # Errors
    /// When it doesn't run, or has not ended within [`STOP_LIMIT`].
    pub async fn ended(&mut self, name: &str) -> anyhow::Result<ExitStatus> {
        let mut process = self.take(name)?;
        timeout(STOP_LIMIT, process.ended()).await.context("it did not stop in time")?
    }

    /// Everything that a program has logged.
    ///
    /// # Errors
    /// When there is no log of that name.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        let log = self.logs.path().join(format!("{name}.log"));
        std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))
    }

    /// The process id of a program.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn pid(&self, name: &str) -> anyhow::Result<i32> {
        let running = self.members.get(name).context("no such program")?;
        Ok(running.process.as_ref().context("it was not started")?.pid())
    }
}
