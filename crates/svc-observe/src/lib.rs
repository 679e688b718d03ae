//! What operators see of a service: metrics for Prometheus, an admin port, traces over OTLP, and
//! log lines that name their trace.
//!
//! A service calls [`telemetry::init`] first, keeps the guard, installs [`metrics::Metrics`], puts
//! [`rpc::ObserveLayer`] around its routes and starts [`admin::Admin`]. What is switched off
//! ([`args`]) costs next to nothing: see `benches/cost.rs`.

pub mod admin;
pub mod args;
pub mod context;
mod log_lines;
pub mod metrics;
pub mod rpc;
pub mod telemetry;
pub mod trace;

/// Which service this is: for `/version`, `build_info` and the resource of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// As in `event-store-svc`.
    pub name: &'static str,
    /// As in `0.1.0`; a binary passes its `CARGO_PKG_VERSION`.
    pub version: &'static str,
}
