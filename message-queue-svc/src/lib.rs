//! message-queue-svc: `messagequeue.v1` on Redis Lists.
//!
//! `grpc` checks requests and answers them, `queue` is the engine behind a trait, `model` what they
//! speak of. [`run`] is the service; `main` and the tests call it alike.

pub mod config;
pub mod error;
pub mod grpc;
pub mod model;
pub mod queue;

use std::time::Duration;

use svc_front::{Checked, Front, Given, Package, Service};
use svc_runtime::serve::ServeOptions;
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::queue::redis::RedisEngine;

/// How long the engine has for its last writes once all calls have ended.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// This service, to those that observe it.
pub const SERVICE: Service =
    Service { name: "message-queue-svc", version: env!("CARGO_PKG_VERSION") };

const PACKAGE: Package = Package {
    name: "messagequeue.v1",
    services: &grpc::SERVICES,
    descriptors: proto::messagequeue::v1::FILE_DESCRIPTOR_SET,
    rights: queue::redis::rights::RIGHTS,
};

/// `--check`: checks the configuration, with all that it names and Redis, and says what it found.
pub async fn check(config: &Config, given: &Given) -> Checked {
    svc_front::check(given, &config.front, &PACKAGE).await
}

/// Checks the configuration, with all that it names, and makes what the service runs in.
///
/// # Errors
/// When the configuration cannot be used. Redis need not be there yet.
pub async fn start(config: &Config) -> anyhow::Result<Front> {
    Front::start(SERVICE, PACKAGE, &config.front).await
}

/// Serves until the shutdown.
///
/// # Errors
/// When serving fails.
pub async fn serve(
    config: &Config,
    front: Front,
    listener: TcpListener,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let metrics = front.metrics();
    let engine = RedisEngine::start(front.link().clone(), metrics.clone(), !config.no_auto_create);
    metrics.add_collector(engine.gauges(config.front.observe.max_names()));
    let routes = grpc::routes(engine.clone(), config.limits(), &shutdown);
    let mut options = ServeOptions::from_args(&config.front.runtime);
    options.shutdown_timeout = options.shutdown_timeout.saturating_sub(CLOSE_LIMIT);
    options.max_concurrent_streams = config.max_concurrent_streams;
    let served = front.serve(listener, routes, shutdown, &options).await;
    if tokio::time::timeout(CLOSE_LIMIT, engine.close()).await.is_err() {
        tracing::warn!("leases could not be given back in time; they will expire");
    }
    served
}

/// The service on a port, from its start to its end.
///
/// # Errors
/// As for [`start`] and [`serve`].
pub async fn run(config: Config, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    let front = start(&config).await?;
    serve(&config, front, listener, shutdown).await
}
