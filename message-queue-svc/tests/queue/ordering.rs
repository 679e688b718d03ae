//! Ordering keys: one at a time, in order, none stuck.

use proto::messagequeue::v1 as pb;

use crate::support::*;

fn keyed(key: &str, text: &str) -> pb::OutgoingMessage {
    pb::OutgoingMessage { ordering_key: Some(key.into()), ..outgoing(text) }
}

#[tokio::test]
async fn one_of_a_key_is_in_flight_and_the_next_follows_its_ack() {
    let (_redis, mut service) = start().await;
    let messages = vec![keyed("a", "a1"), keyed("a", "a2"), keyed("b", "b1"), keyed("a", "a3")];
    service.send("q", messages).await;
    assert_eq!(service.counts("q").await, [4, 0, 0, 0]);
    let got = service.receive_now("q", 10).await;
    assert_eq!(texts(&got), ["a1", "b1"]);
    assert!(service.receive_now("q", 10).await.is_empty());
    service.ack("q", &[&got[0].receipt]).await;
    let next = service.receive_now("q", 10).await;
    assert_eq!(texts(&next), ["a2"]);
    // A failed one stays in front of its key, also while it waits.
    service.nack("q", &next[0].receipt, Some(200)).await;
    assert!(service.receive_now("q", 10).await.is_empty());
    let again = service.receive("q", 10).await;
    assert_eq!((texts(&again), again[0].attempt), (vec!["a2"], 2));
    service.ack("q", &[&again[0].receipt]).await;
    assert_eq!(texts(&service.receive_now("q", 10).await), ["a3"]);
}

#[tokio::test]
async fn a_dead_one_lets_the_next_go() {
    let (_redis, mut service) = start().await;
    let settings = pb::QueueSettings { max_attempts: Some(1), ..Default::default() };
    service.create("q", settings).await;
    let expiring = pb::OutgoingMessage { time_to_live: ms(100), ..keyed("a", "a2") };
    service.send("q", vec![keyed("a", "a1"), expiring, keyed("a", "a3")]).await;
    let got = service.receive_now("q", 1).await;
    service.until_counts("q", [1, 1, 0, 1]).await;
    service.nack("q", &got[0].receipt, None).await;
    let next = service.receive_now("q", 10).await;
    assert_eq!(texts(&next), ["a3"], "a1 is dead, a2 expired while it waited");
    service.ack("q", &[&next[0].receipt]).await;
    assert_eq!(service.counts("q").await, [0, 0, 0, 2]);
    // Sent again, they are in order again.
    let request = pb::RedriveDeadLettersRequest { queue: "q".into(), ..Default::default() };
    let redriven = service.queues.redrive_dead_letters(request).await.unwrap().into_inner();
    assert_eq!(redriven.redriven, 2);
    let got = service.receive_now("q", 10).await;
    assert_eq!(texts(&got), ["a2"]);
    service.ack("q", &[&got[0].receipt]).await;
    assert_eq!(texts(&service.receive_now("q", 10).await), ["a1"]);
}

#[tokio::test]
async fn a_delayed_one_holds_up_its_key_only() {
    let (_redis, mut service) = start().await;
    let delayed = pb::OutgoingMessage {
        due: Some(pb::outgoing_message::Due::Delay(ms(300).unwrap())),
        ..keyed("a", "a1")
    };
    service.send("q", vec![delayed, keyed("a", "a2"), keyed("b", "b1")]).await;
    assert_eq!(texts(&service.receive_now("q", 10).await), ["b1"]);
    let got = service.receive("q", 10).await;
    assert_eq!(texts(&got), ["a1"]);
    service.ack("q", &[&got[0].receipt]).await;
    assert_eq!(texts(&service.receive_now("q", 10).await), ["a2"]);
}
