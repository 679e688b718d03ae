//! Which traces are recorded, and that a collector that is away disturbs nobody.

use std::time::{Duration, Instant};

use opentelemetry::trace::TraceContextExt as _;
use proto::eventstore::v1::FILE_DESCRIPTOR_SET;
use svc_observe::context::context_of;
use svc_observe::rpc::ServerTrace;
use svc_observe::trace::{FLUSH_LIMIT, Traces};
use tokio::net::TcpListener;

use super::collector::{Collector, SERVICE, args};
use super::service::{append_to, serve};

const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_RECORDED: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Appends with each of these parents, and tells the contexts that were kept with the events.
async fn append_with(traces: &Traces, parents: &[Option<&str>]) -> Vec<String> {
    let served = serve(ServerTrace::new(traces.spans(), &[FILE_DESCRIPTOR_SET]).unwrap()).await;
    let mut client = served.client();
    for parent in parents {
        let mut request = tonic::Request::new(append_to("order"));
        if let Some(parent) = parent {
            request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        }
        client.append(request).await.unwrap();
    }
    served.log.kept().iter().map(|headers| headers["traceparent"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_records_is_followed_and_one_that_does_not_as_well() {
    for (sample, spans) in [(0.0, 1), (1.0, 2)] {
        let collector = Collector::start().await;
        let traces = collector.traces(sample);
        let kept = append_with(&traces, &[Some(RECORDED), Some(NOT_RECORDED), None]).await;
        traces.finish().await;
        assert_eq!(collector.spans().len(), spans, "{sample}");
        // Also what is not recorded is passed on, so that those behind do not record a part.
        assert!(kept[0].starts_with("00-0af7651916cd") && kept[0].ends_with("-01"), "{kept:?}");
        assert_eq!(kept[1], NOT_RECORDED);
        assert!(kept[2].ends_with(if sample == 0.0 { "-00" } else { "-01" }), "{kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_new_traces_as_many_are_recorded_as_asked_for() {
    let collector = Collector::start().await;
    let traces = collector.traces(0.25);
    let spans = traces.spans();
    let recorded = (0..4_000)
        .filter(|_| spans.server("request", None).context().span().span_context().is_sampled())
        .count();
    // Five standard deviations of 27.
    assert!((1_000 - 137..=1_000 + 137).contains(&recorded), "{recorded}");
    traces.finish().await;
    assert_eq!(collector.spans().len(), recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_nobody_anything() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let traces = Traces::start(SERVICE, &args(&url, 1.0)).unwrap().unwrap();
    let kept = append_with(&traces, &[None; 50]).await;
    assert!(kept.iter().all(|parent| context_of([("traceparent", parent)]).is_some()));
    let begun = Instant::now();
    traces.finish().await;
    assert!(begun.elapsed() < FLUSH_LIMIT + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_holds_up_the_end_for_a_bounded_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let traces = Traces::start(SERVICE, &args(&url, 1.0)).unwrap().unwrap();
    append_with(&traces, &[None]).await;
    let begun = Instant::now();
    traces.finish().await;
    let took = begun.elapsed();
    assert!((FLUSH_LIMIT..FLUSH_LIMIT + Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn without_an_endpoint_there_are_none() {
    let off = svc_observe::args::TraceArgs { otlp_endpoint: None, trace_sample: 1.0 };
    assert!(Traces::start(SERVICE, &off).unwrap().is_none());
    let spans = svc_observe::trace::Spans::default();
    assert!(!spans.are_on());
    let producer = context_of([("traceparent", RECORDED)]).unwrap();
    let work = spans.consumer("work", Some(producer.clone()));
    let span = work.context().span();
    assert!(!span.is_recording());
    assert_eq!(span.span_context(), &producer, "what comes goes on to whoever has traces");
}
