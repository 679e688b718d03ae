//! A rule that is taken away ends the streams that it had allowed, and only those.

use std::time::Duration;

use proto::eventstore::v1::consume_request::Message as Say;
use proto::eventstore::v1::*;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::guarded::{Guarded, rule, token};
use crate::support::*;

fn of_worker<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {}", token("worker")).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// What a stream ends with.
async fn end<T: std::fmt::Debug>(mut stream: Streaming<T>) -> Status {
    let end = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended well"),
                Err(status) => return status,
            }
        }
    };
    timeout(Duration::from_secs(20), end).await.expect("the stream ends")
}

#[track_caller]
fn assert_lacks(status: &Status, right: &str) {
    let facts = assert_error(status, Code::PermissionDenied, "PERMISSION_DENIED");
    assert_eq!(facts.metadata["right"], right);
}

async fn subscribe(guarded: &Guarded, topic: &str) -> Streaming<SubscribeResponse> {
    let request = SubscribeRequest {
        topics: vec![TopicStart { topic: topic.into(), start: None }],
        heartbeat_interval: Some(millis(1_000)),
        ..Default::default()
    };
    let mut stream =
        guarded.guarded.store().subscribe(of_worker(request)).await.unwrap().into_inner();
    stream.message().await.unwrap().expect("an answer");
    stream
}

async fn consume(
    guarded: &Guarded,
) -> (UnboundedSender<ConsumeRequest>, Streaming<ConsumeResponse>) {
    let (say, said) = unbounded_channel();
    let open = ConsumeOpen {
        topic: "t".into(),
        group: "g".into(),
        consumer: "c".into(),
        max_in_flight: None,
    };
    say.send(ConsumeRequest { message: Some(Say::Open(open)) }).unwrap();
    let requests = of_worker(UnboundedReceiverStream::new(said));
    let mut stream = guarded.guarded.groups().consume(requests).await.unwrap().into_inner();
    stream.message().await.unwrap().expect("a delivery");
    (say, stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_when_their_rule_is_taken_away() {
    let everything = ["append", "read", "consume"];
    let all = rule("worker", &everything, &["t", "quiet"]);
    let guarded = Guarded::start(&["worker"], &all, &[]).await;
    guarded.open.append("t", vec![event("", "s")]).await.unwrap();
    guarded.open.append("quiet", vec![event("", "s")]).await.unwrap();
    guarded.open.create_group("t", "g", GroupSettings::default()).await;

    let busy = subscribe(&guarded, "t").await;
    let quiet = subscribe(&guarded, "quiet").await;
    let (_say, consumer) = consume(&guarded).await;
    let append =
        || AppendRequest { topic: "t".into(), events: vec![event("", "s")], ..Default::default() };
    let (write, written) = unbounded_channel();
    let requests = of_worker(UnboundedReceiverStream::new(written));
    write.send(append()).unwrap();
    let mut writer = guarded.guarded.store().append_stream(requests).await.unwrap().into_inner();
    let answer = writer.message().await.unwrap().unwrap();
    assert!(matches!(answer.result, Some(append_stream_response::Result::Appended(_))));

    guarded.rules(&rule("worker", &["administer"], &["elsewhere"]));
    let (busy, quiet, consumer) = tokio::join!(end(busy), end(quiet), async {
        // Something to deliver, again and again.
        let events = async {
            loop {
                guarded.open.append("t", vec![event("", "s")]).await.unwrap();
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            status = end(consumer) => status,
            () = events => unreachable!(),
        }
    });
    assert_lacks(&busy, "read");
    assert_lacks(&quiet, "read");
    assert_lacks(&consumer, "consume");

    // A stream of appends goes on; what it asks for is refused.
    write.send(append()).unwrap();
    let answer = writer.message().await.unwrap().unwrap();
    let Some(append_stream_response::Result::Error(error)) = answer.result else {
        panic!("{answer:?}")
    };
    assert_lacks(&svc_runtime::rpc_error::status_of(&error), "append");

    // What the consumer held is delivered to others, unseen.
    let events = guarded.open.read_all("t").await.len();
    let mut delivered = 0;
    while delivered < events {
        let found = guarded.open.fetch("t", "g", 1_000, 5_000).await;
        assert!(!found.is_empty(), "{delivered} of {events}");
        assert!(found.iter().all(|delivery| delivery.delivery_count == 1));
        delivered += found.len();
    }

    // And given back, the right holds again.
    guarded.rules(&all);
    let is_back = || async { guarded.guarded.store().append(of_worker(append())).await.is_ok() };
    crate::soon("the right is back", is_back).await;
    subscribe(&guarded, "t").await;
}
