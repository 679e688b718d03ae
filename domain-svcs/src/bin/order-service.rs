//! The order-service as a program.

use std::process::ExitCode;

use domain_svcs::{service, shop};

#[tokio::main]
async fn main() -> ExitCode {
    service::worker("order-service", shop::order::run).await
}
