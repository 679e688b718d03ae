//! What operators see, through the doors that they look through: an OTLP collector that is a real
//! gRPC server, and the admin port over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admin;
mod collecting;
mod collector;
mod names;
mod rpc_metrics;
mod sampling;
mod scraped;
mod service;
mod spans;
mod telemetry;
