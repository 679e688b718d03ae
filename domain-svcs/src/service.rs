//! What a service of the shop is built with. A service takes commands from its
//! queue, reacts to events, keeps projections, or all of these:
//!
//! ```no_run
//! # use domain_svcs::service::{Commands, Events, Service};
//! async fn run<C: Commands, E: Events>(mut service: Service, c: C, e: E) -> anyhow::Result<()> {
//!     service.commands(c);
//!     service.events("order", e);
//!     service.run().await
//! }
//! ```
//!
//! Everything delivers at least once. What makes effects happen once is in
//! [`Cause`]: ids of events and entities are derived from what caused them, so
//! doing a thing again is recognised ([`EventLog::append`]).

mod cause;
mod clients;
mod command;
mod consume;
mod event;
mod event_log;
mod events;
mod failure;
mod position;
mod projection;
mod remote;
mod setup;
mod snapshot;
mod trace;
mod up;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use svc_observe::args::TraceArgs;
use svc_observe::telemetry;
use svc_runtime::config::RuntimeArgs;
use svc_runtime::health::Readiness;
use svc_runtime::serve::{ServeOptions, serve_grpc};
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::service::Routes;

pub(crate) use cause::{COMMAND_ID, seconds};
pub use cause::{Cause, derive_id};
pub(crate) use clients::channel;
pub use clients::{Channel, Clients, ServicesArgs};
pub use command::{Command, Commands, QueueOptions, Reply, unknown};
pub(crate) use event::head;
pub use event::{Appended, Expect, Head, NewEvent};
pub use event_log::EventLog;
pub(crate) use event_log::parse_state;
pub use events::Events;
pub use failure::{DOMAIN, Failure};
pub use position::{Position, Positions};
pub use projection::{From, Progress, Projection, Reader, project};
pub(crate) use remote::message;
pub use remote::{RemoteError, call, reply_value};
pub use snapshot::{Items, Snapshots};
pub(crate) use trace::{Through, sending};
pub use up::Up;

/// The flags of a service of the shop.
#[derive(Clone, Debug, Parser)]
#[command(version, about = "A service of OrderShop", long_about = None)]
pub struct Args {
    /// Where the two services are.
    #[command(flatten)]
    pub services: ServicesArgs,

    /// Where to serve grpc.health.v1 (ready: connected to both services and
    /// consuming), as in 127.0.0.1:6001. Without it no port is opened.
    #[arg(long, env = "HEALTH_LISTEN")]
    pub health_listen: Option<std::net::SocketAddr>,

    /// Commands, and events of each topic, that are handled at once.
    #[arg(long, env = "CONCURRENCY", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: u32,

    /// Events after which a service that keeps its state in memory saves a snapshot
    /// of it, at the earliest.
    #[arg(long, env = "SNAPSHOT_EVERY", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_every: u64,

    /// What every program has.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// The flags of every program of the shop.
#[derive(clap::Args, Clone, Debug)]
pub struct ProcessArgs {
    /// Logs and shutdown.
    #[command(flatten)]
    pub runtime: RuntimeArgs,

    /// Traces.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// The `main` of a service: flags, logs, signals, and an exit code.
pub async fn main<A, B, F>(name: &'static str, process: fn(&A) -> &ProcessArgs, run: B) -> ExitCode
where
    A: Parser,
    B: FnOnce(A, Shutdown) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let args = A::parse();
    let ProcessArgs { runtime, trace } = process(&args);
    let service = svc_observe::Service { name, version: env!("CARGO_PKG_VERSION") };
    let telemetry = match telemetry::init(service, runtime, trace) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "there is no log yet")]
            {
                eprintln!("{name}: {error}");
            }
            return ExitCode::FAILURE;
        }
    };
    let ended = match Shutdown::on_signals() {
        Ok(shutdown) => run(args, shutdown).await,
        Err(error) => Err(error.into()),
    };
    let code = match ended {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed");
            ExitCode::FAILURE
        }
    };
    telemetry.finish().await;
    code
}

/// The `main` of a worker: a service without a port of its own.
pub async fn worker<B, F>(name: &'static str, assemble: B) -> ExitCode
where
    B: FnOnce(Service) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    main(
        name,
        |args: &Args| &args.process,
        async |args: Args, shutdown| assemble(Service::start(name, &args, shutdown)?).await,
    )
    .await
}

/// A service that is being put together and then run.
#[derive(Debug)]
pub struct Service {
    clients: Clients,
    shutdown: Shutdown,
    concurrency: u32,
    snapshot_every: u64,
    health_listen: Option<std::net::SocketAddr>,
    options: ServeOptions,
    up: up::Health,
    health: tonic_health::pb::health_server::HealthServer<svc_runtime::health::HealthService>,
    readiness: Readiness,
    parts: JoinSet<()>,
}

