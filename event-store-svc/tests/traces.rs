//! Traces: events carry the trace that they were appended in, which is no part of their content, and
//! batches are linked to those that asked for them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

#[path = "../../crates/svc-observe/tests/observe/collector.rs"]
mod collector;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use clap::Parser as _;
use collector::Collector;
use event_store_svc::config::Config;
use futures::StreamExt as _;
use proto::eventstore::v1::event::Data;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::*;
use svc_front::Program as _;
use svc_observe::telemetry;
use tonic::{Code, Request};

const PARENT: &str = "b7ad6b7169203331";

/// The headers of a caller in this trace.
fn traceparent(trace: u32, is_recorded: bool) -> String {
    format!("00-{trace:032x}-{PARENT}-0{}", u8::from(is_recorded))
}

fn within<T>(traceparent: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=1".parse().unwrap());
    request
}

async fn append(
    service: &Service,
    topic: &str,
    traceparent: &str,
    events: Vec<Event>,
) -> Result<AppendResponse, tonic::Status> {
    let request = AppendRequest { topic: topic.into(), events, ..Default::default() };
    Ok(service.store().append(within(traceparent, request)).await?.into_inner())
}

fn with_headers(id: &str, headers: &[(&str, &str)]) -> Event {
    let headers = headers.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Event { headers, ..event(id, "s") }
}

async fn kept(service: &Service, topic: &str) -> Vec<Event> {
    service.read_all(topic).await.into_iter().map(|recorded| recorded.event.unwrap()).collect()
}

