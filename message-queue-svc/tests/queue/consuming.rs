//! Consume: credit, acks on the stream, giving back, ending.

use std::time::Duration;

use proto::messagequeue::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::*;

#[tokio::test]
async fn a_stream_delivers_up_to_its_credit_and_takes_acks() {
    let (_redis, mut service) = start().await;
    service.send("q", (0..5).map(|n| outgoing(&n.to_string())).collect()).await;
    let (say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 2, UnboundedReceiverStream::new(said)).await;
    let (first, second) = (delivery(&mut stream).await, delivery(&mut stream).await);
    assert_eq!(texts(&[first.clone(), second]), ["0", "1"]);
    assert_eq!(service.counts("q").await, [3, 2, 0, 0]);
    say.send(ack_of(&[&first.receipt, "nonsense"])).unwrap();
    assert_eq!(reasons(vec![outcome(&mut stream).await]), [None]);
    assert_eq!(reasons(vec![outcome(&mut stream).await]), [Some("INVALID_ARGUMENT".into())]);
    let third = delivery(&mut stream).await;
    assert_eq!(texts(std::slice::from_ref(&third)), ["2"]);
    let nack = pb::ConsumeNack {
        receipts: vec![third.receipt],
        dead_letter: true,
        reason: "broken".into(),
        ..Default::default()
    };
    say.send(pb::ConsumeRequest { message: Some(pb::consume_request::Message::Nack(nack)) })
        .unwrap();
    assert_eq!(reasons(vec![outcome(&mut stream).await]), [None]);
    let dead = service.dead_letters("q").await;
    assert_eq!(
        (dead[0].reason(), dead[0].last_error.as_str()),
        (pb::DeadLetterReason::Rejected, "broken")
    );
    assert_eq!(service.info("q").await.consumers, 1);
}

#[tokio::test]
async fn a_stream_that_breaks_off_gives_back_what_it_held() {
    let (_redis, mut service) = start().await;
    service.send("q", (0..3).map(|n| outgoing(&n.to_string())).collect()).await;
    let (say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 10, UnboundedReceiverStream::new(said)).await;
    for _ in 0..3 {
        delivery(&mut stream).await;
    }
    let since = tokio::time::Instant::now();
    drop((stream, say));
    service.until_counts("q", [3, 0, 0, 0]).await;
    assert!(since.elapsed() < Duration::from_secs(1));
    let got = service.receive_now("q", 10).await;
    assert!(got.iter().all(|delivery| delivery.attempt == 1), "nobody failed");
}

#[tokio::test]
async fn what_is_acked_last_is_answered_before_the_end() {
    let (_redis, mut service) = start().await;
    service.send("q", vec![outgoing("x")]).await;
    let (say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 1, UnboundedReceiverStream::new(said)).await;
    let got = delivery(&mut stream).await;
    say.send(ack_of(&[&got.receipt])).unwrap();
    drop(say);
    assert_eq!(reasons(vec![outcome(&mut stream).await]), [None]);
    assert!(stream.message().await.unwrap().is_none());
    assert_eq!(service.counts("q").await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_stream_on_a_missing_queue_waits_for_it() {
    let (_redis, mut service) = start().await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("new", 1, UnboundedReceiverStream::new(said)).await;
    service.send("new", vec![outgoing("x")]).await;
    assert_eq!(texts(&[delivery(&mut stream).await]), ["x"]);
}

#[tokio::test]
async fn a_wrong_first_message_ends_the_stream_with_what_is_wrong() {
    let (_redis, mut service) = start().await;
    let requests = futures::stream::iter([ack_of(&["x"])]);
    let mut stream = service.mq.consume(requests).await.unwrap().into_inner();
    assert_eq!(reason(&stream.message().await.unwrap_err()), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn many_streams_share_many_messages_once_each() {
    let (_redis, mut service) = start().await;
    let mut workers = Vec::new();
    for _ in 0..4 {
        let (say, said) = mpsc::unbounded_channel();
        let mut stream = service.consume("q", 64, UnboundedReceiverStream::new(said)).await;
        workers.push(tokio::spawn(async move {
            let mut got = Vec::new();
            while let Ok(Some(response)) = stream.message().await {
                match response.message.unwrap() {
                    pb::consume_response::Message::Delivery(delivery) => {
                        say.send(ack_of(&[&delivery.receipt])).unwrap();
                        got.push(text(&delivery.message.unwrap()).to_owned());
                    }
                    pb::consume_response::Message::Outcome(outcome) => {
                        assert_eq!(outcome.error, None);
                    }
                    pb::consume_response::Message::Heartbeat(_) => {}
                }
            }
            got
        }));
    }
    for batch in 0..20 {
        let messages = (0..500).map(|n| outgoing(&format!("{}", batch * 500 + n)));
        service.send("q", messages.collect()).await;
    }
    service.until_counts("q", [0, 0, 0, 0]).await;
    service.shutdown.trigger();
    let mut all = Vec::new();
    for worker in workers {
        let got = worker.await.unwrap();
        assert!(!got.is_empty(), "each gets its share");
        all.extend(got);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10_000);
}

#[tokio::test]
async fn sends_leave_their_part_to_consumers_of_other_replicas() {
    let redis = redis_link::test_util::PrivateRedis::start();
    let mut near = Replica::start(&redis, &[]).await;
    let mut far = Replica::start(&redis, &[]).await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut at_near = near.consume("q", 1_000, UnboundedReceiverStream::new(said)).await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut at_far = far.consume("q", 1_000, UnboundedReceiverStream::new(said)).await;
    // Both are known, and hold something: neither is idle.
    near.send("q", vec![outgoing("x"), outgoing("x")]).await;
    near.until_counts("q", [0, 2, 0, 0]).await;
    for _ in 0..300 {
        near.send("q", vec![outgoing("x")]).await;
    }
    let (mut near_got, mut far_got) = (0, 0);
    while near_got + far_got < 302 {
        tokio::select! {
            _ = delivery(&mut at_near) => near_got += 1,
            _ = delivery(&mut at_far) => far_got += 1,
        }
    }
    println!("{near_got} where they were sent, {far_got} at the other replica");
    assert!(near_got >= 30 && far_got >= 30, "{near_got} and {far_got}");
}

#[tokio::test]
async fn a_time_that_is_past_is_at_once_for_consumers_that_wait_too() {
    let (_redis, mut service) = start().await;
    let mut stream = service.consume("q", 10, futures::stream::pending()).await;
    // One after the other, so that each finds the consumer waiting.
    service.send("q", vec![outgoing("first")]).await;
    assert_eq!(text(delivery(&mut stream).await.message.as_ref().unwrap()), "first");
    let past =
        pb::outgoing_message::Due::DeliverAt(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let late = pb::OutgoingMessage { due: Some(past), ..outgoing("late") };
    service.send("q", vec![outgoing("before"), late, outgoing("after")]).await;
    for wanted in ["before", "late", "after"] {
        assert_eq!(text(delivery(&mut stream).await.message.as_ref().unwrap()), wanted);
    }
    assert_eq!(service.counts("q").await, [0, 4, 0, 0]);
}
