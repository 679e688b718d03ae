//! Wrong requests: each gets a clear error of the documented kind, and the services stay healthy.

#![allow(clippy::unwrap_used, reason = "tests")]

use proto::eventstore::v1::{
    AppendRequest, CreateGroupRequest, Expectation, FetchRequest, ReadRequest, SubscribeRequest,
    TopicStart, expectation,
};
use proto::messagequeue::v1::{
    AckRequest, GetQueueRequest, ReceiveRequest, ReplyRequest, SendRequest,
};
use reqwest::{Method, StatusCode};
use system_tests::clients::{Clients, append, event, outgoing, send};
use system_tests::failure::Failure;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE};
use tonic::{Code, Status};

const STORE: &str = "eventstore.v1";
const QUEUE: &str = "messagequeue.v1";

/// Fails unless the error is of this kind, in this domain, naming this field if any.
#[track_caller]
fn assert_kind(status: &Status, code: Code, reason: &str, domain: &str, field: Option<&str>) {
    let failure = Failure::from(status);
    assert_eq!(failure.code, code, "{failure:?}");
    assert_eq!(failure.reason.as_deref(), Some(reason), "{failure:?}");
    assert_eq!(failure.domain.as_deref(), Some(domain), "{failure:?}");
    assert!(failure.message.len() > 10, "{failure:?} says nothing");
    if let Some(field) = field {
        assert!(failure.fields.iter().any(|named| named == field), "{failure:?}");
    }
    for secret in ["redis", "ERR ", "WRONGTYPE", "127.0.0.1"] {
        assert!(!failure.message.contains(secret), "{failure:?} speaks of the inside");
    }
}

async fn assert_healthy(system: &System, clients: &Clients) {
    system.check(EVENT_STORE).await.unwrap();
    system.check(MESSAGE_QUEUE).await.unwrap();
    let events = vec![event("healthy", "checked", "fine")];
    clients.store.clone().append(append("health", events)).await.unwrap();
    let messages = vec![outgoing("checked", "fine")];
    clients.queue.clone().send(send("health", messages)).await.unwrap();
}

#[tokio::test]
async fn the_event_store_says_what_is_wrong() {
    let system = System::services().await.unwrap();
    let clients = system.clients().unwrap();
    let mut store = clients.store.clone();

    let missing = ReadRequest { topic: "nowhere".to_owned(), ..ReadRequest::default() };
    let status = store.read(missing).await.unwrap_err();
    assert_kind(&status, Code::NotFound, "TOPIC_NOT_FOUND", STORE, None);

    let bad_name = append("Not A Name", vec![event("1", "happened", "")]);
    let status = store.append(bad_name).await.unwrap_err();
    assert_kind(&status, Code::InvalidArgument, "INVALID_NAME", STORE, Some("topic"));

    let nothing = store.append(AppendRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument, "{nothing:?}");
    assert_eq!(Failure::from(&nothing).fields, ["topic", "events"], "{nothing:?}");
    let status = store.append(append("errors", vec![])).await.unwrap_err();
    assert_kind(&status, Code::InvalidArgument, "INVALID_ARGUMENT", STORE, Some("events"));
    let no_type = append("errors", vec![event("1", "", "")]);
    let status = store.append(no_type).await.unwrap_err();
    let field = Some("events[0].type");
    assert_kind(&status, Code::InvalidArgument, "INVALID_ARGUMENT", STORE, field);

    let huge = append("errors", vec![event("1", "happened", &"x".repeat(2 << 20))]);
    let status = store.append(huge).await.unwrap_err();
    assert_kind(&status, Code::InvalidArgument, "EVENT_TOO_LARGE", STORE, None);
    let many = (0..1_001).map(|n| event(&n.to_string(), "happened", ""));
    let status = store.append(append("errors", many.collect())).await.unwrap_err();
    assert_kind(&status, Code::InvalidArgument, "TOO_MANY_ITEMS", STORE, Some("events"));

    let subscribe = SubscribeRequest {
        topics: vec![TopicStart { topic: "UPPER".to_owned(), start: None }],
        ..SubscribeRequest::default()
    };
    let status = store.subscribe(subscribe).await.unwrap_err();
    let field = Some("topics[0].topic");
    assert_kind(&status, Code::InvalidArgument, "INVALID_NAME", STORE, field);
    assert_healthy(&system, &clients).await;
}

#[tokio::test]
async fn a_wrong_revision_names_the_right_one() {
    let system = System::services().await.unwrap();
    let clients = system.clients().unwrap();
    let mut store = clients.store.clone();
    let mut first = event("first", "happened", "");
    first.subject = Some("order-1".to_owned());
    store.append(append("orders", vec![first.clone()])).await.unwrap();

    first.id = Some("second".to_owned());
    let mut request = append("orders", vec![first.clone()]);
    request.expectations = vec![Expectation {
        subject: "order-1".to_owned(),
        expected: Some(expectation::Expected::Revision(7)),
    }];
    let status = store.append(request).await.unwrap_err();
    assert_kind(&status, Code::Aborted, "REVISION_CONFLICT", STORE, None);
    let facts = Failure::from(&status).metadata;
    assert_eq!(facts["subject"], "order-1");
    assert_eq!(facts["expected"], "7");
    assert_eq!(facts["actual"], "0");

    // The same id with other content.
    first.id = Some("first".to_owned());
    first.r#type = "happened_otherwise".to_owned();
    let status = store.append(append("orders", vec![first])).await.unwrap_err();
    assert_kind(&status, Code::AlreadyExists, "ID_REUSED", STORE, None);
    assert_healthy(&system, &clients).await;
}

