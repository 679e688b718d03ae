//! Send and SendStream: batches, order, delay, time to live, priority, dedup, limits.

use std::time::Duration;

use futures::StreamExt as _;
use proto::messagequeue::v1 as pb;
use redis_link::test_util::{Options, PrivateRedis, valkey_server};

use crate::support::*;

#[tokio::test]
async fn what_is_sent_is_received_as_it_was_and_in_order() {
    let (_redis, mut service) = start().await;
    let mut special = message("käse");
    special.content_type = Some("text/plain".into());
    special.headers.insert("traceparent".into(), "00-1".into());
    let sent = pb::OutgoingMessage { message: Some(special.clone()), ..Default::default() };
    let ids = service.send("q", vec![sent, outgoing("2"), outgoing("3")]).await;
    let got = service.receive_now("q", 10).await;
    assert_eq!(texts(&got), ["käse", "2", "3"]);
    special.id = Some(ids[0].clone());
    assert_eq!(got[0].message.as_ref().unwrap(), &special);
    assert_eq!((got[0].attempt, got[0].expects_reply), (1, false));
    assert_eq!(service.counts("q").await, [0, 3, 0, 0]);
    let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt.as_str()).collect();
    assert_eq!(service.ack("q", &receipts).await, [None, None, None]);
    assert_eq!(service.ack("q", &receipts).await, [None, None, None], "again is a success");
    assert_eq!(service.counts("q").await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_full_batch_and_a_large_body_go_through() {
    let (_redis, mut service) = start().await;
    let many: Vec<_> = (0..1_000).map(|n| outgoing(&n.to_string())).collect();
    assert_eq!(service.send("many", many).await.len(), 1_000);
    let got = service.receive_now("many", 1_000).await;
    let wanted: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
    assert_eq!(texts(&got), wanted);
    for _ in 0..6 {
        service.send("large", vec![outgoing(&"x".repeat(1 << 20))]).await;
    }
    let got = service.receive_now("large", 1_000).await;
    assert!((1..=4).contains(&got.len()), "4 MiB together, not {}", got.len());
    let rest = service.receive_now("large", 1_000).await;
    let ready = usize::try_from(service.info("large").await.ready).unwrap();
    assert_eq!(got.len() + rest.len() + ready, 6);
}

#[tokio::test]
async fn a_stream_of_sends_is_answered_in_order_and_survives_a_bad_one() {
    let (_redis, mut service) = start().await;
    let requests = (0..500).map(|n| pb::SendRequest {
        queue: if n == 7 { "BAD".into() } else { "q".into() },
        messages: vec![outgoing(&n.to_string())],
        durability: 0,
    });
    let requests: Vec<_> = requests.collect();
    let answers = service.mq.send_stream(futures::stream::iter(requests)).await.unwrap();
    let answers: Vec<_> =
        answers.into_inner().map(|answer| answer.unwrap().result.unwrap()).collect().await;
    assert_eq!(answers.len(), 500);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(matches!(answer, pb::send_stream_response::Result::Error(_)), n == 7);
    }
    let got = service.receive_now("q", 1_000).await;
    let wanted: Vec<_> = (0..500).filter(|n| *n != 7).map(|n| n.to_string()).collect();
    assert_eq!(texts(&got), wanted);
}

#[tokio::test]
async fn high_goes_before_normal_before_low() {
    let (_redis, mut service) = start().await;
    let with = |text: &str, priority: pb::Priority| pb::OutgoingMessage {
        priority: priority.into(),
        ..outgoing(text)
    };
    let messages = vec![
        with("low", pb::Priority::Low),
        outgoing("normal"),
        with("high", pb::Priority::High),
        with("high 2", pb::Priority::High),
    ];
    service.send("q", messages).await;
    assert_eq!(service.counts("q").await, [4, 0, 0, 0]);
    let got = service.receive_now("q", 10).await;
    assert_eq!(texts(&got), ["high", "high 2", "normal", "low"]);
}

#[tokio::test]
async fn waiting_consumers_get_all_classes_at_once() {
    let (_redis, mut service) = start().await;
    for priority in [pb::Priority::High, pb::Priority::Low, pb::Priority::Normal] {
        let mut other = service.mq.clone();
        let waiting = tokio::spawn(async move {
            let request =
                pb::ReceiveRequest { queue: "q".into(), wait: ms(20_000), ..Default::default() };
            other.receive(request).await.unwrap().into_inner().deliveries
        });
        // Long enough that it waits in the blocking take, which only normal ones end.
        _redis.until_blocked().await;
        let sent = tokio::time::Instant::now();
        service
            .send("q", vec![pb::OutgoingMessage { priority: priority.into(), ..outgoing("x") }])
            .await;
        let got = waiting.await.unwrap();
        assert_eq!(texts(&got), ["x"]);
        assert!(sent.elapsed() < Duration::from_millis(500), "{:?}", sent.elapsed());
        service.ack("q", &[&got[0].receipt]).await;
    }
}

