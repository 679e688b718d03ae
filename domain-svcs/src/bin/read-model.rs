//! The read-model as a program.

use std::process::ExitCode;

use domain_svcs::{read_model, service};

#[tokio::main]
async fn main() -> ExitCode {
    service::worker(read_model::SERVICE, read_model::run).await
}
