//! Bad input: each field of each request with what it must not be, bytes that are no messages, and
//! bytes that are no gRPC. Everything is refused with the field named, nothing is written, and the
//! service stays well. `RANDOM_STRINGS` sets how many random strings the port gets, `PROPERTY_CASES`
//! how many the parser.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "a test fails loudly, and prints its figures"
)]

mod cases;
mod fields;
mod random;
#[path = "../support/mod.rs"]
mod support;

use bytes::Bytes;
use prost::Message as _;
use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::raw::call;
use support::*;
use svc_runtime::rpc_error::status_of;
use tonic::{Code, Status};

/// What a request is refused with; the errors of a stream's items are as good.
async fn refusal(service: &Service, method: &str, messages: &[Bytes]) -> Result<(), Status> {
    let answers = call(&service.channel, method, messages.to_vec()).await?;
    if method == "EventStore/AppendStream" {
        for answer in answers {
            let answer = AppendStreamResponse::decode(answer).unwrap();
            if let Some(Answer::Error(error)) = answer.result {
                return Err(status_of(&error));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_field_of_every_request_is_checked() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    service.append("t", vec![event("", "s")]).await.unwrap();
    service.create_group("t", "g", GroupSettings::default()).await;
    let before = contents(&redis);
    let cases = cases::all();
    for case in &cases {
        let what = format!("{} with bad {}", case.method, case.field);
        let refused = refusal(&service, case.method, &case.messages).await;
        let status = refused.expect_err(&what);
        let facts = assert_error(&status, Code::InvalidArgument, case.reason);
        let named = facts.violations.iter().any(|(field, _)| *field == case.field);
        assert!(named, "{what}: named {:?}", facts.violations);
    }
    assert_eq!(contents(&redis), before, "something was written");
    service.append("t", vec![event("", "s")]).await.unwrap();
    println!("{} bad requests were refused, each with its field named", cases.len());
}

#[tokio::test]
async fn messages_of_a_consumer_are_checked() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    service.create_group("t", "g", GroupSettings::default()).await;
    let cases = cases::of_consume();
    for case in &cases {
        let status = refusal(&service, case.method, &case.messages).await.expect_err(&case.field);
        let facts = assert_error(&status, Code::InvalidArgument, case.reason);
        let named = facts.violations.iter().any(|(field, _)| *field == case.field);
        assert!(named, "{}: named {:?}", case.field, facts.violations);
    }
    assert_eq!(service.group("t", "g").await.pending, 0);
}

#[tokio::test]
async fn what_is_no_receipt_is_told_one_by_one() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    service.append("t", vec![event("", "s")]).await.unwrap();
    service.create_group("t", "g", GroupSettings::default()).await;
    let delivery = service.fetch("t", "g", 1, 0).await.remove(0);
    let huge = "r".repeat(1 << 20);
    let receipts = ["", "r", "no receipt", "\0", "é", &huge, &delivery.receipt];
    let request = AckRequest {
        topic: "t".into(),
        group: "g".into(),
        receipts: receipts.map(str::to_owned).into(),
    };
    let outcomes = service.groups().ack(request).await.unwrap().into_inner().outcomes;
    assert!(outcomes.iter().map(|outcome| outcome.receipt.as_str()).eq(receipts));
    let (good, bad) = outcomes.split_last().unwrap();
    assert!(good.error.is_none());
    for outcome in bad {
        let status = status_of(outcome.error.as_ref().unwrap());
        let facts = assert_error(&status, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(facts.violations[0].0, "receipts");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let mut methods: Vec<_> = cases::all().iter().map(|case| case.method).collect();
    methods.dedup();
    assert!(methods.len() >= 26, "every method has cases, not only {methods:?}");
    for method in methods {
        for broken in [&b"\xff"[..], b"\x0a\x05a", b"\x0f", b"\x0a\xff\xff\xff\xff\xff\xff\xff"] {
            let messages = vec![Bytes::from_static(broken)];
            let refused = call(&service.channel, method, messages).await;
            let status = refused.expect_err(method);
            assert_error(&status, Code::InvalidArgument, "INVALID_ARGUMENT");
        }
    }
    let huge = vec![Bytes::from(vec![0; (64 << 20) + 1])];
    let status = call(&service.channel, "Topics/GetTopic", huge).await.unwrap_err();
    assert_error(&status, Code::InvalidArgument, "TOO_MANY_ITEMS");
    assert!(redis.cli(&["KEYS", "*"]).is_empty());
    service.append("t", vec![event("", "s")]).await.unwrap();
}

#[tokio::test]
async fn a_request_with_very_much_wrong_is_answered_like_any_other() {
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let mut wrong = event("", "s");
    // The longest names that an error can have to say, percent by percent.
    let key = |n: usize| format!("{n:03}-{}", "é".repeat(126));
    wrong.headers = (0..64).map(|n| (key(n), "x".repeat(4_097))).collect();
    let status = service.append("t", vec![wrong; 10]).await.unwrap_err();
    let facts = assert_error(&status, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!((1..=20).contains(&facts.violations.len()), "{}", facts.violations.len());
}
