//! Which programs make up the system, and how each is told where the others are.

use std::ffi::OsString;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::health::Probe;
use crate::process::Plan;
use crate::programs;

/// The shop's services that work off queues and events, in the order they are listed.
pub const WORKERS: [&str; 10] = [
    "customer-service",
    "product-service",
    "inventory-service",
    "cart-service",
    "order-service",
    "billing-service",
    "shipping-service",
    "crm-service",
    "mail-service",
    "read-model",
];

/// What serves the shop's REST API.
pub const GATEWAY: &str = "api-gateway";

/// The two services that everything is built on.
pub const EVENT_STORE: &str = "event-store-svc";
/// See [`EVENT_STORE`].
pub const MESSAGE_QUEUE: &str = "message-queue-svc";

/// Where the programs of one system are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `redis://…`.
    pub redis_url: String,
    /// `http://…` of event-store-svc, as its clients reach it.
    pub event_store_url: String,
    /// `http://…` of message-queue-svc, as its clients reach it.
    pub message_queue_url: String,
    /// What the programs get when whoever started them is gone.
    pub orphaned: Signal,
}

/// A program, how it is started and how it tells that it is ready.
#[derive(Clone, Debug)]
pub struct Member {
    /// How to start it.
    pub plan: Plan,
    /// How to ask it.
    pub probe: Probe,
}

impl Places {
    /// One of the two front services, on `listen` (`host:port`), with its admin port on `admin`.
    ///
    /// # Errors
    /// When it was not built.
    pub fn front(&self, name: &str, listen: &str, admin: &str) -> anyhow::Result<Member> {
        let args = ["--listen", listen, "--redis-url", &self.redis_url, "--admin-listen", admin];
        Ok(Member { plan: self.plan(name, &args)?, probe: Probe::Grpc(listen.to_owned()) })
    }

    /// One of the shop's [`WORKERS`], telling its health on `listen`.
    ///
    /// # Errors
    /// When it was not built.
    pub fn worker(&self, name: &str, listen: &str) -> anyhow::Result<Member> {
        Ok(Member {
            plan: self.shop(name, "--health-listen", listen)?,
            probe: Probe::Grpc(listen.to_owned()),
        })
    }

    /// The [`GATEWAY`], on `listen`; it asks these workers for their health.
    ///
    /// # Errors
    /// When it was not built.
    pub fn gateway(&self, listen: &str, workers: &[(&str, String)]) -> anyhow::Result<Member> {
        let mut plan = self.shop(GATEWAY, "--listen", listen)?;
        for (name, health) in workers {
            plan.args.push("--health-of".into());
            plan.args.push(format!("{name}=http://{health}").into());
        }
        Ok(Member { plan, probe: Probe::Http(listen.to_owned()) })
    }

    fn shop(&self, name: &str, listen_flag: &str, listen: &str) -> anyhow::Result<Plan> {
        let (store, queue) = (&self.event_store_url, &self.message_queue_url);
        let urls = ["--event-store-url", store, "--message-queue-url", queue];
        self.plan(name, &[&urls[..], &[listen_flag, listen]].concat())
    }

    fn plan(&self, name: &str, args: &[&str]) -> anyhow::Result<Plan> {
        Ok(Plan {
            name: name.to_owned(),
            program: programs::program(name)?,
            args: args.iter().map(OsString::from).collect(),
            orphaned: self.orphaned,
        })
    }
}

/// A Redis or Valkey server: the one in `REDIS_SERVER_BIN`, else what is on the path.
#[must_use]
pub fn redis_server() -> PathBuf {
    if let Some(named) = std::env::var_os("REDIS_SERVER_BIN") {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| program.is_file())
        .unwrap_or_else(|| PathBuf::from("redis-server"))
}