/// Whether these headers are of that trace, from a span within it.
#[track_caller]
fn assert_of_trace(headers: &BTreeMap<String, String>, trace: u32) {
    let parent = &headers["traceparent"];
    assert!(
        parent.starts_with(&format!("00-{trace:032x}-")) && parent.ends_with("-01"),
        "{parent}"
    );
    assert!(!parent.contains(PARENT), "that of the service, not of its caller: {parent}");
    assert_eq!(headers["tracestate"], "vendor=1");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One test: traces are those of the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_carry_the_trace_that_they_were_appended_in() {
    let collector = Collector::start().await;
    let redis = PrivateRedis::start();
    let flags = ["--otlp-endpoint", &collector.url, "--trace-sample", "0"];
    let args = ["event-store-svc"].into_iter().chain(flags);
    let front = Config::parse_from(args).front;
    let telemetry = telemetry::init(Config::SERVICE, &front.runtime, &front.observe.trace).unwrap();
    let service = Service::start_with(&redis, &flags).await;

    kept_with_the_trace(&service).await;
    no_part_of_the_content(&service).await;
    not_counted_against_limits(&service).await;
    untouched_where_nothing_is_recorded(&service).await;
    // Concurrent ones share batches.
    let append = |trace: u32| {
        let service = &service;
        async move {
            let events = vec![event("", "")];
            append(service, "shared", &traceparent(trace, true), events).await.unwrap();
        }
    };
    futures::stream::iter(1_000..1_200).map(append).buffer_unordered(50).count().await;
    service.shutdown.trigger();
    service.ended.await.unwrap().unwrap();
    telemetry.finish().await;

    let spans = collector.spans();
    let appends: BTreeMap<_, _> = spans
        .iter()
        .filter(|span| span.name == "eventstore.v1.EventStore/Append")
        .map(|span| ((hex(&span.trace_id), hex(&span.span_id)), span))
        .collect();
    let batches = || spans.iter().filter(|span| span.name == "append batch");
    let links: Vec<_> = batches()
        .filter(|batch| collector::attributes(&batch.attributes)["topic"] == "shared")
        .map(|batch| {
            let of = |link: &opentelemetry_proto::tonic::trace::v1::span::Link| {
                (hex(&link.trace_id), hex(&link.span_id))
            };
            let links: Vec<_> = batch.links.iter().map(of).collect();
            assert_eq!((hex(&batch.trace_id), hex(&batch.parent_span_id)), links[0]);
            links
        })
        .collect();
    let linked: BTreeSet<_> = links.iter().flatten().collect();
    assert_eq!(links.iter().flatten().count(), 200, "each append once");
    assert!(linked.iter().all(|link| appends.contains_key(*link)));
    assert!(links.iter().any(|links| links.len() > 1), "none was shared");
    assert!(links.len() < 200);
    println!("200 appends in {} batches", links.len());
}

async fn kept_with_the_trace(service: &Service) {
    let events = vec![event("a", "s"), event("", "s"), with_headers("", &[("k", "v")])];
    append(service, "kept", &traceparent(1, true), events).await.unwrap();
    let stream =
        AppendRequest { topic: "kept".into(), events: vec![event("", "s")], ..Default::default() };
    let stream = within(&traceparent(1, true), tokio_stream::iter([stream]));
    let answers = service.store().append_stream(stream).await.unwrap().into_inner();
    assert_eq!(answers.count().await, 1);
    let events = kept(service, "kept").await;
    assert_eq!(events.len(), 4);
    for (event, headers) in events.iter().zip([2, 2, 3, 2]) {
        assert_of_trace(&event.headers, 1);
        assert_eq!(event.headers.len(), headers);
        assert_eq!(event.subject.as_deref(), Some("s"));
    }
    assert_eq!(events[2].headers["k"], "v");
    // Members of groups get the same.
    service.create_group("kept", "g", GroupSettings::default()).await;
    let delivered = service.fetch("kept", "g", 1, 0).await.remove(0);
    assert_eq!(delivered.event.unwrap().event.unwrap(), events[0]);
}

async fn no_part_of_the_content(service: &Service) {
    let topic = "content";
    append(service, topic, &traceparent(2, true), vec![event("a", "s")]).await.unwrap();
    let again = append(service, topic, &traceparent(3, true), vec![event("a", "s")]).await;
    assert!(again.unwrap().deduplicated);
    assert!(service.append(topic, vec![event("a", "s")]).await.unwrap().deduplicated);
    // Nor are headers that the client itself says it with, which are kept as they are.
    let own = |trace: &str, state: &str| {
        vec![with_headers("b", &[("traceparent", trace), ("tracestate", state), ("k", "v")])]
    };
    append(service, topic, &traceparent(4, true), own("theirs", "x=1")).await.unwrap();
    let again = append(service, topic, &traceparent(5, true), own("another", "y=1")).await;
    assert!(again.unwrap().deduplicated);
    let without = vec![with_headers("b", &[("k", "v")])];
    assert!(service.append(topic, without).await.unwrap().deduplicated);
    let other = vec![with_headers("b", &[("k", "w")])];
    let status = append(service, topic, &traceparent(4, true), other).await.unwrap_err();
    assert_error(&status, Code::AlreadyExists, "ID_REUSED");
    let events = kept(service, topic).await;
    assert_eq!(events.len(), 2);
    assert_of_trace(&events[0].headers, 2);
    assert_eq!(events[1], own("theirs", "x=1")[0]);
}

async fn not_counted_against_limits(service: &Service) {
    let headers: Vec<_> = (0..64).map(|number| (format!("h-{number}"), "v".to_owned())).collect();
    let full = Event { headers: headers.into_iter().collect(), ..event("", "s") };
    let data = Some(Data::TextData("x".repeat(1 << 20)));
    let large = Event { data, ..event("", "s") };
    append(service, "full", &traceparent(6, true), vec![full, large]).await.unwrap();
    let events = kept(service, "full").await;
    assert_eq!(events[0].headers.len(), 66);
    assert_of_trace(&events[0].headers, 6);
    assert_of_trace(&events[1].headers, 6);
}

async fn untouched_where_nothing_is_recorded(service: &Service) {
    let sent = with_headers("a", &[("k", "v")]);
    append(service, "plain", &traceparent(7, false), vec![sent.clone()]).await.unwrap();
    let other = with_headers("b", &[]);
    service.append("plain", vec![other.clone()]).await.unwrap();
    assert_eq!(kept(service, "plain").await, [sent, other]);
}
