//! message-queue-svc: `messagequeue.v1` on Redis Lists.
//!
//! `grpc` checks requests and answers them, `queue` is the engine behind a trait, `model` what they
//! speak of. [`Config`] is all of it as a program: `main` and the tests run that alike.

pub mod config;
pub mod error;
pub mod grpc;
pub mod model;
pub mod queue;

use std::net::SocketAddr;
use std::time::Duration;

use svc_front::{Front, FrontArgs, Package, Program, Service};
use svc_runtime::serve::ServeOptions;
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::queue::redis::RedisEngine;

/// How long the engine has for its last writes once all calls have ended.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

impl Program for Config {
    const SERVICE: Service =
        Service { name: "message-queue-svc", version: env!("CARGO_PKG_VERSION") };

    const PACKAGE: Package = Package {
        name: "messagequeue.v1",
        services: &grpc::SERVICES,
        descriptors: proto::messagequeue::v1::FILE_DESCRIPTOR_SET,
        rights: queue::redis::rights::RIGHTS,
    };

    fn front(&self) -> &FrontArgs {
        &self.front
    }

    fn listen(&self) -> SocketAddr {
        self.listen
    }

    async fn serve(
        &self,
        front: Front,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let metrics = front.metrics();
        let engine =
            RedisEngine::start(front.link().clone(), metrics.clone(), !self.no_auto_create);
        metrics.add_collector(engine.gauges(self.front.observe.max_names()));
        let routes = grpc::routes(engine.clone(), self.limits(), &shutdown);
        let mut options = ServeOptions::from_args(&self.front.runtime);
        options.shutdown_timeout = options.shutdown_timeout.saturating_sub(CLOSE_LIMIT);
        options.max_concurrent_streams = self.max_concurrent_streams;
        let served = front.serve(listener, routes, shutdown, &options).await;
        if tokio::time::timeout(CLOSE_LIMIT, engine.close()).await.is_err() {
            tracing::warn!("leases could not be given back in time; they will expire");
        }
        served
    }
}
