//! `grpc.health.v1`: one readiness for the whole process, told for the empty
//! service name and for each service by name.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Sets whether the process is ready. Not ready at first.
#[derive(Clone, Debug)]
pub struct Readiness {
    ready: Arc<watch::Sender<bool>>,
    closing: CancellationToken,
}

impl Readiness {
    /// Readiness of a process with these services, and what serves it. `""`,
    /// which asks for the process as a whole, comes by itself.
    #[must_use]
    pub fn new(services: &[&'static str]) -> (Self, HealthServer<HealthService>) {
        let (ready, watched) = watch::channel(false);
        let closing = CancellationToken::new();
        let service = HealthService {
            services: services.iter().copied().chain([""]).collect(),
            ready: watched,
            closing: closing.clone(),
        };
        (Self { ready: Arc::new(ready), closing }, HealthServer::new(service))
    }

    /// Says whether the process is ready. Only a change is told and logged.
    pub fn set(&self, ready: bool) {
        let changed = self.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
        if changed {
            tracing::info!(ready, "readiness changed");
        }
    }

    /// Whether the process is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Ends all `Watch` streams, which would hold up a shutdown for ever.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

/// Serves a [`Readiness`].
#[derive(Debug)]
pub struct HealthService {
    services: HashSet<&'static str>,
    ready: watch::Receiver<bool>,
    closing: CancellationToken,
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn serving(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.services.contains(request.get_ref().service.as_str()) {
            return Err(Status::not_found("no such service; leave service empty to ask for all"));
        }
        Ok(Response::new(answer(serving(*self.ready.borrow()))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let statuses = if self.services.contains(request.get_ref().service.as_str()) {
            WatchStream::new(self.ready.clone()).map(serving).boxed()
        } else {
            // The health protocol wants this rather than an error: the service
            // may come later.
            stream::iter([ServingStatus::ServiceUnknown]).chain(stream::pending()).boxed()
        };
        let closing = self.closing.clone().cancelled_owned();
        let answers = statuses.map(|status| Ok(answer(status))).take_until(closing);
        Ok(Response::new(answers.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    fn service(ready: &Readiness, services: &[&'static str]) -> HealthService {
        HealthService {
            services: services.iter().copied().chain([""]).collect(),
            ready: ready.ready.subscribe(),
            closing: ready.closing.clone(),
        }
    }

    #[tokio::test]
    async fn every_service_tells_the_same_readiness() {
        let (readiness, _) = Readiness::new(&["a.v1.A"]);
        let health = service(&readiness, &["a.v1.A"]);
        for (ready, expected) in
            [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)]
        {
            readiness.set(ready);
            for name in ["", "a.v1.A"] {
                let got = health.check(request(name)).await.unwrap().into_inner();
                assert_eq!(got, answer(expected), "{name}");
            }
        }
        let unknown = health.check(request("b.v1.B")).await.unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound);
    }

    #[tokio::test]
    async fn a_watch_follows_and_ends_on_close() {
        let (readiness, _) = Readiness::new(&[]);
        let health = service(&readiness, &[]);
        let mut watch = health.watch(request("")).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap(), answer(ServingStatus::NotServing));
        readiness.set(true);
        assert_eq!(watch.next().await.unwrap().unwrap(), answer(ServingStatus::Serving));
        readiness.close();
        assert!(watch.next().await.is_none());
    }
}
