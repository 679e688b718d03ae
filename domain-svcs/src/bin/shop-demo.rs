//! Plays the scenario against a running shop and tells each step.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use domain_svcs::scenario::{self, Options};
use svc_runtime::config::duration;

/// Plays the scenario of OrderShop over REST: products, customers, stock, carts,
/// orders, a payment, a shipping, mails. Can be repeated on the same shop.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where the gateway is.
    #[arg(long, env = "SHOP_URL", default_value = "http://127.0.0.1:5000")]
    url: String,

    /// How many rounds of ten orders.
    #[arg(long, env = "SCALE", default_value_t = 1, value_parser = scale)]
    scale: usize,

    /// How long to wait for any one step, as in `30s`.
    #[arg(long, env = "PATIENCE", default_value = "30s", value_parser = duration)]
    patience: Duration,
}

fn scale(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(scale @ 1..=1000) => Ok(scale),
        _ => Err("must be 1 to 1000".to_owned()),
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "it is for a person at a terminal")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let options =
        Options { url: args.url, scale: args.scale, patience: args.patience, mails: true };
    match scenario::play(&options, |step| println!("  ✓ {step}")).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("  ✗ {error}");
            ExitCode::FAILURE
        }
    }
}
