//! Serving and stopping over real sockets, with the health service as the service.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use std::pin::Pin;
use svc_runtime::health::Readiness;
use svc_runtime::serve::{ServeOptions, serve_grpc};
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

type Served = tokio::task::JoinHandle<Result<(), svc_runtime::serve::ServeError>>;

async fn serve(
    routes: Routes,
    readiness: Readiness,
    shutdown: Shutdown,
    timeout: Duration,
) -> (String, Served) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let options = ServeOptions { shutdown_timeout: timeout, ..ServeOptions::default() };
    let served =
        tokio::spawn(
            async move { serve_grpc(listener, routes, readiness, shutdown, &options).await },
        );
    (url, served)
}

fn client(url: &str, connections: usize) -> HealthClient<tonic::transport::Channel> {
    HealthClient::new(svc_runtime::client::channel(url, connections).unwrap())
}

fn request() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

#[tokio::test]
async fn health_watches_do_not_hold_up_a_shutdown() {
    let (readiness, health) = Readiness::new(&[]);
    let shutdown = Shutdown::new();
    let timeout = Duration::from_secs(25);
    let (url, served) =
        serve(Routes::new(health), readiness.clone(), shutdown.clone(), timeout).await;
    readiness.set(true);
    let mut client = client(&url, 3);
    for _ in 0..10 {
        assert_eq!(client.check(request()).await.unwrap().into_inner().status, 1);
    }
    let mut watch = client.watch(request()).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, 1);

    let start = Instant::now();
    shutdown.trigger();
    served.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!readiness.is_ready());
    assert!(client.check(request()).await.is_err());
}

/// A service whose stream never ends by itself.
struct Endless;

#[tonic::async_trait]
impl Health for Endless {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse::default()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = stream::iter([Ok(HealthCheckResponse::default())]);
        Ok(Response::new(first.chain(stream::pending()).boxed()))
    }
}

#[tokio::test]
async fn open_streams_are_cut_at_the_deadline() {
    let (readiness, _) = Readiness::new(&[]);
    let shutdown = Shutdown::new();
    let timeout = Duration::from_millis(300);
    let routes = Routes::new(HealthServer::new(Endless));
    let (url, served) = serve(routes, readiness, shutdown.clone(), timeout).await;
    let mut client = client(&url, 1);
    let mut watch = client.watch(request()).await.unwrap().into_inner();
    assert!(watch.next().await.unwrap().is_ok());

    let start = Instant::now();
    shutdown.trigger();
    served.await.unwrap().unwrap();
    let took = start.elapsed();
    assert!(took >= timeout && took < timeout + Duration::from_secs(1), "{took:?}");
    assert!(watch.next().await.unwrap().is_err());
}

#[test]
fn reflection_takes_an_encoded_descriptor_set() {
    assert!(svc_runtime::serve::reflection(tonic_health::pb::FILE_DESCRIPTOR_SET).is_ok());
    assert!(svc_runtime::serve::reflection(b"nonsense").is_err());
}
