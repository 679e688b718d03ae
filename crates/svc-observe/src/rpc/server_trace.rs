//! A span for every RPC that a server handles, in the trace of its client.
//!
//! The spans are those of OpenTelemetry directly, not of `tracing`: an RPC whose trace is not
//! recorded then costs a context and no span. Spans of `tracing` within become their children.

use http::Request;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, ContextGuard, KeyValue};
use prost::DecodeError;
use tonic::Code;

use super::measure;
use super::methods::{ByMethod, Method};
use super::observed::{Observe, Watch};
use crate::context;
use crate::trace::Spans;

/// Opens spans for the calls of a server.
#[derive(Clone, Debug)]
pub struct ServerTrace {
    spans: Spans,
    methods: ByMethod<Method>,
}

impl ServerTrace {
    /// For the methods in these encoded `FileDescriptorSet`s. Calls of others, such as health
    /// checks where `grpc.health.v1` is not among them, have no span.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn new(spans: Spans, descriptors: &[&[u8]]) -> Result<Self, DecodeError> {
        Ok(Self { spans, methods: ByMethod::new(descriptors, Method::clone)? })
    }
}

impl Observe for ServerTrace {
    type Watch = Option<TracedCall>;

    fn begin<B>(&self, request: &mut Request<B>) -> Option<TracedCall> {
        let method = self.methods.known(request.uri().path())?;
        let parent = context::context_of_http(request.headers());
        let cx = self.spans.open(SpanKind::Server, parent, || method.name());
        if cx.span().is_recording() {
            cx.span().set_attributes(attributes(&method.service, &method.method));
        }
        Some(TracedCall { cx, kind: SpanKind::Server })
    }
}

/// Names of <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>.
pub(super) fn attributes(
    service: &(impl Clone + Into<opentelemetry::StringValue>),
    method: &(impl Clone + Into<opentelemetry::StringValue>),
) -> [KeyValue; 3] {
    [
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", service.clone().into()),
        KeyValue::new("rpc.method", method.clone().into()),
    ]
}

/// A call with a span.
#[derive(Debug)]
pub struct TracedCall {
    pub(super) cx: Context,
    pub(super) kind: SpanKind,
}

impl Watch for TracedCall {
    type Entered = ContextGuard;

    fn enter(&self) -> ContextGuard {
        self.cx.clone().attach()
    }

    fn end(self, code: Code) {
        let span = self.cx.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
            if is_error(code, &self.kind) {
                span.set_status(Status::error(measure::name(code)));
            }
            span.end();
        }
    }
}

/// For a server only what is its own fault is an error, for a client everything that failed.
fn is_error(code: Code, kind: &SpanKind) -> bool {
    match code {
        Code::Ok => false,
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        _ => *kind == SpanKind::Client,
    }
}
