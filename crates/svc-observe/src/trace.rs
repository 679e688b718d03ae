//! Traces: where spans go, which are recorded, and how they get out before the process ends.

mod export;

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{
    Link, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tonic::transport::Endpoint;

use crate::Service;
use crate::args::TraceArgs;
use export::Reporting;

/// How long to wait for a connection to the collector.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the collector may take to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long spans have at the end of the process to get out.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(3);

static SPANS: OnceLock<Spans> = OnceLock::new();

/// The spans of this process: those of [`crate::telemetry::init`], before it and without it none.
#[must_use]
pub fn spans() -> Spans {
    SPANS.get().cloned().unwrap_or_default()
}

pub(crate) fn set_spans(spans: Spans) {
    // The subscriber was set once; whoever comes second got an error there.
    let _ = SPANS.set(spans);
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The address is none.
    #[error("--otlp-endpoint `{0}` is no address, which looks like http://localhost:4317")]
    Endpoint(String, #[source] tonic::transport::Error),

    /// The exporter could not be made.
    #[error("cannot export traces")]
    Exporter(#[from] ExporterBuildError),
}

/// Traces that are exported.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Begins to export; none without an endpoint. That the collector is there is not needed: what
    /// cannot be sent is lost, and a log line says so now and then. Must be called within a
    /// multi-threaded Tokio runtime.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn start(service: Service, args: &TraceArgs) -> Result<Option<Self>, TraceError> {
        let Some(url) = &args.otlp_endpoint else { return Ok(None) };
        let channel = Endpoint::from_shared(url.clone())
            .map_err(|error| TraceError::Endpoint(url.clone(), error))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(EXPORT_TIMEOUT)
            .connect_lazy();
        let exporter = SpanExporter::builder().with_tonic().with_channel(channel).build()?;
        let resource = Resource::builder()
            .with_service_name(service.name)
            .with_attributes([
                KeyValue::new("service.version", service.version),
                KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
            ])
            .build();
        let root = Sampler::TraceIdRatioBased(args.trace_sample);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Reporting::new(exporter))
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("svc-observe");
        Ok(Some(Self { provider, tracer }))
    }

    /// Opens spans that are exported here.
    #[must_use]
    pub fn spans(&self) -> Spans {
        Spans { tracer: Some(self.tracer.clone()) }
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.tracer.clone()
    }

    /// Sends what has not been sent yet, for [`FLUSH_LIMIT`] at most.
    pub async fn finish(self) {
        let provider = self.provider;
        // It blocks, and the exporter needs this runtime.
        let flush =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT));
        if let Ok(Err(error)) = flush.await {
            tracing::warn!(%error, "the last spans may not have been exported");
        }
    }
}

/// Opens spans, or does nothing when there are no traces.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    tracer: Option<SdkTracer>,
}

impl Spans {
    /// Whether there are traces at all.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.tracer.is_some()
    }

    /// A span for handling a request, in the trace of its caller if it has one. Without traces its
    /// context is the caller's, which so goes on to whoever has them.
    pub fn server(&self, name: &str, caller: Option<SpanContext>) -> Span {
        Span(self.open(SpanKind::Server, caller, || name.to_owned()))
    }

    /// A span for handling one event or message: in the trace of its producer, and linked to it.
    /// Without traces its context is the producer's.
    pub fn consumer(&self, name: &str, producer: Option<SpanContext>) -> Span {
        let span = Span(self.open(SpanKind::Consumer, producer.clone(), || name.to_owned()));
        if let Some(producer) = producer {
            span.link_to(producer);
        }
        span
    }

    /// A span for sending events or messages, which are to carry its context. Only within a trace
    /// that is recorded: elsewhere what is current goes on as it is.
    pub fn producer(&self, name: impl FnOnce() -> String) -> Option<Span> {
        self.tracer.as_ref()?;
        let parent = Context::map_current(|cx| {
            cx.has_active_span().then(|| cx.span().span_context().clone())
        });
        let parent = parent.filter(|parent| parent.is_valid() && parent.is_sampled())?;
        Some(Span(self.open(SpanKind::Producer, Some(parent), name)))
    }

    /// A span for work that several callers share: in the trace of the first of them, and linked to
    /// all. None where no caller's trace is recorded.
    pub fn shared(
        &self,
        name: &str,
        callers: impl IntoIterator<Item = SpanContext>,
    ) -> Option<Span> {
        let mut callers = callers.into_iter().filter(SpanContext::is_sampled);
        let first = callers.next().filter(|_| self.are_on())?;
        let span = Span(self.open(SpanKind::Internal, Some(first.clone()), || name.to_owned()));
        span.link_to(first);
        callers.for_each(|caller| span.link_to(caller));
        Some(span)
    }

    /// A context with a new span. Where the parent's trace is not recorded, or there are no traces
    /// here, there is none to be opened: the parent's context is the one that goes on.
    pub(crate) fn open(
        &self,
        kind: SpanKind,
        parent: Option<SpanContext>,
        name: impl FnOnce() -> String,
    ) -> Context {
        let cx = Context::new();
        let (tracer, parent_cx) = match (&self.tracer, parent) {
            (Some(tracer), None) => (tracer, cx),
            (Some(tracer), Some(parent)) if parent.is_sampled() => {
                (tracer, cx.with_remote_span_context(parent))
            }
            (_, Some(parent)) => return cx.with_remote_span_context(parent),
            (None, None) => return cx,
        };
        let span =
            tracer.build_with_context(tracer.span_builder(name()).with_kind(kind), &parent_cx);
        parent_cx.with_span(span)
    }
}

/// Work in a trace. Ends when it is dropped.
#[derive(Debug)]
#[must_use = "a span that is dropped has ended"]
pub struct Span(Context);

impl Span {
    /// Does the work in this span: what it calls and logs and sends is part of the trace.
    pub async fn run<F: Future>(self, work: F) -> F::Output {
        self.run_then(work, |_, _| {}).await
    }

    /// As [`Span::run`], and says of the span how it went.
    pub async fn run_then<F: Future>(
        self,
        work: F,
        tell: impl FnOnce(&Self, &F::Output),
    ) -> F::Output {
        let done = work.with_context(self.0.clone()).await;
        tell(&self, &done);
        drop(self);
        done
    }

    /// The context, for work that goes on elsewhere.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.0
    }

    /// Says something about the work.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        if self.0.span().is_recording() {
            self.0.span().set_attribute(KeyValue::new(name, value.into()));
        }
    }

    /// Says that it failed.
    pub fn fail(&self, why: &'static str) {
        self.0.span().set_status(Status::error(why));
    }

    /// Links it to another one.
    pub fn link_to(&self, context: SpanContext) {
        let Link { span_context, attributes, .. } = Link::with_context(context);
        self.0.span().add_link(span_context, attributes);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.0.span().end();
    }
}