#[tokio::test]
async fn delayed_messages_come_when_due() {
    let (_redis, mut service) = start().await;
    let later = |delay| pb::OutgoingMessage {
        due: Some(pb::outgoing_message::Due::Delay(ms(delay).unwrap())),
        ..outgoing("later")
    };
    let past = pb::OutgoingMessage {
        due: Some(pb::outgoing_message::Due::DeliverAt(prost_types::Timestamp {
            seconds: 5,
            nanos: 0,
        })),
        ..outgoing("past")
    };
    service.send("q", vec![later(300), later(60_000), past]).await;
    assert_eq!(service.counts("q").await, [1, 0, 2, 0]);
    let sent = tokio::time::Instant::now();
    assert_eq!(texts(&service.receive("q", 1).await), ["past"]);
    assert_eq!(texts(&service.receive("q", 5).await), ["later"]);
    let waited = sent.elapsed();
    assert!(
        waited >= Duration::from_millis(250) && waited < Duration::from_millis(800),
        "{waited:?}"
    );
    assert_eq!(service.counts("q").await, [0, 2, 1, 0]);
}

#[tokio::test]
async fn expired_messages_become_dead_letters_without_anybody_looking() {
    let (_redis, mut service) = start().await;
    let short = pb::OutgoingMessage { time_to_live: ms(150), ..outgoing("short") };
    let delayed = pb::OutgoingMessage {
        due: Some(pb::outgoing_message::Due::Delay(ms(60_000).unwrap())),
        ..short.clone()
    };
    service.send("q", vec![short, delayed, outgoing("long")]).await;
    service.until_counts("q", [1, 0, 0, 2]).await;
    let dead = service.dead_letters("q").await;
    assert!(dead.iter().all(|dead| dead.reason() == pb::DeadLetterReason::Expired));
    assert_eq!(texts(&service.receive_now("q", 10).await), ["long"]);
    assert_eq!(service.counts("q").await, [0, 1, 0, 2]);
}

#[tokio::test]
async fn a_dedup_key_answers_the_first_id_and_refuses_other_content() {
    let (_redis, mut service) = start().await;
    let keyed = |text: &str| pb::OutgoingMessage { dedup_key: Some("k".into()), ..outgoing(text) };
    let first = service.try_send("q", vec![keyed("a"), outgoing("b")]).await.unwrap();
    let second = service.try_send("q", vec![outgoing("c"), keyed("a")]).await.unwrap();
    assert_eq!(second.results[1].message_id, first.results[0].message_id);
    assert!(second.results[1].deduplicated && !second.results[0].deduplicated);
    let reused = service.try_send("q", vec![outgoing("d"), keyed("other")]).await.unwrap_err();
    assert_eq!(
        (reused.code(), reason(&reused).as_str()),
        (tonic::Code::AlreadyExists, "ID_REUSED")
    );
    assert_eq!(service.counts("q").await, [3, 0, 0, 0], "all or nothing");
    // Also long after it was handled.
    let got = service.receive_now("q", 1).await;
    service.ack("q", &[&got[0].receipt]).await;
    assert!(service.try_send("q", vec![keyed("a")]).await.unwrap().results[0].deduplicated);
}

#[tokio::test]
async fn a_full_queue_refuses_the_whole_request() {
    let (_redis, mut service) = start().await;
    let settings = pb::QueueSettings { max_messages: Some(3), ..Default::default() };
    service.create("q", settings).await;
    service.send("q", vec![outgoing("1"), outgoing("2")]).await;
    let full = service.try_send("q", vec![outgoing("3"), outgoing("4")]).await.unwrap_err();
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (tonic::Code::ResourceExhausted, "QUEUE_FULL")
    );
    service.send("q", vec![outgoing("3")]).await;
    let got = service.receive_now("q", 1).await;
    assert!(service.try_send("q", vec![outgoing("4")]).await.is_err(), "leased ones count");
    service.ack("q", &[&got[0].receipt]).await;
    service.send("q", vec![outgoing("4")]).await;
}

#[tokio::test]
async fn durability_is_honest() {
    let redis = PrivateRedis::start();
    let mut service = Replica::start(&redis, &[]).await;
    let request = |durability: pb::Durability| pb::SendRequest {
        queue: "q".into(),
        messages: vec![outgoing("x")],
        durability: durability.into(),
    };
    for durability in [pb::Durability::Fsynced, pb::Durability::Replicated] {
        let refused = service.mq.send(request(durability)).await.unwrap_err();
        assert_eq!(reason(&refused), "DURABILITY_UNAVAILABLE");
    }
    let redis = PrivateRedis::start_durable();
    let mut service = Replica::start(&redis, &[]).await;
    let sent = service.mq.send(request(pb::Durability::Fsynced)).await.unwrap().into_inner();
    assert_eq!(sent.durability(), pb::Durability::Fsynced);
}

