//! How the limits are served: with windows as the services have them, and nothing around the handlers.

use std::net::SocketAddr;

use svc_runtime::serve::{CONNECTION_WINDOW, STREAM_WINDOW};
use tonic::service::Routes;
use tonic::transport::Server;

/// Serves on `address` until the process is killed.
///
/// # Errors
/// When it can't listen.
pub async fn serve(address: SocketAddr, routes: Routes) -> anyhow::Result<()> {
    let (health, readiness) = tonic_health::server::health_reporter();
    drop(health);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true)
        .add_routes(routes.add_service(readiness))
        .serve(address)
        .await?;
    Ok(())
}
