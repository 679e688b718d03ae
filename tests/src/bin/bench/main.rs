//! Measures the services beside their limits, prints a table and writes target/bench/report.json.
//!
//! A row that falls short of what is expected is told, and does not fail the run; a row that can't
//! be measured does.
#![allow(clippy::print_stdout, reason = "a program whose outcome is a table")]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use svc_runtime::threads;
use system_tests::bench::report::{Report, Row};
use system_tests::bench::rows::{Effort, all};
use system_tests::bench::world::World;
use system_tests::bench::{PAYLOAD, bare, echo};
use system_tests::programs;
use tokio::runtime::Runtime;

/// Measures event-store-svc and message-queue-svc beside a bare tonic echo and raw Redis.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// How long each row is measured, after half a second of warm-up.
    #[arg(long, env = "BENCH_TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    time: Duration,

    /// Events in the topic that is read and consumed from end to end.
    #[arg(long, env = "BENCH_EVENTS", default_value_t = 1_000_000)]
    events: u64,

    /// Topics where the growth rows have many.
    #[arg(long, env = "BENCH_TOPICS", default_value_t = 100_000)]
    topics: usize,

    /// Idle subscribers where the growth rows have many.
    #[arg(long, env = "BENCH_SUBSCRIBERS", default_value_t = 10_000)]
    subscribers: usize,

    /// Messages where the growth rows have many; a tenth as many leases, and a hundredth as many
    /// queues and idle polls.
    #[arg(long, env = "BENCH_MESSAGES", default_value_t = 1_000_000)]
    messages: usize,

    /// Measure only rows whose name, with the number in flight behind it, contains this (`Append 64`),
    /// and limits.
    #[arg(long)]
    only: Option<String>,

    /// Leave the limits out: for a profiler, which wants to see one row alone.
    #[arg(long, requires = "only")]
    no_limits: bool,

    /// Be the echo server on this address: how the benchmark starts its own limit.
    #[arg(long, hide = true)]
    serve_echo: Option<SocketAddr>,

    /// Be the bare service on this address.
    #[arg(long, hide = true, requires = "redis_url")]
    serve_bare: Option<SocketAddr>,

    /// The Redis of the bare service.
    #[arg(long, hide = true)]
    redis_url: Option<String>,
}

fn main() -> ExitCode {
    let outcome = run(&Args::parse());
    if let Err(error) = outcome {
        println!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The load works as any client does, what is loaded as the services do.
fn run(args: &Args) -> anyhow::Result<()> {
    match (args.serve_echo, args.serve_bare, &args.redis_url) {
        (Some(address), _, _) => threads::runtime()?.block_on(echo::serve(address)),
        (None, Some(address), Some(redis)) => {
            threads::runtime()?.block_on(bare::serve(address, redis))
        }
        _ => Runtime::new()?.block_on(bench(args)),
    }
}

async fn bench(args: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let world = Arc::new(World::start().await?);
    let Args { time, events, topics, subscribers, messages, .. } = *args;
    let effort = Effort { time, events, topics, subscribers, messages };
    println!(
        "{PAYLOAD}-byte payloads; Redis in memory only (no append-only file); client, services and \
         Redis share {} cores\n",
        std::thread::available_parallelism()?
    );
    println!("{}", Report::header());
    let mut report = Report::default();
    let mut broken = 0;
    for spec in all() {
        let name = format!("{} {}", spec.name, spec.in_flight);
        let wanted = args.only.as_deref().is_none_or(|only| name.contains(only));
        if !wanted && (args.no_limits || !spec.name.starts_with("limit:")) {
            continue;
        }
        match spec.measure(&world, effort).await {
            Ok(measured) => {
                let row = Row {
                    name: spec.name.to_owned(),
                    in_flight: spec.in_flight,
                    measured,
                    expected: spec.expected.clone(),
                };
                println!("{}", report.line(&row));
                report.add(row);
            }
            Err(error) => {
                println!("{:<44} {:>9} can't be measured: {error:#}", spec.name, spec.in_flight);
                broken += 1;
            }
        }
    }
    let path = report.write(&programs::repository().join("target/bench"))?;
    println!("\nwritten to {} after {:.0?}", path.display(), started.elapsed());
    anyhow::ensure!(broken == 0, "{broken} rows could not be measured");
    Ok(())
}
