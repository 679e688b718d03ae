//! message-queue-svc: parses its flags, starts telemetry, runs.

use anyhow::Context as _;
use clap::Parser as _;
use message_queue_svc::config::Config;
use svc_runtime::shutdown::Shutdown;
use svc_runtime::telemetry;
use tokio::net::TcpListener;

/// Small pieces come and go with every call: this allocator is quicker at it than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::init("message-queue-svc", &config.runtime)?;
    let shutdown = Shutdown::on_signals()?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; choose another with --listen", config.listen)
    })?;
    message_queue_svc::run(config, listener, shutdown).await
}
