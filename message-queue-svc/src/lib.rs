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

use redis_link::Link;
use svc_runtime::health::Readiness;
use svc_runtime::serve::{ServeOptions, reflection, serve_grpc};
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::queue::redis::RedisEngine;

/// How long the engine has for its last writes once all calls have ended.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Serves until the shutdown.
///
/// # Errors
/// When the configuration cannot be used or serving fails. Redis need not be there yet.
pub async fn run(config: Config, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    let link = Link::start(&config.redis)?;
    let engine = RedisEngine::start(link.clone(), !config.no_auto_create);
    let (readiness, health) = Readiness::new(&grpc::SERVICES);
    let mut routes = grpc::routes(engine.clone(), config.limits(), &shutdown);
    routes
        .add_service(health)
        .add_service(reflection(proto::messagequeue::v1::FILE_DESCRIPTOR_SET)?);

    let follow = tokio::spawn(follow_redis(link, readiness.clone(), shutdown.clone()));
    let mut options = ServeOptions::from_args(&config.runtime);
    options.shutdown_timeout = options.shutdown_timeout.saturating_sub(CLOSE_LIMIT);
    options.max_concurrent_streams = config.max_concurrent_streams;
    let served = serve_grpc(listener, routes.routes(), readiness, shutdown, &options).await;
    follow.abort();
    if tokio::time::timeout(CLOSE_LIMIT, engine.close()).await.is_err() {
        tracing::warn!("leases could not be given back in time; they will expire");
    }
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
