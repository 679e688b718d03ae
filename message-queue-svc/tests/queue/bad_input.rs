//! Bad input: each field that is wrong is named, and nothing is written.

use bytes::Bytes;
use futures::stream;
use proto::messagequeue::v1 as pb;
use svc_runtime::raw;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::{Code, Status};

use crate::rights::methods;
use crate::support::*;

fn named(status: &Status, field: &str, reason: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
    let facts = ErrorFacts::of(status).unwrap();
    let fields: Vec<_> = facts.violations.iter().map(|(field, _)| field.as_str()).collect();
    assert!(fields.contains(&field), "{field} is not in {fields:?}");
    assert_eq!(
        (facts.reason.as_str(), facts.domain.as_str()),
        (reason, "messagequeue.v1"),
        "{field}"
    );
}

#[tokio::test]
async fn every_field_of_a_send_is_checked() {
    let (redis, mut service) = start().await;
    let with = |change: fn(&mut pb::OutgoingMessage)| {
        let mut message = outgoing("x");
        change(&mut message);
        vec![message]
    };
    let of_message = |change: fn(&mut pb::Message)| {
        let mut inner = message("x");
        change(&mut inner);
        vec![pb::OutgoingMessage { message: Some(inner), ..Default::default() }]
    };
    let delay = |seconds| {
        Some(pb::outgoing_message::Due::Delay(prost_types::Duration { seconds, nanos: 0 }))
    };
    let invalid = "INVALID_ARGUMENT";
    let at = |field: &str| format!("messages[0].{field}");
    let mut delayed = outgoing("x");
    delayed.due = delay(-1);
    let mut far = outgoing("x");
    far.due = delay(91 * 86_400);
    let cases = [
        ("messages".to_owned(), invalid, vec![]),
        ("messages".to_owned(), "TOO_MANY_ITEMS", vec![outgoing("x"); 1_001]),
        (at("message"), invalid, with(|m| m.message = None)),
        (at("message.type"), invalid, of_message(|m| m.r#type.clear())),
        (at("message.type"), invalid, of_message(|m| m.r#type = "t".repeat(257))),
        (at("message.id"), invalid, of_message(|m| m.id = Some("x".into()))),
        (
            at("message.content_type"),
            invalid,
            of_message(|m| m.content_type = Some("t".repeat(257))),
        ),
        (
            at("message.headers"),
            invalid,
            of_message(|m| m.headers = (0..65).map(|n| (n.to_string(), String::new())).collect()),
        ),
        (
            at("message.headers"),
            invalid,
            of_message(|m| {
                m.headers.insert(String::new(), String::new());
            }),
        ),
        (
            at("message.body"),
            "MESSAGE_TOO_LARGE",
            of_message(|m| m.body = Some(pb::message::Body::TextBody("x".repeat((1 << 20) + 1)))),
        ),
        (at("priority"), invalid, with(|m| m.priority = 17)),
        (at("delay"), invalid, vec![delayed]),
        (at("delay"), invalid, vec![far]),
        (
            at("deliver_at"),
            invalid,
            with(|m| {
                let time = prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 };
                m.due = Some(pb::outgoing_message::Due::DeliverAt(time));
            }),
        ),
        (at("time_to_live"), invalid, with(|m| m.time_to_live = ms(0))),
        (at("ordering_key"), invalid, with(|m| m.ordering_key = Some("a\u{1}".into()))),
        (at("dedup_key"), invalid, with(|m| m.dedup_key = Some(String::new()))),
    ];
    for (field, reason, messages) in cases {
        named(&service.try_send("q", messages).await.unwrap_err(), &field, reason);
    }
    for name in ["", "Q", "-q", "a b", &"a".repeat(129)] {
        named(
            &service.try_send(name, vec![outgoing("x")]).await.unwrap_err(),
            "queue",
            "INVALID_NAME",
        );
    }
    let request =
        pb::SendRequest { queue: "q".into(), messages: vec![outgoing("x")], durability: 9 };
    named(&service.mq.send(request).await.unwrap_err(), "durability", invalid);
    assert_eq!(redis.cli(&["KEYS", "mq:{*"]), "", "nothing was written");
    service.send("q", vec![outgoing("fine")]).await;
}

#[tokio::test]
async fn a_request_with_very_much_wrong_is_answered_like_any_other() {
    let (_redis, mut service) = start().await;
    let mut wrong = outgoing("x");
    wrong.message.as_mut().unwrap().r#type.clear();
    let refused = service.try_send("q", vec![wrong; 1_000]).await.unwrap_err();
    named(&refused, "messages[0].message.type", "INVALID_ARGUMENT");
    let told = ErrorFacts::of(&refused).unwrap().violations.len();
    assert!((1..=20).contains(&told), "{told} fields are named");
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    let (redis, mut service) = start().await;
    let send = async |path: &str, bytes: Bytes| {
        let mut answers = raw::open(&service.channel, path, stream::iter([bytes])).await?;
        answers.message().await
    };
    for (_, path) in methods() {
        for broken in [&b"\xff"[..], b"\x0a\x05a", b"\x0f", b"\x0a\xff\xff\xff\xff\xff\xff\xff"] {
            let refused = send(&path, Bytes::from_static(broken)).await.expect_err(&path);
            assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
            assert_eq!(reason(&refused), "INVALID_ARGUMENT", "{path}");
        }
    }
    for path in ["MessageQueue/Send", "MessageQueue/SendStream", "Queues/GetQueue"] {
        let path = format!("/messagequeue.v1.{path}");
        let refused = send(&path, Bytes::from_static(b"\x0a\x01\xff")).await.unwrap_err();
        named(&refused, "queue", "INVALID_ARGUMENT");
    }
    let huge = Bytes::from(vec![0; (64 << 20) + 1]);
    let refused = send("/messagequeue.v1.Queues/GetQueue", huge).await.unwrap_err();
    assert_eq!(reason(&refused), "TOO_MANY_ITEMS");
    assert_eq!(redis.cli(&["KEYS", "mq:{*"]), "", "nothing was written");
    service.send("q", vec![outgoing("fine")]).await;
}

#[tokio::test]
async fn every_field_of_the_other_calls_is_checked() {
    let (_redis, mut service) = start().await;
    let receive = |change: fn(&mut pb::ReceiveRequest)| {
        let mut request = pb::ReceiveRequest { queue: "q".into(), ..Default::default() };
        change(&mut request);
        request
    };
    let invalid = "INVALID_ARGUMENT";
    for (field, request) in [
        ("max_messages", receive(|r| r.max_messages = Some(0))),
        ("max_messages", receive(|r| r.max_messages = Some(1_001))),
        ("wait", receive(|r| r.wait = ms(20_001))),
        ("lease", receive(|r| r.lease = ms(999))),
        ("lease", receive(|r| r.lease = ms(12 * 3_600_000 + 1))),
    ] {
        named(&service.mq.receive(request).await.unwrap_err(), field, invalid);
    }
    let ack = pb::AckRequest { queue: "q".into(), receipts: vec![] };
    named(&service.mq.ack(ack).await.unwrap_err(), "receipts", invalid);
    let ack = pb::AckRequest { queue: "q".into(), receipts: vec!["x".into(); 1_001] };
    named(&service.mq.ack(ack).await.unwrap_err(), "receipts", "TOO_MANY_ITEMS");
    let nack = pb::NackRequest {
        queue: "q".into(),
        receipts: vec!["x".into()],
        reason: "r".repeat(1_025),
        ..Default::default()
    };
    named(&service.mq.nack(nack).await.unwrap_err(), "reason", invalid);
    let call = pb::CallRequest { queue: "q".into(), message: None, timeout: ms(300_001) };
    let refused = service.mq.call(call).await.unwrap_err();
    named(&refused, "message", invalid);
    named(&refused, "timeout", invalid);
    let reply = pb::ReplyRequest { queue: "q".into(), receipt: "x".into(), reply: None };
    let refused = service.mq.reply(reply).await.unwrap_err();
    named(&refused, "reply", invalid);
    named(&refused, "receipt", invalid);
    let empty = pb::ReplyRequest {
        queue: "q".into(),
        receipt: "x".into(),
        reply: Some(pb::ReplyContent::default()),
    };
    named(&service.mq.reply(empty).await.unwrap_err(), "reply", invalid);
    let get = pb::GetReplyRequest { queue: "q".into(), message_id: "x".into(), wait: None };
    named(&service.mq.get_reply(get).await.unwrap_err(), "message_id", invalid);
}

#[tokio::test]
async fn every_field_of_the_admin_calls_is_checked() {
    let (_redis, mut service) = start().await;
    let invalid = "INVALID_ARGUMENT";
    let create = |change: fn(&mut pb::QueueSettings)| {
        let mut settings = pb::QueueSettings::default();
        change(&mut settings);
        pb::CreateQueueRequest { queue: "q".into(), settings: Some(settings) }
    };
    for (field, request) in [
        ("settings.lease", create(|s| s.lease = ms(1))),
        ("settings.max_attempts", create(|s| s.max_attempts = Some(0))),
        ("settings.message_retention", create(|s| s.message_retention = ms(1))),
        ("settings.dedup_window", create(|s| s.dedup_window = ms(25 * 3_600_000))),
        ("settings.reply_retention", create(|s| s.reply_retention = ms(0))),
        ("settings.max_rate", create(|s| s.max_rate = Some(-1.0))),
        (
            "settings.retry_backoff.max",
            create(|s| {
                s.retry_backoff =
                    Some(pb::Backoff { initial: ms(2), max: ms(1), multiplier: None });
            }),
        ),
        (
            "settings.retry_backoff.multiplier",
            create(|s| {
                s.retry_backoff = Some(pb::Backoff { multiplier: Some(0.5), ..Default::default() });
            }),
        ),
    ] {
        named(&service.queues.create_queue(request).await.unwrap_err(), field, invalid);
    }
    let list = pb::ListQueuesRequest { page_size: -1, page_token: "NO".into() };
    let refused = service.queues.list_queues(list).await.unwrap_err();
    named(&refused, "page_size", invalid);
    named(&refused, "page_token", invalid);
    let list = pb::ListDeadLettersRequest {
        page_size: i32::MIN,
        page_token: "NO".into(),
        queue: "q".into(),
    };
    let refused = service.queues.list_dead_letters(list).await.unwrap_err();
    named(&refused, "page_size", invalid);
    named(&refused, "page_token", invalid);
    let peek = pb::PeekMessagesRequest { queue: "q".into(), state: 9, limit: Some(0) };
    let refused = service.queues.peek_messages(peek).await.unwrap_err();
    named(&refused, "state", invalid);
    named(&refused, "limit", invalid);
    let missing = pb::GetQueueRequest { queue: "q".into() };
    let missing = service.queues.get_queue(missing).await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "QUEUE_NOT_FOUND"));
}
