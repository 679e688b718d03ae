//! What is settled by unary calls frees the credit of the stream that it was delivered over.

use std::time::Duration;

use futures::future::join_all;
use proto::messagequeue::v1 as pb;
use redis_link::test_util::PrivateRedis;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::*;

const CALLS: usize = 100;
/// A lease is 30 s: far below that.
const SOON: Duration = Duration::from_secs(10);

fn reply_to(delivery: &pb::Delivery) -> pb::ReplyRequest {
    pb::ReplyRequest {
        queue: "q".into(),
        receipt: delivery.receipt.clone(),
        reply: Some(reply_text(text(delivery.message.as_ref().unwrap()))),
    }
}

#[tokio::test]
async fn a_stream_goes_on_when_its_messages_are_replied_to() {
    let (_redis, mut service) = start().await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 4, UnboundedReceiverStream::new(said)).await;
    let mut replier = service.mq.clone();
    let worker = tokio::spawn(async move {
        for _ in 0..CALLS {
            let got = delivery(&mut stream).await;
            replier.reply(reply_to(&got)).await.unwrap();
        }
        stream
    });
    let since = Instant::now();
    let calls = (0..CALLS).map(|n| {
        let mut caller = service.mq.clone();
        let message = Some(message(&n.to_string()));
        let request = pb::CallRequest { queue: "q".into(), message, timeout: ms(20_000) };
        async move { caller.call(request).await.unwrap().into_inner().reply.unwrap() }
    });
    let replies = join_all(calls).await;
    let wanted: Vec<_> = (0..CALLS).map(|n| reply_text(&n.to_string())).collect();
    assert_eq!(replies, wanted);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    // Nothing is left for the stream to give back.
    drop(worker.await.unwrap());
    assert_eq!(service.counts("q").await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_stream_goes_on_when_its_messages_are_acked_or_nacked_elsewhere() {
    let (_redis, mut service) = start().await;
    service.send("q", (0..3).map(|n| outgoing(&n.to_string())).collect()).await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 1, UnboundedReceiverStream::new(said)).await;
    let since = Instant::now();
    let first = delivery(&mut stream).await;
    assert_eq!(service.ack("q", &[&first.receipt]).await, [None]);
    let second = delivery(&mut stream).await;
    service.nack("q", &second.receipt, Some(3_600_000)).await;
    assert_eq!(texts(&[delivery(&mut stream).await]), ["2"]);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_message_extended_elsewhere_still_takes_its_place() {
    let (_redis, mut service) = start().await;
    service.send("q", (0..2).map(|n| outgoing(&n.to_string())).collect()).await;
    let open = pb::ConsumeOpen { queue: "q".into(), max_in_flight: Some(1), lease: ms(1_000) };
    let open = pb::ConsumeRequest { message: Some(pb::consume_request::Message::Open(open)) };
    let (say, said) = mpsc::unbounded_channel();
    say.send(open).unwrap();
    let requests = UnboundedReceiverStream::new(said);
    let mut stream = service.mq.consume(requests).await.unwrap().into_inner();
    let first = delivery(&mut stream).await;
    let extend = pb::ExtendRequest {
        queue: "q".into(),
        receipts: vec![first.receipt.clone()],
        by: ms(60_000),
    };
    service.mq.extend(extend).await.unwrap();
    // Longer than the lease, and than the second for which an ended one still counts.
    let next = tokio::time::timeout(Duration::from_millis(2_500), stream.message()).await;
    assert!(next.is_err(), "{next:?}");
    assert_eq!(service.ack("q", &[&first.receipt]).await, [None]);
    assert_eq!(texts(&[delivery(&mut stream).await]), ["1"]);
}

#[tokio::test]
async fn what_another_replica_settled_frees_credit_when_its_lease_would_have_ended() {
    let redis = PrivateRedis::start();
    let mut one = Replica::start(&redis, &[]).await;
    let mut two = Replica::start(&redis, &[]).await;
    let settings = pb::QueueSettings { lease: ms(1_000), ..Default::default() };
    one.create("q", settings).await;
    one.send("q", (0..2).map(|n| outgoing(&n.to_string())).collect()).await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = one.consume("q", 1, UnboundedReceiverStream::new(said)).await;
    let first = delivery(&mut stream).await;
    assert_eq!(two.ack("q", &[&first.receipt]).await, [None]);
    assert_eq!(texts(&[delivery(&mut stream).await]), ["1"]);
}
