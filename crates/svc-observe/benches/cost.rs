//! What observing costs: CPU nanoseconds per count and per call, each beside the same without it.
//!
//! `cargo bench -p svc-observe` prints a table. CPU time of the thread is measured, not the clock,
//! so that the figures hold on a machine that does other things as well; of nine rounds the median
//! counts.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and ends when it fails"
)]

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::WithTrailers};
use nix::time::{ClockId, clock_gettime};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use proto::eventstore::v1::FILE_DESCRIPTOR_SET;
use svc_observe::Service;
use svc_observe::args::TraceArgs;
use svc_observe::context::{context_of, inject, map_entries};
use svc_observe::metrics::Metrics;
use svc_observe::rpc::{Measure, Observe, ObserveLayer, ServerTrace, around};
use svc_observe::trace::Traces;
use svc_runtime::health::Readiness;
use tonic::service::Routes;
use tower::{Layer as _, Service as _, service_fn};

const SERVICE: Service = Service { name: "bench", version: "0.0.0" };
const ROUNDS: usize = 9;

fn cpu_nanos() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 * 1e9 + time.tv_nsec() as f64
}

/// CPU nanoseconds of one, the median of some rounds.
fn per_one(times: usize, mut one: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = cpu_nanos();
            (0..times).for_each(|_| one());
            (cpu_nanos() - begun) / times as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn row(what: &str, nanos: f64) {
    println!("{what:<58} {nanos:>8.1} ns");
}

fn counting(metrics: &Metrics) {
    const TIMES: usize = 1_000_000;
    println!("counting");
    let plain = AtomicU64::new(0);
    row(
        "  an atomic addition",
        per_one(TIMES, || {
            black_box(&plain).fetch_add(1, Ordering::Relaxed);
        }),
    );
    let topic = metrics.topics().of(["order"]);
    row("  by topic, with its handle", per_one(TIMES, || black_box(&topic).appended.add(1)));
    row(
        "  by topic, asking for the handle",
        per_one(TIMES, || {
            metrics.topics().of([black_box("order")]).appended.add(1);
        }),
    );
    row(
        "  by topic and group, asking for the handle",
        per_one(TIMES, || {
            metrics.groups().of([black_box("order"), black_box("billing")]).acked.add(1);
        }),
    );
    let counter = metrics::counter!("redis_reconnects_total");
    row(
        "  a counter of the facade, with its handle",
        per_one(TIMES, || {
            black_box(&counter).increment(1);
        }),
    );
    let histogram = metrics::histogram!("eventstore_append_seconds");
    row(
        "  a histogram of the facade, with its handle",
        per_one(TIMES, || {
            black_box(&histogram).record(black_box(0.001));
        }),
    );
    row(
        "  the same by name and label, without a handle",
        per_one(TIMES / 10, || {
            metrics::counter!("redis_errors_total", "kind" => black_box("timeout").to_owned())
                .increment(1);
        }),
    );
}

type Body =
    WithTrailers<Full<bytes::Bytes>, BoxFuture<'static, Option<Result<HeaderMap, Infallible>>>>;

/// What tonic answers: headers, one message, trailers.
async fn answer(_: Request<()>) -> Result<Response<Body>, Infallible> {
    let trailers: BoxFuture<'static, _> = Box::pin(async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        Some(Ok(trailers))
    });
    Ok(Response::new(Full::default().with_trailers(trailers)))
}

fn call_with(observe: impl Observe, parent: Option<&'static str>) -> f64 {
    let mut service = ObserveLayer(observe).layer(service_fn(answer));
    per_one(50_000, || {
        let mut request = Request::new(());
        *request.uri_mut() = "http://h/eventstore.v1.EventStore/Append".parse().unwrap();
        if let Some(parent) = parent {
            request.headers_mut().insert("traceparent", parent.parse().unwrap());
        }
        let response = service.call(request).now_or_never().unwrap().unwrap();
        black_box(response.into_body().collect().now_or_never().unwrap().unwrap());
    })
}

