//! All of it as a service sets it up: one call, spans of `tracing` within those of RPCs, and the
//! last spans out before the end.

use clap::Parser;
use proto::eventstore::v1::FILE_DESCRIPTOR_SET;
use svc_observe::args::ObserveArgs;
use svc_observe::rpc::{Measure, ServerTrace};
use svc_observe::{telemetry, trace};
use svc_runtime::config::RuntimeArgs;

use super::collector::{Collector, SERVICE};
use super::service::{append_to, serve};

#[derive(Parser)]
struct Config {
    #[command(flatten)]
    observe: ObserveArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_tracing_are_children_of_the_rpc() {
    let collector = Collector::start().await;
    assert!(!trace::spans().are_on());
    // Also where log lines of that level are not wanted.
    let config = Config::parse_from([
        "svc",
        "--otlp-endpoint",
        &collector.url,
        "--trace-sample",
        "1.0",
        "--log-level",
        "warn",
    ]);
    let guard = telemetry::init(SERVICE, &config.runtime, &config.observe.trace).unwrap();
    let again = telemetry::init(SERVICE, &config.runtime, &config.observe.trace);
    assert!(matches!(again, Err(telemetry::TelemetryError::AlreadySet(_))));

    // As with --admin-listen off: what measures is not there.
    let observe =
        (None::<Measure>, ServerTrace::new(trace::spans(), &[FILE_DESCRIPTOR_SET]).unwrap());
    let served = serve(observe).await;
    let mut client = served.traced_client(&trace::spans());
    let work = trace::spans().server("POST /order", None);
    work.run(async { client.append(append_to("order")).await.unwrap() }).await;
    guard.finish().await;

    let rest = collector.span("POST /order");
    let store = collector.span("store");
    let spans = collector.spans();
    let parent_of = |id: &[u8]| spans.iter().find(|span| span.span_id == id).unwrap();
    let server = parent_of(&store.parent_span_id);
    let client = parent_of(&server.parent_span_id);
    assert_eq!(server.name, "eventstore.v1.EventStore/Append");
    assert_eq!(client.name, server.name);
    assert_eq!(client.parent_span_id, rest.span_id);
    assert!(spans.iter().all(|span| span.trace_id == rest.trace_id), "{spans:?}");
    assert_eq!(spans.len(), 4, "{spans:?}");
    // The event links to the innermost: what stored it.
    let kept = &served.log.kept()[0]["traceparent"];
    assert!(kept.contains(&super::spans::hex(&store.span_id)), "{kept}");
}
