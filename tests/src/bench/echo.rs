//! The limit of gRPC here: a service that gives back what it gets, served as the services are.

use std::pin::Pin;

use futures::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// Stubs of `echo.v1`.
#[allow(
    missing_debug_implementations,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::wildcard_imports,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("echo.v1");
}

use super::serving;
use v1::Payload;
use v1::echo_server::{Echo, EchoServer};

struct Service;

#[tonic::async_trait]
impl Echo for Service {
    async fn unary(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    type BidiStream = Pin<Box<dyn Stream<Item = Result<Payload, Status>> + Send>>;

    async fn bidi(
        &self,
        request: Request<Streaming<Payload>>,
    ) -> Result<Response<Self::BidiStream>, Status> {
        Ok(Response::new(Box::pin(request.into_inner())))
    }
}

/// Serves on `address` until the process is killed.
///
/// # Errors
/// When it can't listen.
pub async fn serve(address: std::net::SocketAddr) -> anyhow::Result<()> {
    serving::serve(address, Routes::new(EchoServer::new(Service))).await
}
