//! Ordering keys: one at a time, in order, none stuck.

use std::time::Duration;

use proto::messagequeue::v1 as pb;
use tokio::time::{Instant, sleep};

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

#[tokio::test]
async fn the_oldest_is_found_behind_its_key() {
    let (_redis, mut service) = start().await;
    let age = |queue: pb::Queue| -> Duration { queue.oldest_age.unwrap().try_into().unwrap() };
    // The first of the key is being handled; what waits behind it is the oldest that is ready.
    service.send("q", vec![keyed("a", "a1"), keyed("a", "a2"), keyed("b", "b1")]).await;
    let got = service.receive_now("q", 2).await;
    assert_eq!(texts(&got), ["a1", "b1"]);
    let since = Instant::now();
    sleep(Duration::from_millis(300)).await;
    service.send("q", vec![outgoing("young"), keyed("a", "a3"), keyed("b", "b2")]).await;
    assert!(age(service.info("q").await) >= Duration::from_millis(300));
    // It goes on to be the first, then it is taken, and only younger ones are left.
    service.ack("q", &[&got[0].receipt]).await;
    assert!(age(service.info("q").await) >= Duration::from_millis(300));
    assert_eq!(texts(&service.receive_now("q", 2).await), ["young", "a2"]);
    assert!(age(service.info("q").await) < since.elapsed() - Duration::from_millis(290));
    // Those that expire, are withdrawn or purged while they wait are not waited for.
    let purge = pb::PurgeQueueRequest { queue: "q".into() };
    service.queues.purge_queue(purge).await.unwrap();
    assert_eq!(service.info("q").await.oldest_age, None);
    let expiring = pb::OutgoingMessage { time_to_live: ms(50), ..keyed("a", "a4") };
    service.send("q", vec![expiring]).await;
    assert!(service.info("q").await.oldest_age.is_some());
    service.until_counts("q", [0, 3, 0, 1]).await;
    assert_eq!(service.info("q").await.oldest_age, None);
}

#[tokio::test]
async fn many_that_expired_behind_a_key_hold_nothing_up() {
    let (redis, mut service) = start().await;
    let expiring =
        |n: usize| pb::OutgoingMessage { time_to_live: ms(100), ..keyed("a", &n.to_string()) };
    service.send("q", vec![keyed("a", "first")]).await;
    for batch in 0..5 {
        service.send("q", (0..1_000).map(|n| expiring(batch * 1_000 + n)).collect()).await;
    }
    service.send("q", vec![keyed("a", "last")]).await;
    service.until_counts("q", [2, 0, 0, 5_000]).await;
    assert_eq!(redis.cli(&["ZCARD", "mq:{q}:waiting"]), "1\n");
    let got = service.receive_now("q", 10).await;
    assert_eq!(texts(&got), ["first"]);
    service.ack("q", &[&got[0].receipt]).await;
    assert_eq!(texts(&service.receive_now("q", 10).await), ["last"]);
}