#[tokio::test]
async fn groups_say_what_is_wrong() {
    let system = System::services().await.unwrap();
    let clients = system.clients().unwrap();
    let mut groups = clients.groups.clone();
    let create =
        CreateGroupRequest { topic: "orders".to_owned(), group: "..".to_owned(), settings: None };
    let status = groups.create_group(create).await.unwrap_err();
    assert_kind(&status, Code::InvalidArgument, "INVALID_NAME", STORE, Some("group"));

    let events = vec![event("1", "happened", "")];
    clients.store.clone().append(append("orders", events)).await.unwrap();
    let fetch = FetchRequest {
        topic: "orders".to_owned(),
        group: "nobody".to_owned(),
        consumer: "me".to_owned(),
        ..FetchRequest::default()
    };
    let status = groups.fetch(fetch).await.unwrap_err();
    assert_kind(&status, Code::NotFound, "GROUP_NOT_FOUND", STORE, None);
    assert_healthy(&system, &clients).await;
}

#[tokio::test]
async fn the_message_queue_says_what_is_wrong() {
    let system = System::services().await.unwrap();
    let clients = system.clients().unwrap();
    let mut queue = clients.queue.clone();

    let bad_name = send("-", vec![outgoing("work", "")]);
    let status = queue.send(bad_name).await.unwrap_err();
    assert_kind(&status, Code::InvalidArgument, "INVALID_NAME", QUEUE, Some("queue"));
    let nothing = queue.send(SendRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument, "{nothing:?}");
    assert_eq!(Failure::from(&nothing).fields, ["queue", "messages"], "{nothing:?}");
    let status = queue.send(send("work", vec![])).await.unwrap_err();
    assert_kind(&status, Code::InvalidArgument, "INVALID_ARGUMENT", QUEUE, Some("messages"));
    let huge = send("work", vec![outgoing("work", &"x".repeat(2 << 20))]);
    let status = queue.send(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let reason = Failure::from(&status).reason;
    assert_eq!(reason.as_deref(), Some("MESSAGE_TOO_LARGE"), "{status:?}");

    let receive = ReceiveRequest {
        queue: "work".to_owned(),
        max_messages: Some(0),
        ..ReceiveRequest::default()
    };
    let status = queue.receive(receive).await.unwrap_err();
    let field = Some("max_messages");
    assert_kind(&status, Code::InvalidArgument, "INVALID_ARGUMENT", QUEUE, field);

    let missing = GetQueueRequest { queue: "nowhere".to_owned() };
    let status = clients.queues.clone().get_queue(missing).await.unwrap_err();
    assert_kind(&status, Code::NotFound, "QUEUE_NOT_FOUND", QUEUE, None);

    let ack = AckRequest { queue: "work".to_owned(), receipts: vec![] };
    let status = queue.ack(ack).await.unwrap_err();
    let field = Some("receipts");
    assert_kind(&status, Code::InvalidArgument, "INVALID_ARGUMENT", QUEUE, field);
    let nothing = queue.reply(ReplyRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument, "{nothing:?}");
    assert_eq!(Failure::from(&nothing).fields[0], "queue", "{nothing:?}");
    assert_healthy(&system, &clients).await;
}

#[tokio::test]
async fn the_gateway_says_what_is_wrong() {
    let system = System::shop().await.unwrap();
    let rest = system.rest().unwrap();
    let wrong = [
        (Method::POST, "/product", Some("{not json"), StatusCode::BAD_REQUEST),
        (Method::POST, "/product", Some("[1, 2]"), StatusCode::BAD_REQUEST),
        (Method::POST, "/product", Some("{}"), StatusCode::BAD_REQUEST),
        (Method::POST, "/product", Some(r#"{"name": 3, "price": "x"}"#), StatusCode::BAD_REQUEST),
        (Method::POST, "/products", Some("7"), StatusCode::BAD_REQUEST),
        (Method::PUT, "/product/unknown", Some("nonsense"), StatusCode::BAD_REQUEST),
        (Method::GET, "/no/such/route", None, StatusCode::NOT_FOUND),
    ];
    for (method, path, body, expected) in wrong {
        let case = format!("{method} {path} {body:?}");
        let answer = rest.send(method, path, body.map(str::to_owned)).await;
        let (status, answer) = answer.unwrap_or_else(|error| panic!("{case}: {error:#}"));
        assert_eq!(status, expected, "{case}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|text| text.len() > 5), "{case}: {answer}");
    }
    system.check(GATEWAY).await.unwrap();
    let unknown = rest.get("/product/unknown").await.unwrap();
    assert!(unknown.is_null(), "{unknown}");
    assert_healthy(&system, &system.clients().unwrap()).await;
}
