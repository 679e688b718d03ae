//! event-store-svc: parses its flags, starts telemetry, runs.

use anyhow::Context as _;
use clap::Parser as _;
use event_store_svc::config::Config;
use event_store_svc::{SERVICE, serve, start};
use svc_observe::telemetry;
use svc_runtime::shutdown::Shutdown;
use svc_runtime::threads;
use tokio::net::TcpListener;

/// Small pieces come and go with every call: this allocator is quicker at it than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    threads::runtime()?.block_on(run(config))
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init(SERVICE, &config.front.runtime, &config.front.observe.trace)?;
    let served = bind_and_serve(config).await;
    telemetry.finish().await;
    served
}

async fn bind_and_serve(config: Config) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let front = start(&config).await?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; choose another with --listen", config.listen)
    })?;
    serve(&config, front, listener, shutdown).await
}
