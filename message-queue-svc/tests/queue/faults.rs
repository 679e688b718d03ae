//! What goes wrong around the service: Redis restarted, frozen, flushed; shutdown.

use std::time::Duration;

use proto::messagequeue::v1 as pb;
use redis_link::test_util::PrivateRedis;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::*;

#[tokio::test]
async fn a_restarted_redis_is_found_again_and_nothing_is_lost() {
    let mut redis = PrivateRedis::start_durable();
    let mut service = Replica::start(&redis, &[]).await;
    service.send("q", vec![outgoing("1")]).await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 10, UnboundedReceiverStream::new(said)).await;
    let first = delivery(&mut stream).await;
    redis.kill9();
    let refused = service.try_send("q", vec![outgoing("lost")]).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused:?}");
    let mut health = HealthClient::new(service.channel.clone());
    let mut ready = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let until = async |stream: &mut tonic::Streaming<_>, wanted| loop {
        let got: tonic_health::pb::HealthCheckResponse = stream.message().await.unwrap().unwrap();
        if got.status() == wanted {
            break;
        }
    };
    tokio::time::timeout(LIMIT, until(&mut ready, ServingStatus::NotServing)).await.unwrap();
    redis.restart();
    let since = tokio::time::Instant::now();
    tokio::time::timeout(LIMIT, until(&mut ready, ServingStatus::Serving)).await.unwrap();
    service.send("q", vec![outgoing("2")]).await;
    // The stream survived, and what it held is still its own.
    assert_eq!(texts(&[delivery(&mut stream).await]), ["2"]);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(service.ack("q", &[&first.receipt]).await, [None]);
    assert_eq!(service.counts("q").await, [0, 1, 0, 0]);
}

#[tokio::test]
async fn flushed_scripts_and_killed_connections_are_not_noticed_for_long() {
    let (redis, mut service) = start().await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 100, UnboundedReceiverStream::new(said)).await;
    for round in 0..5 {
        assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]), "OK\n");
        service.send("q", vec![outgoing(&format!("a{round}"))]).await;
        assert_eq!(texts(&[delivery(&mut stream).await]), [format!("a{round}")]);
        let _ = redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        let _ = redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        service.until_it_answers().await;
        service.send("q", vec![outgoing(&format!("b{round}"))]).await;
        assert_eq!(texts(&[delivery(&mut stream).await]), [format!("b{round}")]);
    }
}

#[tokio::test]
async fn a_frozen_redis_is_said_to_be_unknown_and_then_unavailable() {
    let redis = PrivateRedis::start();
    let flags = ["--redis-response-timeout", "500ms"];
    let mut service = Replica::start(&redis, &flags).await;
    service.send("q", vec![outgoing("1")]).await;
    redis.stop_signal();
    let unknown = service.try_send("q", vec![outgoing("2")]).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"));
    let away = async {
        loop {
            let error = service.try_send("q", vec![outgoing("3")]).await.unwrap_err();
            if reason(&error) == "STORAGE_UNAVAILABLE" {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, away).await.unwrap();
    redis.cont_signal();
    service.until_it_answers().await;
    service.send("q", vec![outgoing("4")]).await;
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_waits_and_gives_back_leases() {
    let redis = PrivateRedis::start();
    let mut one = Replica::start(&redis, &[]).await;
    let mut two = Replica::start(&redis, &[]).await;
    one.send("q", vec![outgoing("1"), outgoing("2")]).await;
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = one.consume("q", 10, UnboundedReceiverStream::new(said)).await;
    delivery(&mut stream).await;
    delivery(&mut stream).await;
    let mut other = one.mq.clone();
    let waiting = tokio::spawn(async move {
        let request =
            pb::ReceiveRequest { queue: "empty".into(), wait: ms(20_000), ..Default::default() };
        other.receive(request).await
    });
    let (_say, said) = mpsc::unbounded_channel::<pb::SendRequest>();
    let sends = UnboundedReceiverStream::new(said);
    let mut sends = one.mq.send_stream(sends).await.unwrap().into_inner();
    // Its request has arrived once the queue's feeder listens.
    let listening = async {
        while !redis.cli(&["PUBSUB", "CHANNELS"]).contains("{empty}") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, listening).await.unwrap();
    let since = tokio::time::Instant::now();
    one.stop().await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let ended = stream.message().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert_eq!(reason(&sends.message().await.unwrap_err()), "SHUTTING_DOWN");
    assert_eq!(reason(&waiting.await.unwrap().unwrap_err()), "SHUTTING_DOWN");
    let got = two.receive("q", 2).await;
    assert_eq!((texts(&got), got[0].attempt), (vec!["1", "2"], 1));
}

#[tokio::test]
async fn consumers_are_served_while_a_full_redis_refuses_sends() {
    const WAITING: usize = 200;
    let (redis, mut service) = start().await;
    service.send("q", (0..WAITING).map(|n| outgoing(&n.to_string())).collect()).await;
    assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK\n");
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let mut sender = service.mq.clone();
            tokio::spawn(async move {
                loop {
                    let messages = vec![outgoing("more")];
                    let request = pb::SendRequest { queue: "q".into(), messages, durability: 0 };
                    assert_eq!(reason(&sender.send(request).await.unwrap_err()), "STORAGE_FULL");
                }
            })
        })
        .collect();
    let (_say, said) = mpsc::unbounded_channel();
    let mut stream = service.consume("q", 2, UnboundedReceiverStream::new(said)).await;
    let served = async {
        for n in 0..WAITING {
            let got = delivery(&mut stream).await;
            assert_eq!(texts(std::slice::from_ref(&got)), [n.to_string()]);
            assert_eq!(service.ack("q", &[&got.receipt]).await, [None]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .expect("consumers wait for senders");
    assert_eq!(service.counts("q").await, [0, 0, 0, 0]);
    for sender in senders {
        assert!(!sender.is_finished());
        sender.abort();
    }
}
