//! Plays the shop's scenario again and again while programs and Redis are killed, and checks after
//! every round that nothing was lost and nothing was done twice.
#![allow(clippy::print_stdout, reason = "a program that a person watches")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use domain_svcs::scenario::{Options, play};
use rand::seq::IndexedRandom as _;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};
use system_tests::{quiet, watch};
use tokio::time::sleep_until;

const PATIENCE: Duration = Duration::from_secs(120);

/// Plays the scenario again and again while programs and Redis are killed.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Args {
    /// How many minutes.
    #[arg(long, env = "SOAK_MINUTES", default_value_t = 10)]
    minutes: u64,

    /// Rounds of ten orders that are played at once.
    #[arg(long, env = "SOAK_SCALE", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    scale: u64,

    /// The longest time between two kills; each waits a random part of it.
    #[arg(long, env = "SOAK_KILL_EVERY", default_value = "3s", value_parser = humantime::parse_duration)]
    kill_every: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(error) = soak(&Args::parse()).await {
        println!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn soak(args: &Args) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(args.minutes * 60);
    let mut system = System::shop().await?;
    let (mut rounds, mut kills, mut mails) = (0, 0, 0);
    let pause = || args.kill_every.mul_f64(rand::random_range(0.1..1.0));
    let mut kill_at = Instant::now() + pause();
    while Instant::now() < end {
        let options = Options {
            url: system.url(GATEWAY)?,
            scale: usize::try_from(args.scale)?,
            patience: PATIENCE,
            mails: true,
        };
        let start = Instant::now();
        let playing = play(&options, |_| {});
        tokio::pin!(playing);
        let played = loop {
            tokio::select! {
                played = &mut playing => break played?,
                () = sleep_until(kill_at.into()) => {
                    kill_one(&mut system).await?;
                    kill_at = Instant::now() + pause();
                    kills += 1;
                }
            }
        };
        mails += played.mails;
        let clients = system.clients()?;
        watch::until("everything to be done", PATIENCE, || quiet::check(&clients)).await?;
        let sent = system.rest()?.get("/mails/sent").await?;
        let sent = sent.as_array().map_or(0, Vec::len);
        anyhow::ensure!(sent == mails, "{sent} mails instead of {mails}");
        rounds += 1;
        println!(
            "round {rounds} after {:.1?}: {kills} kills so far, {sent} mails",
            start.elapsed()
        );
    }
    println!("{rounds} rounds, {kills} kills: nothing lost, nothing twice");
    Ok(())
}

/// Kills one program, or Redis, and starts it again.
async fn kill_one(system: &mut System) -> anyhow::Result<()> {
    const REDIS: &str = "Redis";
    let all: Vec<&str> =
        [REDIS, EVENT_STORE, MESSAGE_QUEUE, GATEWAY].into_iter().chain(WORKERS).collect();
    let victim = all.choose(&mut rand::rng()).copied().unwrap_or(REDIS);
    if victim == REDIS {
        system.redis().kill9();
        system.redis().restart();
        return Ok(());
    }
    system.kill9(victim).await?;
    // It gets ready while the scenario goes on.
    system.spawn(victim)
}
