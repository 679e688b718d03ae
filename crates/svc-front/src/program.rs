//! A service as a program: what `main` does, written once, and what differs between services.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use svc_observe::{Service, telemetry};
use svc_runtime::shutdown::Shutdown;
use svc_runtime::threads;
use tokio::net::TcpListener;

use crate::check::check;
use crate::given::parse;
use crate::{Front, FrontArgs, Package};

/// The configuration of a service in front of Redis, which says all that is its own: who it is, and
/// how it serves.
pub trait Program: Parser + Send + Sync {
    /// The service, to those that observe it.
    const SERVICE: Service;
    /// What it serves.
    const PACKAGE: Package;

    /// The flags that are alike in every service.
    fn front(&self) -> &FrontArgs;

    /// Where to serve gRPC.
    fn listen(&self) -> SocketAddr;

    /// Serves until the shutdown.
    ///
    /// # Errors
    /// When serving fails.
    fn serve(
        &self,
        front: Front,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The whole of a service: parses its flags and, unless it is only to check them, starts telemetry
/// and serves until a signal ends it.
///
/// # Errors
/// When the configuration cannot be used, the port cannot be had, or serving fails.
pub fn main<P: Program>() -> anyhow::Result<ExitCode> {
    let (config, given) = parse::<P>();
    threads::runtime()?.block_on(async {
        if config.front().check {
            return Ok(check(&given, config.front(), &P::PACKAGE).await.tell());
        }
        observed(&config).await.map(|()| ExitCode::SUCCESS)
    })
}

async fn observed<P: Program>(config: &P) -> anyhow::Result<()> {
    let front = config.front();
    let telemetry = telemetry::init(P::SERVICE, &front.runtime, &front.observe.trace)?;
    let served = bind_and_serve(config).await;
    telemetry.finish().await;
    served
}

async fn bind_and_serve<P: Program>(config: &P) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let front = start(config).await?;
    let address = config.listen();
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another with --listen"))?;
    config.serve(front, listener, shutdown).await
}

/// Checks the configuration, with all that it names, and makes what the service runs in.
///
/// # Errors
/// When the configuration cannot be used. Redis need not be there yet.
pub async fn start<P: Program>(config: &P) -> anyhow::Result<Front> {
    Front::start(P::SERVICE, P::PACKAGE, config.front()).await
}

/// The service on a port, from its start to its end.
///
/// # Errors
/// As for [`start`] and [`Program::serve`].
pub async fn run<P: Program>(
    config: P,
    listener: TcpListener,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let front = start(&config).await?;
    config.serve(front, listener, shutdown).await
}
