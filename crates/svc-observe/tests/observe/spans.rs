//! Spans of RPCs as a collector gets them: whose children they are, how they ended.

use futures::StreamExt as _;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use proto::eventstore::v1::FILE_DESCRIPTOR_SET;
use svc_observe::rpc::ServerTrace;
use svc_observe::trace::Traces;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::collector::{Collector, SERVICE, attributes};
use super::service::{Served, append_to, read_of, serve};

async fn traced(traces: &Traces) -> Served {
    serve(ServerTrace::new(traces.spans(), &[FILE_DESCRIPTOR_SET]).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_goes_on_where_the_caller_is() {
    let collector = Collector::start().await;
    let traces = collector.traces(1.0);
    let served = traced(&traces).await;
    let mut request = tonic::Request::new(append_to("order"));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=1".parse().unwrap());
    served.client().append(request).await.unwrap();
    traces.finish().await;

    let span = collector.span("eventstore.v1.EventStore/Append");
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!(span.trace_state, "vendor=1");
    assert_eq!(span.kind(), SpanKind::Server);
    let expected = [
        ("rpc.grpc.status_code", "0"),
        ("rpc.method", "Append"),
        ("rpc.service", "eventstore.v1.EventStore"),
        ("rpc.system", "grpc"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(attributes(&span.attributes).into_iter().collect::<Vec<_>>(), expected);
    // What the handler puts into an event is the span of the append, for consumers to link to.
    let kept = served.log.kept();
    let kept_parent = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(
        (&kept[0]["traceparent"], kept[0]["tracestate"].as_str()),
        (&kept_parent, "vendor=1")
    );

    let resource = collector.resource();
    assert_eq!(resource["service.name"], SERVICE.name);
    assert_eq!(resource["service.version"], SERVICE.version);
    assert_eq!(resource["service.instance.id"].len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_the_parent_of_its_server() {
    let collector = Collector::start().await;
    let traces = collector.traces(1.0);
    let served = traced(&traces).await;
    let mut client = served.traced_client(&traces.spans());
    // Outside of a trace a client begins none; the server does.
    client.append(append_to("order")).await.unwrap();
    let work = traces.spans().server("POST /order", None);
    work.run(async { client.append(append_to("missing")).await.unwrap_err() }).await;
    traces.finish().await;

    let work = collector.span("POST /order");
    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:?}");
    let of = |kind, trace: &[u8]| {
        let found = spans.iter().filter(|s| s.kind() == kind && s.trace_id == trace);
        found.filter(|s| s.name.ends_with("/Append")).cloned().collect::<Vec<_>>()
    };
    let client = &of(SpanKind::Client, &work.trace_id)[0];
    let server = &of(SpanKind::Server, &work.trace_id)[0];
    assert_eq!(client.parent_span_id, work.span_id);
    assert_eq!(server.parent_span_id, client.span_id);
    assert!(spans.iter().any(|s| s.trace_id != work.trace_id && s.parent_span_id.is_empty()));
    // That there is no such topic is an error for the client only.
    let code = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        span.status.as_ref().map_or(0, |status| status.code)
    };
    assert_eq!((code(client), code(server)), (2, 0));
    assert_eq!(attributes(&client.attributes)["rpc.grpc.status_code"], "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_in_the_trace_of_its_producer_and_linked_to_it() {
    let collector = Collector::start().await;
    let traces = collector.traces(1.0);
    let served = traced(&traces).await;
    let mut client = served.client();
    for _ in 0..3 {
        client.append(append_to("order")).await.unwrap();
    }
    let producers: Vec<_> = served
        .log
        .kept()
        .iter()
        .map(|headers| svc_observe::context::context_of(headers).unwrap())
        .collect();
    let one = traces.spans().consumer("handle one", Some(producers[0].clone()));
    one.set("messaging.destination.name", "order");
    one.run(async {}).await;
    // A batch is a trace of its own, with a link to each.
    let batch = traces.spans().consumer("handle two", None);
    batch
        .run(async {
            svc_observe::context::link_to(producers[1].clone());
            svc_observe::context::link_to(producers[2].clone());
        })
        .await;
    traces.finish().await;

    let appends: Vec<_> =
        collector.spans().into_iter().filter(|s| s.name.ends_with("/Append")).collect();
    let append = |context: &opentelemetry::trace::SpanContext| {
        let id = context.span_id().to_bytes();
        appends.iter().find(|span| span.span_id == id).unwrap()
    };
    let one = collector.span("handle one");
    let produced = append(&producers[0]);
    assert_eq!(one.kind(), SpanKind::Consumer);
    assert_eq!((&one.trace_id, &one.parent_span_id), (&produced.trace_id, &produced.span_id));
    assert_eq!(one.links.len(), 1);
    assert_eq!(one.links[0].span_id, produced.span_id);
    assert_eq!(attributes(&one.attributes)["messaging.destination.name"], "order");
    let batch = collector.span("handle two");
    assert!(batch.parent_span_id.is_empty());
    let linked: Vec<_> = batch.links.iter().map(|link| (&link.trace_id, &link.span_id)).collect();
    let expected = [append(&producers[1]), append(&producers[2])];
    assert_eq!(linked, expected.map(|span| (&span.trace_id, &span.span_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_of_a_stream_ends_with_the_stream_and_has_its_code() {
    let collector = Collector::start().await;
    let traces = collector.traces(1.0);
    let served = traced(&traces).await;
    let mut client = served.client();
    for topic in ["order", "broken"] {
        let events: Vec<_> =
            client.read(read_of(topic)).await.unwrap().into_inner().collect().await;
        assert_eq!(events.last().unwrap().is_err(), topic == "broken");
    }
    let mut endless = client.read(read_of("endless")).await.unwrap().into_inner();
    endless.next().await.unwrap().unwrap();
    drop(endless);
    drop(client);
    served.shutdown.trigger();
    served.ended.await.unwrap();
    traces.finish().await;

    let mut codes: Vec<_> = collector
        .spans()
        .iter()
        .map(|span| {
            let code = attributes(&span.attributes)["rpc.grpc.status_code"].parse().unwrap();
            (Code::from_i32(code), span.status.as_ref().unwrap().code)
        })
        .collect();
    codes.sort_by_key(|(code, _)| *code as i32);
    assert_eq!(codes, [(Code::Ok, 0), (Code::Cancelled, 0), (Code::DataLoss, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_method_of_the_service_has_no_span() {
    let collector = Collector::start().await;
    let traces = collector.traces(1.0);
    let served = traced(&traces).await;
    HealthClient::new(served.channel()).check(HealthCheckRequest::default()).await.unwrap();
    served.client().append(append_to("order")).await.unwrap();
    traces.finish().await;
    assert_eq!(collector.spans().len(), 1);
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
