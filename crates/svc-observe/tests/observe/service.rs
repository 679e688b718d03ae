//! A small event store: it keeps nothing but the trace context of appends, and has reads of every
//! ending.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::stream::{self, Stream, StreamExt as _};
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::server::eventstore::v1::event_store_server::{EventStore, EventStoreServer};
use proto::server::eventstore::v1::{
    AppendRequest, AppendResponse, AppendStreamResponse, DeleteSnapshotRequest,
    DeleteSnapshotResponse, LoadSubjectRequest, LoadSubjectResponse, ReadRequest, ReadResponse,
    SaveSnapshotRequest, SaveSnapshotResponse, SubscribeRequest, SubscribeResponse,
};
use svc_observe::context;
use svc_observe::rpc::{self, ClientTrace, Observe, Observed};
use svc_observe::trace::Spans;
use svc_runtime::health::Readiness;
use svc_runtime::serve::{ServeOptions, serve_grpc};
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

pub type Headers = BTreeMap<String, String>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What it kept of each append.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Headers>>>);

impl Log {
    pub fn kept(&self) -> Vec<Headers> {
        self.0.lock().unwrap().clone()
    }
}

pub struct Served {
    pub address: SocketAddr,
    pub log: Log,
    pub shutdown: Shutdown,
    pub ended: JoinHandle<()>,
}

/// Serves it as services are served, with an observer around it.
pub async fn serve(observe: impl Observe + Sync) -> Served {
    let log = Log::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, health) = Readiness::new(&["eventstore.v1.EventStore"]);
    let mut routes = Routes::builder();
    routes.add_service(EventStoreServer::new(log.clone())).add_service(health);
    let routes = rpc::around(routes.routes(), observe);
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    let ended = tokio::spawn(async move {
        serve_grpc(listener, routes, readiness, stop, &ServeOptions::default()).await.unwrap();
    });
    Served { address, log, shutdown, ended }
}

impl Served {
    pub fn channel(&self) -> Channel {
        svc_runtime::client::channel(&format!("http://{}", self.address), 1).unwrap()
    }

    pub fn client(&self) -> EventStoreClient<Channel> {
        EventStoreClient::new(self.channel())
    }

    pub fn traced_client(&self, spans: &Spans) -> EventStoreClient<Observed<Channel, ClientTrace>> {
        EventStoreClient::new(Observed::new(self.channel(), ClientTrace::new(spans.clone())))
    }
}

pub fn append_to(topic: &str) -> proto::eventstore::v1::AppendRequest {
    proto::eventstore::v1::AppendRequest { topic: topic.to_owned(), ..Default::default() }
}

pub fn read_of(topic: &str) -> proto::eventstore::v1::ReadRequest {
    proto::eventstore::v1::ReadRequest { topic: topic.to_owned(), ..Default::default() }
}

#[tonic::async_trait]
impl EventStore for Log {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        if request.get_ref().topic == "missing" {
            return Err(Status::not_found("no such topic"));
        }
        let _span = tracing::info_span!("store").entered();
        let mut headers = Headers::new();
        context::inject(&mut headers);
        self.0.lock().unwrap().push(headers);
        Ok(Response::new(AppendResponse::default()))
    }

    type ReadStream = Answers<ReadResponse>;

    /// `broken` fails after some events, `endless` never ends.
    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let events = stream::iter([Ok(ReadResponse::default()), Ok(ReadResponse::default())]);
        Ok(Response::new(match request.get_ref().topic.as_str() {
            "broken" => events.chain(stream::iter([Err(Status::data_loss("broken"))])).boxed(),
            "endless" => events.chain(stream::pending()).boxed(),
            _ => events.boxed(),
        }))
    }

    type AppendStreamStream = Answers<AppendStreamResponse>;

    async fn append_stream(
        &self,
        _: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type SubscribeStream = Answers<SubscribeResponse>;

    async fn subscribe(
        &self,
        _: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type LoadSubjectStream = Answers<LoadSubjectResponse>;

    async fn load_subject(
        &self,
        _: Request<LoadSubjectRequest>,
    ) -> Result<Response<Self::LoadSubjectStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn save_snapshot(
        &self,
        _: Request<SaveSnapshotRequest>,
    ) -> Result<Response<SaveSnapshotResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn delete_snapshot(
        &self,
        _: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
