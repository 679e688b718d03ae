//! The mail-service as a program.

use std::process::ExitCode;

use domain_svcs::service;
use domain_svcs::shop::mail::{Args, SERVICE, start};

#[tokio::main]
async fn main() -> ExitCode {
    service::main(SERVICE, |args: &Args| &args.service.process, start).await
}