impl Service {
    /// A service with nothing to do yet.
    ///
    /// # Errors
    /// As [`Clients::new`].
    pub fn start(name: &'static str, args: &Args, shutdown: Shutdown) -> anyhow::Result<Self> {
        let (readiness, health) = Readiness::new(&[]);
        Ok(Self {
            clients: Clients::new(name, &args.services)?,
            shutdown,
            concurrency: args.concurrency,
            snapshot_every: args.snapshot_every,
            health_listen: args.health_listen,
            options: ServeOptions::from_args(&args.process.runtime),
            up: up::Health::new(readiness.clone()),
            health,
            readiness,
            parts: JoinSet::new(),
        })
    }

    /// The clients of both services.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Handles the commands of the queue that has this service's name.
    pub fn commands<C: Commands>(&mut self, handler: C) {
        self.commands_with(QueueOptions::at_once(self.concurrency), handler);
    }

    /// The same with a queue that is worked off otherwise.
    pub fn commands_with<C: Commands>(&mut self, options: QueueOptions, handler: C) {
        let worker = command::worker(
            self.clients.clone(),
            options,
            handler,
            self.up.part(),
            self.shutdown.clone(),
        );
        self.parts.spawn(worker);
    }

    /// Handles each event of a topic, shared with all replicas of this service:
    /// a consumer group of the service's name.
    pub fn events<E: Events>(&mut self, topic: &'static str, handler: E) {
        let processor = events::processor(
            self.clients.clone(),
            topic,
            self.concurrency,
            handler,
            self.up.part(),
            self.shutdown.clone(),
        );
        self.parts.spawn(processor);
    }

    /// Keeps a projection of topics: every replica sees every event.
    pub fn project<P: Projection>(
        &mut self,
        topics: Vec<&'static str>,
        projection: P,
    ) -> Reader<P> {
        let (reader, task) = project(
            self.clients.event_store.clone(),
            topics,
            From::Beginning,
            projection,
            self.up.part(),
            self.shutdown.clone(),
        );
        self.parts.spawn(task);
        reader
    }

    /// The same for a projection that can be kept: it starts from its newest
    /// snapshot and reads what followed.
    pub fn project_kept<P: Snapshots>(
        &mut self,
        topics: Vec<&'static str>,
        projection: P,
    ) -> Reader<P> {
        let (reader, task) = projection::project_kept(
            &self.clients,
            topics,
            self.snapshot_every,
            projection,
            self.up.part(),
            self.shutdown.clone(),
        );
        self.parts.spawn(task);
        reader
    }

    /// Creates a topic that remembers event ids for as long as it can.
    pub fn owns_topic(&mut self, topic: &'static str) {
        let (clients, shutdown) = (self.clients.clone(), self.shutdown.clone());
        self.parts.spawn(async move { setup::topic(&clients, topic, &shutdown).await });
    }

    /// Runs until the shutdown, and until everything that was begun is done.
    ///
    /// # Errors
    /// When the health port cannot be had, or a part of the service broke.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let stop = self.shutdown.clone();
        if let Some(address) = self.health_listen {
            use anyhow::Context;
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} (--health-listen)"))?;
            let (routes, readiness) = (Routes::new(self.health), self.readiness);
            let (options, shutdown) = (self.options.clone(), self.shutdown.clone());
            self.parts.spawn(async move {
                if let Err(error) =
                    serve_grpc(listener, routes, readiness, shutdown, &options).await
                {
                    tracing::error!(%error, "health is no longer served");
                }
            });
        }
        let deadline = self.options.shutdown_timeout + Duration::from_secs(1);
        let ended = join_all(&mut self.parts, &stop, deadline).await;
        stop.trigger();
        ended
    }
}

async fn join_all(
    parts: &mut JoinSet<()>,
    stop: &Shutdown,
    deadline: Duration,
) -> anyhow::Result<()> {
    let overdue = async {
        stop.triggered().await;
        tokio::time::sleep(deadline).await;
    };
    tokio::pin!(overdue);
    loop {
        tokio::select! {
            part = parts.join_next() => match part {
                None => return Ok(()),
                Some(Ok(())) => {}
                // The panic itself is in the log already.
                Some(Err(error)) => anyhow::bail!("a part of the service broke: {error}"),
            },
            () = &mut overdue => anyhow::bail!("the shutdown took too long"),
        }
    }
}
