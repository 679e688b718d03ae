//! A span for every RPC that a client makes within a trace, and the context that its server gets.
//!
//! Outside of any trace there is no span: workers that poll in the background would otherwise begin
//! a trace with every poll.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request};
use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, TraceContextExt as _};

use super::observed::Observe;
use super::server_trace::{TracedCall, attributes};
use crate::context::{Headers, inject_context};
use crate::trace::Spans;

/// Opens spans for the calls of a client: `Observed::new(channel, ClientTrace::new(spans))`.
#[derive(Clone, Debug)]
pub struct ClientTrace {
    spans: Spans,
}

impl ClientTrace {
    /// With spans that go where these go.
    #[must_use]
    pub fn new(spans: Spans) -> Self {
        Self { spans }
    }
}

impl Observe for ClientTrace {
    type Watch = Option<TracedCall>;

    fn begin<B>(&self, request: &mut Request<B>) -> Option<TracedCall> {
        let parent = Context::map_current(|cx| {
            cx.has_active_span().then(|| cx.span().span_context().clone())
        })?;
        if !parent.is_valid() {
            return None;
        }
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let cx = self.spans.open(SpanKind::Client, Some(parent), || path.clone());
        if cx.span().is_recording() {
            let (service, method) = path.split_once('/').unwrap_or((&path, ""));
            cx.span().set_attributes(attributes(&service.to_owned(), &method.to_owned()));
        }
        inject_context(&cx, request.headers_mut());
        Some(TracedCall { cx, kind: SpanKind::Client })
    }
}

impl Headers for HeaderMap {
    fn put(&mut self, name: &'static str, value: String) {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.insert(HeaderName::from_static(name), value);
        }
    }
}
