//! event-store-svc: `eventstore.v1` on Redis Streams.
//!
//! `grpc` checks requests and answers them, `store` is the engine behind a trait, `model` what they
//! speak of. [`run`] is the service; `main` and the tests call it alike.

pub mod config;
pub mod error;
pub mod figures;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grpc;
pub mod model;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use svc_front::{Checked, Front, Given, Package, Service};
use svc_runtime::serve::ServeOptions;
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::figures::Figures;
use crate::store::Sweep;
use crate::store::redis::RedisStore;

/// How often retention is looked after.
const SWEEP: Duration = Duration::from_secs(2);

/// This service, to those that observe it.
pub const SERVICE: Service =
    Service { name: "event-store-svc", version: env!("CARGO_PKG_VERSION") };

const PACKAGE: Package = Package {
    name: "eventstore.v1",
    services: &grpc::SERVICES,
    descriptors: proto::eventstore::v1::FILE_DESCRIPTOR_SET,
    rights: store::redis::rights::RIGHTS,
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
    let figures = Figures::new(front.metrics());
    let link = front.link().clone();
    let store = Arc::new(RedisStore::new(link, !config.no_auto_create, figures.clone()));
    front.metrics().add_collector(store.topic_gauges());
    front.metrics().add_collector(store.group_gauges());
    let routes = grpc::routes(store.clone(), config.limits(), figures, shutdown.clone());
    let sweeps = tokio::spawn(keep_sweeping(store, shutdown.clone()));
    let options = ServeOptions::from_args(&config.front.runtime);
    let served = front.serve(listener, routes, shutdown, &options).await;
    sweeps.abort();
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

async fn keep_sweeping(store: Arc<RedisStore>, shutdown: Shutdown) {
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shutdown.is_triggered() {
        sweeps.tick().await;
        if let Err(error) = store.sweep().await {
            tracing::debug!(%error, "a sweep failed; the next one follows");
        }
    }
}