#[tokio::test]
async fn an_fsync_is_asked_for_where_redis_does_not_do_it_anyway() {
    let server = Some(valkey_server());
    // appendfsync everysec: without WAITAOF up to a second would be lost.
    let options = Options { append_only: true, server, ..Options::default() };
    let mut redis = PrivateRedis::start_with(options);
    let mut service = Replica::start(&redis, &[]).await;
    let request = pb::SendRequest {
        queue: "q".into(),
        messages: vec![outgoing("x")],
        durability: pb::Durability::Fsynced.into(),
    };
    let sent = service.mq.send(request).await.unwrap().into_inner();
    assert_eq!(sent.durability(), pb::Durability::Fsynced);
    let calls = redis.cli(&["INFO", "commandstats"]);
    assert!(calls.contains("cmdstat_waitaof:calls=1,"), "{calls}");
    redis.restart();
    service.until_it_answers().await;
    assert_eq!(texts(&service.receive("q", 1).await), ["x"]);
}

#[tokio::test]
async fn durable_sends_of_a_stream_share_their_waits_and_keep_their_order() {
    let server = Some(valkey_server());
    // appendfsync everysec: each wait lasts up to a second.
    let redis =
        PrivateRedis::start_with(Options { append_only: true, server, ..Options::default() });
    let mut service = Replica::start(&redis, &[]).await;
    let since = tokio::time::Instant::now();
    let request = |n: usize| pb::SendRequest {
        queue: "q".into(),
        messages: vec![outgoing(&n.to_string())],
        // Every tenth does not wait, and does not overtake.
        durability: if n % 10 == 9 { 0 } else { pb::Durability::Fsynced.into() },
    };
    let requests = futures::stream::iter((0..300).map(request));
    let mut answers = service.mq.send_stream(requests).await.unwrap().into_inner();
    let mut ids = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let Some(pb::send_stream_response::Result::Sent(sent)) = answer.result else {
            panic!("{answer:?}")
        };
        let fsynced = sent.durability() == pb::Durability::Fsynced;
        assert_eq!(fsynced, ids.len() % 10 != 9);
        ids.push(sent.results[0].message_id.clone());
    }
    assert!(since.elapsed() < LIMIT, "{:?}", since.elapsed());
    let got = service.receive_now("q", 1_000).await;
    let wanted: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(texts(&got), wanted, "stored in the order of the requests");
    let stored: Vec<_> = got.iter().map(|got| got.message.clone().unwrap().id.unwrap()).collect();
    assert_eq!(stored, ids, "answered in the order of the requests");
}

#[tokio::test]
async fn a_replicated_send_waits_for_its_replica() {
    // Otherwise the primary waits 5 s for more replicas to come.
    let extra = ["--repl-diskless-sync-delay", "0"].map(String::from).to_vec();
    let redis = PrivateRedis::start_with(Options { extra, ..Options::default() });
    let flags = ["--redis-min-replicas", "1"];
    let mut service = Replica::start(&redis, &flags).await;
    let replica = PrivateRedis::start_with(Options::default());
    let port = redis.port().to_string();
    assert_eq!(replica.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK\n");
    let in_sync = async {
        while !replica.cli(&["INFO", "replication"]).contains("master_link_status:up") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, in_sync).await.unwrap();
    let request = pb::SendRequest {
        queue: "q".into(),
        messages: vec![outgoing("x")],
        durability: pb::Durability::Replicated.into(),
    };
    let sent = service.mq.send(request).await.unwrap().into_inner();
    assert_eq!(sent.durability(), pb::Durability::Replicated);
    assert_eq!(replica.cli(&["HLEN", "mq:{q}:body"]), "1\n");
}

#[tokio::test]
async fn a_full_redis_refuses_sends_and_lets_the_rest_go_on() {
    let (redis, mut service) = start().await;
    service.send("q", vec![outgoing("1")]).await;
    assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK\n");
    let full = service.try_send("q", vec![outgoing("2")]).await.unwrap_err();
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (tonic::Code::ResourceExhausted, "STORAGE_FULL")
    );
    let got = service.receive("q", 1).await;
    assert_eq!(service.ack("q", &[&got[0].receipt]).await, [None]);
    assert_eq!(service.counts("q").await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn without_auto_create_a_queue_must_be_made_first() {
    let redis = PrivateRedis::start();
    let mut service = Replica::start(&redis, &["--no-auto-create"]).await;
    let missing = service.try_send("q", vec![outgoing("x")]).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (tonic::Code::NotFound, "QUEUE_NOT_FOUND")
    );
    service.create("q", pb::QueueSettings::default()).await;
    service.send("q", vec![outgoing("x")]).await;
}
