//! A collector of traces for one test or benchmark: OTLP over gRPC, as services send it. It keeps
//! what it gets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A span as a service sent it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which service did the work.
    pub service: String,
    /// What it calls the work.
    pub name: String,
    /// Whether it asked, answered, sent or handled.
    pub kind: SpanKind,
    /// The trace, in hex.
    pub trace: String,
    /// The span, in hex.
    pub id: String,
    /// The span that it is part of; empty for the first of a trace.
    pub parent: String,
    /// Spans that it is linked to.
    pub links: Vec<String>,
    /// Whether the work failed.
    pub failed: bool,
    /// What else it says.
    pub attributes: BTreeMap<String, String>,
    started: u64,
}

/// The collector. Gone when it is dropped.
#[derive(Debug)]
pub struct Collector {
    kept: Kept,
    url: String,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_service in request.into_inner().resource_spans {
            let resource = of_service.resource.unwrap_or_default();
            let service = attributes(&resource.attributes).remove("service.name");
            let service = service.unwrap_or_default();
            let spans = of_service.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| seen(service.clone(), &span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn seen(service: String, span: &Span) -> Seen {
    Seen {
        service,
        name: span.name.clone(),
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        // STATUS_CODE_ERROR
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        attributes: attributes(&span.attributes),
        started: span.start_time_unix_nano,
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> anyhow::Result<Self> {
        let kept = Kept::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = Server::builder().add_service(TraceServiceServer::new(kept.clone()));
        let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self { kept, url, server })
    }

    /// Where it is, for `--otlp-endpoint`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many spans came.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The spans of one trace, in the order they began.
    #[must_use]
    pub fn trace(&self, id: &str) -> Vec<Seen> {
        let kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spans: Vec<_> = kept.iter().filter(|span| span.trace == id).cloned().collect();
        spans.sort_by_key(|span| span.started);
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The spans below `parent` as a tree, a line each.
#[must_use]
pub fn tree(spans: &[Seen], parent: &str) -> String {
    let mut lines = String::new();
    branch(spans, parent, 0, &mut lines);
    lines
}

fn branch(spans: &[Seen], parent: &str, depth: usize, lines: &mut String) {
    for span in spans.iter().filter(|span| span.parent == parent) {
        let Seen { service, name, kind, id, .. } = span;
        let linked = if span.links.is_empty() { "" } else { ", linked" };
        let failed = if span.failed { ", failed" } else { "" };
        // Writing to a string can't fail.
        let _ = writeln!(lines, "{:depth$}{service}: {name} ({kind:?}{linked}{failed})", "");
        branch(spans, id, depth + 2, lines);
    }
}
