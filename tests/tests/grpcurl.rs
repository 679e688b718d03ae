//! A person with grpcurl and no proto file at hand: everything is found by reflection.

#![allow(clippy::unwrap_used, reason = "tests")]

use redis_link::test_util::PrivateRedis;
use serde_json::{Value, json};
use system_tests::grpcurl::Grpcurl;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};

async fn started() -> (System, Grpcurl, Grpcurl) {
    let system = System::services().await.unwrap();
    let store = Grpcurl::new(&system.url(EVENT_STORE).unwrap());
    let queue = Grpcurl::new(&system.url(MESSAGE_QUEUE).unwrap());
    (system, store, queue)
}

fn greeting(text: &str) -> Value {
    json!({"topic": "greetings", "events": [
        {"type": "greeted", "subject": "ann", "text_data": text}
    ]})
}

#[tokio::test]
async fn services_are_listed_and_described() {
    let (_system, store, queue) = started().await;
    let services = store.text(&["list"]).await.unwrap();
    for service in [
        "eventstore.v1.EventStore",
        "eventstore.v1.ConsumerGroups",
        "eventstore.v1.Topics",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(services.lines().any(|line| line == service), "{service} in {services}");
    }
    let services = queue.text(&["list"]).await.unwrap();
    for service in ["messagequeue.v1.MessageQueue", "messagequeue.v1.Queues"] {
        assert!(services.lines().any(|line| line == service), "{service} in {services}");
    }
    let event = store.text(&["describe", "eventstore.v1.Event"]).await.unwrap();
    assert!(event.contains("optional string subject = 4;"), "{event}");
    let call = queue.text(&["describe", "messagequeue.v1.MessageQueue.Call"]).await.unwrap();
    assert!(call.contains(".messagequeue.v1.CallRequest"), "{call}");

    let health = store.call("grpc.health.v1.Health/Check", &json!({})).await.unwrap();
    assert_eq!(health, [json!({"status": "SERVING"})]);
}

async fn event_store() -> (System, Grpcurl) {
    let redis = PrivateRedis::start();
    let system = System::of(redis, &[EVENT_STORE]).await.unwrap();
    let store = Grpcurl::new(&system.url(EVENT_STORE).unwrap());
    (system, store)
}

#[tokio::test]
async fn events_are_appended_read_and_subscribed_to() {
    let (_system, store) = event_store().await;
    let append = "eventstore.v1.EventStore/Append";
    let first = store.call(append, &greeting("hello")).await.unwrap();
    assert_eq!(first[0]["firstSequence"], "1");
    assert_eq!(first[0]["subjectRevisions"], json!({"ann": "0"}), "{first:?}");
    let position = &first[0]["lastPosition"];

    let read = "eventstore.v1.EventStore/Read";
    let events = store.call(read, &json!({"topic": "greetings"})).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(&events[0]["event"]["position"], position);
    assert_eq!(events[0]["event"]["event"]["textData"], "hello");

    let subscribe = "eventstore.v1.EventStore/Subscribe";
    let request = json!({"topics": [{"topic": "greetings"}]});
    let caught_up = |answers: &[Value]| answers.iter().any(|a| a.get("caughtUp").is_some());
    let answers = store.stream(subscribe, &request, caught_up).await.unwrap();
    assert_eq!(&answers[0]["event"]["position"], position, "{answers:?}");

    // What is appended while a subscriber waits comes to it.
    let from_now = json!({"topics": [{"topic": "greetings", "start": {"end": {}}}]});
    let event = |answers: &[Value]| answers.iter().any(|a| a.get("event").is_some());
    let (subscribed, mut caught) = tokio::sync::mpsc::channel(1);
    let (waiting, appended) = tokio::join!(
        store.stream(subscribe, &from_now, |answers| {
            if caught_up(answers) {
                let _ = subscribed.try_send(());
            }
            event(answers)
        }),
        async {
            caught.recv().await;
            store.call(append, &greeting("hello again")).await
        }
    );
    appended.unwrap();
    let waiting = waiting.unwrap();
    let text = &waiting.last().unwrap()["event"]["event"]["textData"];
    assert_eq!(text, "hello again");
}

#[tokio::test]
async fn groups_share_a_topic() {
    let (_system, store) = event_store().await;
    store.call("eventstore.v1.EventStore/Append", &greeting("hello")).await.unwrap();
    let group = json!({"topic": "greetings", "group": "readers"});
    store.call("eventstore.v1.ConsumerGroups/CreateGroup", &group).await.unwrap();
    let mut request = group.clone();
    request["consumer"] = "me".into();
    let fetch = "eventstore.v1.ConsumerGroups/Fetch";
    let fetched = store.call(fetch, &request).await.unwrap();
    let delivery = &fetched[0]["deliveries"][0];
    assert_eq!(delivery["event"]["event"]["textData"], "hello", "{fetched:?}");
    let mut ack = group.clone();
    ack["receipts"] = json!([delivery["receipt"]]);
    let acked = store.call("eventstore.v1.ConsumerGroups/Ack", &ack).await.unwrap();
    assert_eq!(acked[0]["outcomes"][0].get("error"), None, "{acked:?}");
    assert_eq!(store.call(fetch, &request).await.unwrap(), [json!({})]);
}

#[tokio::test]
async fn messages_are_sent_received_and_acked() {
    let (_system, _, queue) = started().await;
    let send = json!({"queue": "work", "messages": [
        {"message": {"type": "resize", "text_body": "image 7"}}
    ]});
    let sent = queue.call("messagequeue.v1.MessageQueue/Send", &send).await.unwrap();
    let receive = "messagequeue.v1.MessageQueue/Receive";
    let request = json!({"queue": "work", "wait": "10s"});
    let received = queue.call(receive, &request).await.unwrap();
    let delivery = &received[0]["deliveries"][0];
    assert_eq!(delivery["message"]["id"], sent[0]["results"][0]["messageId"]);
    assert_eq!(delivery["message"]["textBody"], "image 7");
    assert_eq!(delivery["attempt"], 1);
    let ack = json!({"queue": "work", "receipts": [delivery["receipt"]]});
    let acked = queue.call("messagequeue.v1.MessageQueue/Ack", &ack).await.unwrap();
    assert_eq!(acked[0]["outcomes"][0].get("error"), None, "{acked:?}");
    let request = json!({"queue": "work"});
    assert_eq!(queue.call(receive, &request).await.unwrap(), [json!({})]);
}

#[tokio::test]
async fn a_call_is_answered_by_another_client() {
    let (_system, _, queue) = started().await;
    let call = json!({
        "queue": "sums", "timeout": "20s",
        "message": {"type": "add", "text_body": "2 + 3"}
    });
    let worker = async {
        let request = json!({"queue": "sums", "wait": "15s"});
        let receive = "messagequeue.v1.MessageQueue/Receive";
        let received = queue.call(receive, &request).await.unwrap();
        let delivery = &received[0]["deliveries"][0];
        assert_eq!(delivery["message"]["textBody"], "2 + 3");
        assert_eq!(delivery["expectsReply"], true);
        let reply = json!({
            "queue": "sums", "receipt": delivery["receipt"],
            "reply": {"body": {"text_body": "5"}}
        });
        queue.call("messagequeue.v1.MessageQueue/Reply", &reply).await.unwrap();
    };
    let calling = queue.call("messagequeue.v1.MessageQueue/Call", &call);
    let (answer, ()) = tokio::join!(calling, worker);
    let answer = answer.unwrap();
    assert_eq!(answer[0]["reply"]["body"]["textBody"], "5", "{answer:?}");
}
