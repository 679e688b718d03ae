//! event-store-svc: `eventstore.v1` on Redis Streams.
//!
//! `grpc` checks requests and answers them, `store` is the engine behind a trait, `model` what they
//! speak of. [`run`] is the service; `main` and the tests call it alike.

pub mod config;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grpc;
pub mod model;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use redis_link::Link;
use svc_runtime::health::Readiness;
use svc_runtime::serve::{ServeOptions, reflection, serve_grpc};
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::store::Sweep;
use crate::store::redis::RedisStore;

/// How often retention is looked after.
const SWEEP: Duration = Duration::from_secs(2);

/// Serves until the shutdown.
///
/// # Errors
/// When the configuration cannot be used or serving fails. Redis need not be there yet.
pub async fn run(config: Config, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    let link = Link::start(&config.redis)?;
    let store = Arc::new(RedisStore::new(link.clone(), !config.no_auto_create));
    let (readiness, health) = Readiness::new(&grpc::SERVICES);
    let mut routes = grpc::routes(store.clone(), config.limits(), shutdown.clone());
    routes.add_service(health).add_service(reflection(proto::eventstore::v1::FILE_DESCRIPTOR_SET)?);

    let follow = tokio::spawn(follow_redis(link, readiness.clone(), shutdown.clone()));
    let sweeps = tokio::spawn(keep_sweeping(store, shutdown.clone()));
    let options = ServeOptions::from_args(&config.runtime);
    let served = serve_grpc(listener, routes.routes(), readiness, shutdown, &options).await;
    follow.abort();
    sweeps.abort();
    Ok(served?)
}

/// Ready means that Redis can be asked.
async fn follow_redis(link: Link, readiness: Readiness, shutdown: Shutdown) {
    let mut ready = link.ready();
    while !shutdown.is_triggered() {
        let now = *ready.borrow_and_update();
        readiness.set(now && !shutdown.is_triggered());
        if ready.changed().await.is_err() {
            return;
        }
    }
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
