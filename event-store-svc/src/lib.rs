//! event-store-svc: `eventstore.v1` on Redis Streams.
//!
//! `grpc` checks requests and answers them, `store` is the engine behind a trait, `model` what they
//! speak of. [`Config`] is all of it as a program: `main` and the tests run that alike.

pub mod config;
pub mod error;
pub mod figures;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod grpc;
pub mod model;
pub mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use svc_front::{Front, FrontArgs, Package, Program, Service};
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

impl Program for Config {
    const SERVICE: Service =
        Service { name: "event-store-svc", version: env!("CARGO_PKG_VERSION") };

    const PACKAGE: Package = Package {
        name: "eventstore.v1",
        services: &grpc::SERVICES,
        descriptors: proto::eventstore::v1::FILE_DESCRIPTOR_SET,
        rights: store::redis::rights::RIGHTS,
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
        let figures = Figures::new(front.metrics());
        let link = front.link().clone();
        let store = Arc::new(RedisStore::new(link, !self.no_auto_create, figures.clone()));
        front.metrics().add_collector(store.topic_gauges());
        front.metrics().add_collector(store.group_gauges());
        let routes = grpc::routes(store.clone(), self.limits(), figures, shutdown.clone());
        let sweeps = tokio::spawn(keep_sweeping(store, shutdown.clone()));
        let options = ServeOptions::from_args(&self.front.runtime);
        let served = front.serve(listener, routes, shutdown, &options).await;
        sweeps.abort();
        served
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
