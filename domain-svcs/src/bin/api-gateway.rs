//! The api-gateway as a program.

use std::process::ExitCode;

use domain_svcs::{gateway, service};

#[tokio::main]
async fn main() -> ExitCode {
    service::main(gateway::SERVICE, |args: &gateway::Args| &args.process, gateway::start).await
}
