//! The admin port: `/metrics`, `/livez`, `/readyz`, `/version` over HTTP, away from clients.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use svc_runtime::health::Readiness;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use crate::args::AdminListen;
use crate::metrics::Metrics;

/// How long an answer may take: as long as Prometheus waits by default.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long open connections have at the end.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// <https://prometheus.io/docs/instrumenting/exposition_formats/#basic-info>
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The port cannot be had.
#[derive(Debug)]
pub struct CannotListen {
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for CannotListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, source } = self;
        write!(
            f,
            "cannot listen on {address} for metrics and probes: {source}; \
             choose another address with --admin-listen, or off"
        )
    }
}

impl std::error::Error for CannotListen {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Takes the port; none where it is off.
///
/// # Errors
/// [`CannotListen`], with what to do.
pub async fn bind(listen: AdminListen) -> Result<Option<TcpListener>, CannotListen> {
    match listen {
        AdminListen::Off => Ok(None),
        AdminListen::On(address) => TcpListener::bind(address)
            .await
            .map(Some)
            .map_err(|source| CannotListen { address, source }),
    }
}

/// A running admin port. Ends when it is dropped.
#[derive(Debug)]
pub struct Admin {
    address: Option<SocketAddr>,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Admin {
    /// Serves on a port. It goes on while a service drains, and says that it is not ready:
    /// [`Admin::stop`] comes last.
    #[must_use]
    pub fn serve(listener: TcpListener, metrics: Metrics, readiness: Readiness) -> Self {
        let address = listener.local_addr().ok();
        let stop = CancellationToken::new();
        let server = axum::serve(listener, router(metrics, readiness))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tracing::info!(
            address = address.map(tracing::field::display),
            "serving metrics and probes"
        );
        Self { address, stop, task: tokio::spawn(server.into_future()) }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Ends it: answers that are under way have a second.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_GRACE, &mut self.task).await.is_err() {
            tracing::debug!("connections of the admin port are still open, dropping them");
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/version", get(version))
        .with_state(metrics)
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(readiness)
        .fallback(async || {
            (StatusCode::NOT_FOUND, "there are /metrics, /livez, /readyz and /version\n")
        })
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_LIMIT))
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], metrics.scrape().await)
}

async fn version(State(metrics): State<Metrics>) -> impl IntoResponse {
    let service = metrics.service();
    Json(serde_json::json!({ "service": service.name, "version": service.version }))
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    if readiness.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
