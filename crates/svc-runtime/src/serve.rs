//! Serving gRPC: HTTP/2 settings, reflection, and a shutdown that ends.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tower::layer::util::Identity;
use tower::{Layer, Service};

use crate::config::RuntimeArgs;
use crate::health::Readiness;
use crate::incoming;
use crate::shutdown::Shutdown;

/// HTTP/2 flow control: bytes in flight on one stream. The default of 64 KiB
/// stops a stream of 1 MiB messages sixteen times a message.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes in flight on one connection.
pub const CONNECTION_WINDOW: u32 = 4 << 20;
/// How often a quiet connection is asked whether its peer is still there.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the peer may take to answer.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

const MAX_FRAME_SIZE: u32 = 64 << 10;
const MAX_CONCURRENT_STREAMS: u32 = 1024;
/// How long cut connections have to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);

type BoxError = Box<dyn Error + Send + Sync>;

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How long a shutdown may take before open connections are dropped.
    pub shutdown_timeout: Duration,
    /// How long to be not ready before new calls are refused; part of the timeout.
    pub shutdown_delay: Duration,
    /// Calls and streams that one connection may have open.
    pub max_concurrent_streams: u32,
}

impl ServeOptions {
    /// As the flags say.
    #[must_use]
    pub fn from_args(args: &RuntimeArgs) -> Self {
        Self {
            shutdown_timeout: args.shutdown_timeout,
            shutdown_delay: args.shutdown_delay,
            ..Self::default()
        }
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            shutdown_timeout: crate::config::MAX_SHUTDOWN_TIMEOUT,
            shutdown_delay: Duration::ZERO,
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
        }
    }
}

/// Why serving failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server could not run.
    #[error("cannot serve")]
    Transport(#[from] tonic::transport::Error),

    /// A service has no valid descriptor.
    #[error("cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves `routes` on `listener` until `shutdown`, as [`serve_with`] does.
///
/// # Errors
/// [`ServeError::Transport`].
pub async fn serve_grpc(
    listener: TcpListener,
    routes: Routes,
    readiness: Readiness,
    shutdown: Shutdown,
    options: &ServeOptions,
) -> Result<(), ServeError> {
    let connections = |cut| incoming::connections(listener, cut);
    serve_with(connections, Identity::new(), routes, readiness, shutdown, options).await
}

/// Serves `routes`, with `layer` around all of them, until `shutdown`, and returns when all is done:
/// first it is not ready (`shutdown_delay`), then it accepts no more and lets
/// calls finish, then (`shutdown_timeout` after the start of all this) it drops
/// what is left, by cancelling the token that `connections` got. Streams have to end by themselves:
/// what serves them watches `shutdown` too. Health watches are ended here.
///
/// Making it ready is the caller's part.
///
/// # Errors
/// [`ServeError::Transport`].
pub async fn serve_with<I, IO, L, B>(
    connections: impl FnOnce(CancellationToken) -> I,
    layer: L,
    routes: Routes,
    readiness: Readiness,
    shutdown: Shutdown,
    options: &ServeOptions,
) -> Result<(), ServeError>
where
    I: Stream<Item = io::Result<IO>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    IO::ConnectInfo: Clone + Send + Sync + 'static,
    L: Layer<Routes> + Clone,
    L::Service: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    <L::Service as Service<http::Request<Body>>>::Future: Send,
    <L::Service as Service<http::Request<Body>>>::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let cut = CancellationToken::new();
    let stop_accepting = CancellationToken::new();
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_SIZE)
        .max_concurrent_streams(options.max_concurrent_streams)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(layer)
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            connections(cut.clone()),
            stop_accepting.clone().cancelled_owned(),
        );
    tokio::pin!(server);

    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = shutdown.triggered() => {}
    }
    let deadline = Instant::now() + options.shutdown_timeout;
    readiness.set(false);
    let delay = options.shutdown_delay.min(options.shutdown_timeout);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = tokio::time::sleep(delay) => {}
    }
    stop_accepting.cancel();
    readiness.close();
    if let Ok(ended) = tokio::time::timeout_at(deadline, &mut server).await {
        return Ok(ended?);
    }
    tracing::warn!("calls are still open at the end of the shutdown timeout, dropping them");
    cut.cancel();
    match tokio::time::timeout(CUT_GRACE, &mut server).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Ok(()),
    }
}

/// Reflection (v1) for the services of an encoded `FileDescriptorSet` and for
/// `grpc.health.v1`.
///
/// # Errors
/// [`ServeError::Reflection`] when the bytes are no descriptor set.
pub fn reflection(
    file_descriptor_set: &'static [u8],
) -> Result<ServerReflectionServer<impl ServerReflection + use<>>, ServeError> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(file_descriptor_set)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?)
}
