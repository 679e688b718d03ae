//! api-gateway: REST, WebSocket and the page for the outside. Knows no rules of the shop:
//! it turns requests into commands and queries, and answers with their replies.

mod backend;
mod error;
mod live;
mod observe;
mod openapi;
mod page;
mod reports;
mod request;
mod routes;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::serve::ListenerExt;
use clap::Parser;
use svc_runtime::config::duration;
use svc_runtime::health::Readiness;
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower_http::catch_panic::CatchPanicLayer;

use crate::model;
use crate::service::{Channel, Clients, From, ProcessArgs, ServicesArgs, Up, project};

/// The name of the service.
pub const SERVICE: &str = "api-gateway";

const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The flags of the gateway.
#[derive(Clone, Debug, Parser)]
#[command(version, about = "REST and WebSocket for OrderShop", long_about = None)]
pub struct Args {
    /// Where to serve HTTP.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:5000")]
    pub listen: SocketAddr,

    /// Where the two services are.
    #[command(flatten)]
    pub services: ServicesArgs,

    /// How long a request waits for the service that handles it, and for its own
    /// body to come, as in `10s`.
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,

    /// The largest request body, in bytes.
    #[arg(long, env = "MAX_BODY_BYTES", default_value_t = 512 << 10)]
    pub max_body_bytes: usize,

    /// Where a service tells its health (grpc.health.v1), for the light that the
    /// page shows of it, as in cart-service=http://127.0.0.1:6004; several with
    /// commas between them. The lights of those that are not named tell what can
    /// be seen of them in their queues and consumer groups.
    #[arg(long, env = "HEALTH_OF", value_delimiter = ',', value_parser = observe::named_address, value_name = "NAME=URL")]
    pub health_of: Vec<(String, String)>,

    /// What every program has.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// Binds the port of the flags and runs the gateway.
///
/// # Errors
/// When the port cannot be had, or the gateway cannot go on.
pub async fn start(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--listen)", args.listen))?;
    run(args, listener, shutdown).await
}

/// Runs the gateway on a port.
///
/// # Errors
/// When it cannot go on.
pub async fn run(args: Args, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    let clients = Clients::new(SERVICE, &args.services)?;
    let (readiness, _) = Readiness::new(&[]);
    let [events_up, queue_up] = Up::parts(readiness.clone());
    let (live, events) = live::Live::new();
    let (_, follow) = project(
        clients.event_store.clone(),
        model::topics().collect(),
        From::End,
        live,
        events_up,
        shutdown.clone(),
    );
    let following = tokio::spawn(follow);
    let probing = tokio::spawn(probe(clients.message_queue.clone(), queue_up, shutdown.clone()));

    let observer = observe::Observer::new();
    let look = observe::Look::new(&clients, &args.health_of, &args.services.security)?;
    let observing = tokio::spawn(observer.clone().run(look, shutdown.clone()));

    let page = page::Page {
        clients: clients.clone(),
        events,
        observer,
        timeout: args.request_timeout,
        shutdown: shutdown.clone(),
    };
    let app = Arc::new(routes::App {
        backend: backend::Backend::new(clients.message_queue, args.request_timeout),
        readiness,
        shutdown: shutdown.clone(),
    });
    tracing::info!(
        address = listener.local_addr().ok().map(tracing::field::display),
        "serving http"
    );
    let listener = listener.tap_io(|socket| {
        // Small answers are not to wait for more.
        let _ = socket.set_nodelay(true);
    });
    let stopping = shutdown.clone();
    let server = axum::serve(listener, router(app, page, args.max_body_bytes))
        .with_graceful_shutdown(async move { stopping.triggered().await });
    let overdue = async {
        shutdown.triggered().await;
        tokio::time::sleep(args.process.runtime.shutdown_timeout).await;
    };
    tokio::select! {
        served = server.into_future() => served?,
        () = overdue => tracing::warn!("requests are still open at the end of the shutdown timeout"),
    }
    following.await?;
    probing.await?;
    observing.await?;
    Ok(())
}

/// Asks the message queue every second whether it is ready: nothing else is
/// open to it while there are no requests.
async fn probe(message_queue: Channel, up: Up, shutdown: Shutdown) {
    let mut health = HealthClient::new(message_queue);
    while !shutdown.is_triggered() {
        let mut request = Request::new(HealthCheckRequest::default());
        request.set_timeout(PROBE_INTERVAL);
        let answer = health.check(request).await;
        up.set(answer.is_ok_and(|status| status.get_ref().status() == ServingStatus::Serving));
        tokio::select! {
            () = tokio::time::sleep(PROBE_INTERVAL) => {}
            () = shutdown.triggered() => {}
        }
    }
}

fn router(app: Arc<routes::App>, page: page::Page, max_body_bytes: usize) -> Router {
    routes::routes()
        .with_state(app)
        .merge(page::routes(page))
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(CatchPanicLayer::custom(error::panicked))
}
