//! Receive, Ack, Nack, Extend: leases end, are fenced, are given back.

use std::time::Duration;

use proto::messagequeue::v1 as pb;
use redis_link::test_util::PrivateRedis;

use crate::support::*;

#[tokio::test]
async fn an_expired_lease_is_delivered_again_and_fences_the_first() {
    let (_redis, mut service) = start().await;
    service.send("q", vec![outgoing("x")]).await;
    let first = service.receive_for("q", 1, Some(1_000), 0).await;
    let second = service.receive("q", 1).await;
    assert_eq!((first[0].attempt, second[0].attempt), (1, 2));
    assert_eq!(first[0].message, second[0].message);
    assert_eq!(service.ack("q", &[&first[0].receipt]).await, [Some("LEASE_LOST".into())]);
    assert_eq!(service.ack("q", &[&second[0].receipt]).await, [None]);
    assert_eq!(service.ack("q", &[&second[0].receipt]).await, [None], "again is a success");
    assert_eq!(service.ack("q", &[&first[0].receipt]).await, [Some("LEASE_LOST".into())]);
}

#[tokio::test]
async fn an_extended_lease_lasts() {
    let (_redis, mut service) = start().await;
    service.send("q", vec![outgoing("x")]).await;
    let got = service.receive_for("q", 1, Some(1_000), 0).await;
    let extend = pb::ExtendRequest {
        queue: "q".into(),
        receipts: vec![got[0].receipt.clone(), "nonsense".into()],
        by: ms(60_000),
    };
    let outcomes = service.mq.extend(extend).await.unwrap().into_inner().outcomes;
    assert_eq!(reasons(outcomes), [None, Some("INVALID_ARGUMENT".into())]);
    assert!(service.receive_for("q", 1, None, 1_500).await.is_empty());
    assert_eq!(service.ack("q", &[&got[0].receipt]).await, [None]);
}

#[tokio::test]
async fn a_nack_waits_as_it_says_or_as_the_backoff_does() {
    let (_redis, mut service) = start().await;
    let backoff = pb::Backoff { initial: ms(300), ..Default::default() };
    let settings = pb::QueueSettings { retry_backoff: Some(backoff), ..Default::default() };
    service.create("q", settings).await;
    service.send("q", vec![outgoing("x")]).await;
    let first = service.receive("q", 1).await;
    service.nack("q", &first[0].receipt, Some(0)).await;
    let second = service.receive_now("q", 1).await;
    assert_eq!(second[0].attempt, 2);
    service.nack("q", &second[0].receipt, None).await;
    assert_eq!(service.counts("q").await, [0, 0, 1, 0]);
    let since = tokio::time::Instant::now();
    let third = service.receive("q", 1).await;
    // The second wait: 300 ms doubled, and up to 20 % more.
    let waited = since.elapsed();
    assert!(
        waited > Duration::from_millis(550) && waited < Duration::from_millis(1_200),
        "{waited:?}"
    );
    assert_eq!(third[0].attempt, 3);
}

#[tokio::test]
async fn a_caller_that_goes_away_gives_back_what_it_would_have_got() {
    let (_redis, mut service) = start().await;
    let mut other = service.mq.clone();
    let request = pb::ReceiveRequest { queue: "q".into(), wait: ms(20_000), ..Default::default() };
    let waiting = tokio::spawn(async move { other.receive(request).await });
    let joined = async {
        while service.queues.get_queue(pb::GetQueueRequest { queue: "q".into() }).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, joined).await.unwrap();
    waiting.abort();
    service.send("q", vec![outgoing("x")]).await;
    let got = service.receive_for("q", 1, None, 1_000).await;
    assert_eq!(got[0].attempt, 1, "nobody failed");
}

#[tokio::test]
async fn an_attempt_that_is_the_last_makes_a_dead_letter() {
    let (_redis, mut service) = start().await;
    let settings = pb::QueueSettings { max_attempts: Some(2), ..Default::default() };
    service.create("q", settings).await;
    service.send("q", vec![outgoing("poison"), outgoing("good")]).await;
    let first = service.receive_for("q", 1, Some(1_000), 0).await;
    assert_eq!(texts(&service.receive("q", 1).await), ["good"], "it never waited");
    let second = service.receive("q", 1).await;
    assert_eq!((texts(&second), second[0].attempt), (texts(&first), 2));
    service.nack("q", &second[0].receipt, Some(0)).await;
    let dead = service.dead_letters("q").await;
    assert_eq!(dead[0].reason(), pb::DeadLetterReason::MaxAttempts);
    assert_eq!((dead[0].attempts, dead[0].last_error.as_str()), (2, "it did not work"));
    assert_eq!(service.ack("q", &[&second[0].receipt]).await, [Some("LEASE_LOST".into())]);
}

#[tokio::test]
async fn leases_of_a_dead_replica_expire_without_it() {
    let redis = PrivateRedis::start();
    let mut one = Replica::start(&redis, &[]).await;
    let mut two = Replica::start(&redis, &[]).await;
    let settings = pb::QueueSettings { max_attempts: Some(1), ..Default::default() };
    one.create("q", settings).await;
    one.send("q", vec![outgoing("x")]).await;
    assert_eq!(one.receive_for("q", 1, Some(1_000), 0).await.len(), 1);
    one.stop().await;
    // Nobody asks for messages: the keeper of the other one finds it.
    two.until_counts("q", [0, 0, 0, 1]).await;
}

#[tokio::test]
async fn limits_of_a_queue_hold_for_all_consumers() {
    let (_redis, mut service) = start().await;
    let settings = pb::QueueSettings { max_in_flight: Some(2), ..Default::default() };
    service.create("q", settings).await;
    service.send("q", (0..5).map(|n| outgoing(&n.to_string())).collect()).await;
    let got = service.receive_now("q", 5).await;
    assert_eq!(got.len(), 2);
    assert!(service.receive_now("q", 5).await.is_empty());
    let mut other = service.mq.clone();
    let request = pb::ReceiveRequest { queue: "q".into(), wait: ms(20_000), ..Default::default() };
    let waiting = tokio::spawn(async move { other.receive(request).await });
    service.ack("q", &[&got[0].receipt]).await;
    let next = waiting.await.unwrap().unwrap().into_inner().deliveries;
    assert_eq!(texts(&next), ["2"]);

    let settings = pb::QueueSettings { max_rate: Some(10.0), ..Default::default() };
    service.create("slow", settings).await;
    service.send("slow", (0..15).map(|n| outgoing(&n.to_string())).collect()).await;
    let since = tokio::time::Instant::now();
    let mut count = 0;
    while count < 15 {
        count += service.receive("slow", 15).await.len();
    }
    let took = since.elapsed();
    assert!(took > Duration::from_millis(400) && took < Duration::from_millis(1_500), "{took:?}");
}
