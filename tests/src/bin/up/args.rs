//! Ports and places, each by flag or environment.

use std::path::PathBuf;

use clap::Parser;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};

/// Runs Redis, event-store-svc, message-queue-svc and the whole shop here until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "up")]
pub struct Args {
    /// Where the data and the logs are kept.
    #[arg(long, env = "DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,

    /// The address that everything but Redis listens on; Redis is for this machine alone.
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    pub bind_address: std::net::IpAddr,

    /// Port of the private Redis.
    #[arg(long, env = "REDIS_PORT", default_value_t = 6390)]
    pub redis_port: u16,

    /// Port of event-store-svc.
    #[arg(long, env = "EVENT_STORE_PORT", default_value_t = 50051)]
    pub event_store_port: u16,

    /// Port of message-queue-svc.
    #[arg(long, env = "MESSAGE_QUEUE_PORT", default_value_t = 50052)]
    pub message_queue_port: u16,

    /// Port of the shop's REST API.
    #[arg(long, env = "GATEWAY_PORT", default_value_t = 5000)]
    pub gateway_port: u16,

    /// First of the ten ports on which the shop's workers tell their health; the default is below
    /// the ports that the kernel gives to outgoing connections.
    #[arg(long, env = "HEALTH_PORT", default_value_t = 15061)]
    pub health_port: u16,

    /// Port for metrics and probes of event-store-svc; the next one is that of message-queue-svc.
    #[arg(long, env = "ADMIN_PORT", default_value_t = 15071)]
    pub admin_port: u16,
}

/// A port, whose it is to be, and what chooses another.
pub struct Wanted {
    pub port: u16,
    pub name: &'static str,
    pub variable: &'static str,
}

impl Args {
    /// All ports that must be free.
    pub fn ports(&self) -> Vec<Wanted> {
        let fixed = [
            (self.redis_port, "Redis", "REDIS_PORT"),
            (self.event_store_port, EVENT_STORE, "EVENT_STORE_PORT"),
            (self.message_queue_port, MESSAGE_QUEUE, "MESSAGE_QUEUE_PORT"),
            (self.gateway_port, GATEWAY, "GATEWAY_PORT"),
        ];
        let admin = (self.admin_port..).zip([EVENT_STORE, MESSAGE_QUEUE]);
        let admin = admin.map(|(port, name)| (port, name, "ADMIN_PORT"));
        let workers =
            (self.health_port..).zip(WORKERS).map(|(port, name)| (port, name, "HEALTH_PORT"));
        fixed
            .into_iter()
            .chain(admin)
            .chain(workers)
            .map(|(port, name, variable)| Wanted { port, name, variable })
            .collect()
    }
}
