//! All around the handlers: made of the flags before anything is bound, then served.

use anyhow::anyhow;
use redis_link::{Link, Rights};
use svc_observe::Service;
use svc_observe::admin::{self, Admin};
use svc_observe::metrics::Metrics;
use svc_observe::rpc::{Measure, ObserveLayer, ServerTrace};
use svc_observe::trace;
use svc_runtime::health::Readiness;
use svc_runtime::serve::{ServeOptions, reflection, serve_with};
use svc_runtime::shutdown::Shutdown;
use svc_security::Security;
use tokio::net::TcpListener;
use tonic::service::RoutesBuilder;
use tower::layer::util::Stack;

use crate::FrontArgs;
use crate::collect::{Guarded, RedisServer};

/// What a service serves.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// The package of its protos, the domain of its errors: `eventstore.v1`.
    pub name: &'static str,
    /// Its services, for health.
    pub services: &'static [&'static str],
    /// Its encoded `FileDescriptorSet`.
    pub descriptors: &'static [u8],
    /// What its user at Redis has to be allowed to do.
    pub rights: Rights,
}

/// A service in front of Redis, without its handlers.
#[derive(Debug)]
pub struct Front {
    package: Package,
    link: Link,
    security: Security,
    metrics: Metrics,
    admin: Option<TcpListener>,
}

impl Front {
    /// What the flags say, checked whole: every file that they name is read. Redis need not be
    /// there yet.
    ///
    /// # Errors
    /// What is wrong with the flags and files, or the admin port cannot be had.
    pub async fn start(
        service: Service,
        package: Package,
        args: &FrontArgs,
    ) -> anyhow::Result<Self> {
        let (security, wrong) = checked(args, package.name).await;
        let security = security.filter(|_| wrong.is_empty());
        let security = security.ok_or_else(|| anyhow!(wrong.join("\n")))?;
        // Before the link: handles that are taken earlier record nothing.
        let metrics = Metrics::install(service, args.observe.max_names())?;
        let link = Link::start_with(&args.redis, package.rights)?;
        metrics.add_collector(Guarded(security.clone()));
        metrics.add_collector(RedisServer(link.clone()));
        let admin = admin::bind(args.observe.admin_listen).await?;
        Ok(Self { package, link, security, metrics, admin })
    }

    /// Redis.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Where to count, and where to add gauges.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves the handlers until the shutdown.
    ///
    /// # Errors
    /// When serving fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        mut routes: RoutesBuilder,
        shutdown: Shutdown,
        options: &ServeOptions,
    ) -> anyhow::Result<()> {
        let Self { package, link, security, metrics, admin } = self;
        let (readiness, health) = Readiness::new(package.services);
        routes.add_service(health);
        if security.reflection() {
            routes.add_service(reflection(package.descriptors)?);
        }
        let descriptors = [package.descriptors];
        let spans = trace::spans();
        let traced = spans.are_on().then(|| ServerTrace::new(spans, &descriptors)).transpose()?;
        let observe = ObserveLayer((Measure::new(&descriptors)?, traced));
        // The second is around the first: also what is refused is measured.
        let layers = Stack::new(security.layer(), observe);

        let admin =
            admin.map(|listener| Admin::serve(listener, metrics.clone(), readiness.clone()));
        let follow = tokio::spawn(follow_redis(link, readiness.clone(), shutdown.clone()));
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, tls = security.is_tls(), "serving grpc");
        }
        let connections = |cut| security.connections(listener, cut);
        let served =
            serve_with(connections, layers, routes.routes(), readiness, shutdown, options).await;
        follow.abort();
        if let Some(admin) = admin {
            admin.stop().await;
        }
        Ok(served?)
    }
}

/// What guards the service, and everything that is wrong with flags and files, one a line.
pub(crate) async fn checked(
    args: &FrontArgs,
    domain: &'static str,
) -> (Option<Security>, Vec<String>) {
    let mut wrong: Vec<String> = args.redis.problems().iter().map(ToString::to_string).collect();
    let security = match Security::start(&args.security, domain).await {
        Ok(security) => Some(security),
        Err(error) => {
            wrong.extend(error.problems.iter().map(ToString::to_string));
            None
        }
    };
    let runtime = &args.runtime;
    if !runtime.shutdown_delay.is_zero() && runtime.shutdown_delay >= runtime.shutdown_timeout {
        wrong.push(format!(
            "--shutdown-delay: is part of --shutdown-timeout ({:?}): has to be shorter",
            runtime.shutdown_timeout
        ));
    }
    (security, wrong)
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
