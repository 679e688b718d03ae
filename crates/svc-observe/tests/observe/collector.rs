//! A collector: a gRPC server with OTLP's TraceService, which keeps what it gets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use svc_observe::Service;
use svc_observe::args::TraceArgs;
use svc_observe::trace::Traces;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

pub const SERVICE: Service = Service { name: "tested-svc", version: "1.2.3" };

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

pub struct Collector {
    kept: Kept,
    pub url: String,
}

impl Collector {
    pub async fn start() -> Self {
        let kept = Kept::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_service(TraceServiceServer::new(kept.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { kept, url }
    }

    /// Traces that come here.
    pub fn traces(&self, sample: f64) -> Traces {
        Traces::start(SERVICE, &args(&self.url, sample)).unwrap().unwrap()
    }

    pub fn spans(&self) -> Vec<Span> {
        let requests = self.kept.0.lock().unwrap().clone();
        let resources = requests.into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|spans| spans.scope_spans).flat_map(|spans| spans.spans).collect()
    }

    /// The only span of this name.
    pub fn span(&self, name: &str) -> Span {
        let named: Vec<_> = self.spans().into_iter().filter(|span| span.name == name).collect();
        let all: Vec<_> = self.spans().into_iter().map(|span| span.name).collect();
        assert_eq!(named.len(), 1, "{name} among {all:?}");
        named[0].clone()
    }

    /// What it was told about where spans come from.
    pub fn resource(&self) -> BTreeMap<String, String> {
        let requests = self.kept.0.lock().unwrap();
        let resource = requests[0].resource_spans[0].resource.clone().unwrap();
        attributes(&resource.attributes)
    }
}

pub fn args(url: &str, sample: f64) -> TraceArgs {
    TraceArgs { otlp_endpoint: Some(url.to_owned()), trace_sample: sample }
}

pub fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
