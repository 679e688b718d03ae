//! Traces that go on in messages: what a message carries is the span of the call that sent it, and a
//! consumer's span can be linked to it. Exported to a collector of OTLP, as in production.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has to fail")]

#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../crates/svc-observe/tests/observe/collector.rs"]
mod collector;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "queue/support.rs"]
mod support;

use clap::Parser as _;
use futures::{StreamExt as _, stream};
use message_queue_svc::config::Config;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use proto::messagequeue::v1 as pb;
use svc_front::Program as _;
use svc_observe::{context, telemetry, trace};
use tonic::Request;

use collector::Collector;
use support::*;

const NAME: &str = "messagequeue.v1.MessageQueue";

/// The client's span in trace `n`.
fn parent(n: u8) -> String {
    format!("00-{n:032x}-{:016x}-01", 255)
}

fn traced<T>(n: u8, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", parent(n).parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=1".parse().unwrap());
    request
}

fn to(queue: &str, messages: Vec<pb::OutgoingMessage>) -> pb::SendRequest {
    pb::SendRequest { queue: queue.into(), messages, durability: 0 }
}

fn keyed(parent: Option<String>) -> pb::OutgoingMessage {
    let mut message = outgoing("keyed");
    message.dedup_key = Some("key".into());
    let headers = &mut message.message.as_mut().unwrap().headers;
    headers.extend(parent.map(|parent| ("traceparent".to_owned(), parent)));
    message
}

fn context_in(message: &pb::Message) -> &str {
    assert_eq!(message.headers["tracestate"], "vendor=1");
    &message.headers["traceparent"]
}

/// How a message has the span in it.
fn header_of(span: &Span) -> String {
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The span of a method in trace `n`, the child of its client's.
fn span_of(spans: &[Span], method: &str, n: u8) -> Span {
    let name = format!("{NAME}/{method}");
    let mut trace_id = [0; 16];
    trace_id[15] = n;
    let mut found = spans.iter().filter(|span| span.name == name && span.trace_id == trace_id);
    let span = found.next().unwrap_or_else(|| panic!("{name} is not in trace {n}: {spans:?}"));
    assert!(found.next().is_none(), "{name} is in trace {n} twice");
    assert_eq!(hex(&span.parent_span_id), format!("{:016x}", 255));
    span.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_carries_the_span_that_sent_it() {
    let collector = Collector::start().await;
    // Only callers begin traces here.
    let flags = ["mq", "--otlp-endpoint", &collector.url, "--trace-sample", "0.0"];
    let config = Config::parse_from(flags);
    let guard =
        telemetry::init(Config::SERVICE, &config.front.runtime, &config.front.observe.trace)
            .unwrap();
    let (redis, mut service) = start().await;

    // Outside of a trace that is recorded, what is stored is what came, byte for byte.
    service.send("plain", vec![outgoing("plain")]).await;
    let mut unrecorded = Request::new(to("plain", vec![outgoing("plain")]));
    let off = parent(9).replace("-01", "-00");
    unrecorded.metadata_mut().insert("traceparent", off.parse().unwrap());
    service.mq.send(unrecorded).await.unwrap();
    // Two times, two lengths, the id and its tag, and then the message.
    let length = 12 + 3 + 2 + 33 + message("plain").encoded_len();
    let lengths = "local all = {} for _, record in ipairs(redis.call('HVALS', KEYS[1])) do \
                   all[#all + 1] = #record end return table.concat(all, ' ')";
    let kept = redis.cli(&["EVAL", lengths, "1", "mq:{plain}:body"]);
    assert_eq!(kept.trim(), format!("{length} {length}"));
    for delivery in service.receive("plain", 2).await {
        assert!(delivery.message.unwrap().headers.is_empty());
    }

    // Each message of a Send, and of a stream.
    service.mq.send(traced(1, to("sent", vec![outgoing("a"), outgoing("b")]))).await.unwrap();
    let requests = ["c", "d"].map(|text| to("sent", vec![outgoing(text)]));
    let answers = service.mq.send_stream(traced(2, stream::iter(requests))).await.unwrap();
    assert_eq!(answers.into_inner().filter_map(async |sent| sent.ok()).count().await, 2);
    let sent = service.receive("sent", 4).await;
    let sent: Vec<_> = sent.into_iter().map(|delivery| delivery.message.unwrap()).collect();
    assert_eq!(sent.iter().map(text).collect::<Vec<_>>(), ["a", "b", "c", "d"]);

    // A retry may be part of another trace, and one that the client says itself stays.
    let first = service.mq.send(traced(3, to("keyed", vec![keyed(None)]))).await.unwrap();
    for (n, own) in [(4, None), (5, Some(parent(77))), (6, Some(parent(78)))] {
        let again = traced(n, to("keyed", vec![keyed(own)]));
        let again = service.mq.send(again).await.unwrap().into_inner();
        assert!(again.results[0].deduplicated, "in trace {n}");
        assert_eq!(again.results[0].message_id, first.get_ref().results[0].message_id);
    }
    let mut own = outgoing("own");
    own.message.as_mut().unwrap().headers.insert("traceparent".into(), parent(77));
    service.mq.send(traced(7, to("own", vec![own.clone()]))).await.unwrap();
    let mut kept = service.receive("own", 1).await.remove(0).message.unwrap();
    kept.id = None;
    assert_eq!(Some(kept), own.message);

    // A call, handled by a worker that goes on in its trace.
    let mut worker = service.mq.clone();
    let works = tokio::spawn(async move {
        let request =
            pb::ReceiveRequest { queue: "called".into(), wait: ms(20_000), ..Default::default() };
        let delivery = worker.receive(request).await.unwrap().into_inner().deliveries.remove(0);
        let producer = context::context_of(&delivery.message.as_ref().unwrap().headers);
        let work = trace::spans().consumer("work", producer);
        let reply = Some(reply_text("done"));
        let reply = pb::ReplyRequest { queue: "called".into(), receipt: delivery.receipt, reply };
        work.run(async { worker.reply(reply).await.unwrap() }).await;
    });
    let call = pb::CallRequest {
        queue: "called".into(),
        message: Some(message("call")),
        timeout: ms(20_000),
    };
    service.mq.call(traced(8, call)).await.unwrap();
    works.await.unwrap();
    service.stop().await;
    guard.finish().await;

    let spans = collector.spans();
    let (send, stream) = (span_of(&spans, "Send", 1), span_of(&spans, "SendStream", 2));
    let wanted = [&send, &send, &stream, &stream].map(header_of);
    assert_eq!(sent.iter().map(context_in).collect::<Vec<_>>(), wanted);
    let (call, work) = (span_of(&spans, "Call", 8), collector.span("work"));
    assert_eq!((&work.trace_id, &work.parent_span_id), (&call.trace_id, &call.span_id));
    assert_eq!(work.links.len(), 1);
    assert_eq!(work.links[0].span_id, call.span_id);
    assert!(spans.iter().all(|span| span.trace_id[15] != 9), "trace 9 is not recorded");
}