fn calls(traces: [&Traces; 2]) {
    let measure = || Measure::new(&[FILE_DESCRIPTOR_SET]).unwrap();
    let [none, all] = traces.map(|traces| {
        let trace = ServerTrace::new(traces.spans(), &[FILE_DESCRIPTOR_SET]).unwrap();
        move || trace.clone()
    });
    println!("a call, beyond one that is not observed");
    let bare = call_with(None::<Measure>, None);
    row("  (the call itself, layer there but off)", bare);
    let off = (None::<Measure>, None::<ServerTrace>);
    row("  metrics off, traces off", call_with(off, None) - bare);
    row("  metrics", call_with(measure(), None) - bare);
    row("  traces: a new one, not recorded", call_with(none(), None) - bare);
    let parent = |flags| match flags {
        0 => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        _ => "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    };
    row("  traces: the caller's, not recorded", call_with(none(), Some(parent(0))) - bare);
    row("  traces: a new one, recorded", call_with(all(), None) - bare);
    row("  traces: the caller's, recorded", call_with(all(), Some(parent(1))) - bare);
    row("  metrics and a trace that is recorded", call_with((measure(), all()), None) - bare);
}

/// A health check through tonic's routes, as a server calls them.
fn check_with(around: impl FnOnce(Routes) -> Routes) -> f64 {
    let (_, health) = Readiness::new(&[]);
    let mut routes = around(Routes::new(health)).prepare();
    per_one(20_000, || {
        let body = Full::new(bytes::Bytes::from_static(&[0; 5]));
        let request = Request::post("http://h/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::new(body))
            .unwrap();
        let response = routes.call(request).now_or_never().unwrap().unwrap();
        black_box(response.into_body().collect().now_or_never().unwrap().unwrap());
    })
}

fn routes(traces: &Traces) {
    println!("a health check through tonic's routes, beyond one without the layer");
    let descriptors = [tonic_health::pb::FILE_DESCRIPTOR_SET];
    let measure = || Measure::new(&descriptors).unwrap();
    let trace = || ServerTrace::new(traces.spans(), &descriptors).unwrap();
    let bare = check_with(|routes| routes);
    row("  (the check itself)", bare);
    let off = (None::<Measure>, None::<ServerTrace>);
    row("  layer there, metrics and traces off", check_with(|r| around(r, off)) - bare);
    let metrics = (Some(measure()), None::<ServerTrace>);
    row("  metrics", check_with(|r| around(r, metrics)) - bare);
    let both = (Some(measure()), Some(trace()));
    row("  metrics and a trace that is recorded", check_with(|r| around(r, both)) - bare);
}

fn headers(traces: &Traces) {
    println!("headers of an event or message");
    const TIMES: usize = 200_000;
    let put = || {
        let mut headers = Vec::new();
        inject(&mut headers);
        black_box(headers);
    };
    row("  putting the context in, traces off", per_one(TIMES, put));
    let span = traces.spans().server("work", None);
    let attached = span.context().clone().attach();
    row("  putting the context in", per_one(TIMES, put));
    let entries = || {
        black_box(map_entries(7));
    };
    row("  the same, as fields of an encoded event", per_one(TIMES, entries));
    drop(attached);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    row(
        "  reading it",
        per_one(TIMES, || {
            black_box::<Option<SpanContext>>(context_of([("traceparent", black_box(parent))]));
        }),
    );
    assert!(span.context().span().span_context().is_valid());
}

/// Spans go to a collector that is not there: what is lost is lost, and costs as much.
fn traces(sample: f64) -> Traces {
    let args = TraceArgs { otlp_endpoint: Some("http://127.0.0.1:1".into()), trace_sample: sample };
    Traces::start(SERVICE, &args).unwrap().unwrap()
}

#[tokio::main]
async fn main() {
    let metrics = Metrics::install(SERVICE, 200).unwrap();
    let (none, all) = (traces(0.0), traces(1.0));
    counting(&metrics);
    calls([&none, &all]);
    routes(&all);
    headers(&all);
}
