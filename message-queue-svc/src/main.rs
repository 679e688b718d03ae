//! message-queue-svc: parses its flags, starts telemetry, runs.

use std::process::ExitCode;

use anyhow::Context as _;
use message_queue_svc::config::Config;
use message_queue_svc::{SERVICE, check, serve, start};
use svc_front::parse;
use svc_observe::telemetry;
use svc_runtime::shutdown::Shutdown;
use svc_runtime::threads;
use tokio::net::TcpListener;

/// Small pieces come and go with every call: this allocator is quicker at it than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let (config, given) = parse::<Config>();
    threads::runtime()?.block_on(async {
        if config.front.check {
            return Ok(check(&config, &given).await.tell());
        }
        run(config).await.map(|()| ExitCode::SUCCESS)
    })
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
