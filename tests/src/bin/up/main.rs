//! Runs the whole system on this machine until Ctrl-C: what `make up` starts after building.
//!
//! Redis first, then the two services, then the shop, each step when the one before it is ready.
//! Ctrl-C or SIGTERM stop them in reverse. A program that ends by itself takes the rest with it,
//! and is named. Programs die with this one, however it ends; what an earlier run that was killed
//! left behind is stopped first.
#![allow(clippy::print_stdout, reason = "a program that a person watches")]

mod args;
mod leftovers;
mod owner;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

// One thread: programs are told to die with the thread that started them (PR_SET_PDEATHSIG).
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = args::Args::parse();
    match run::run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
