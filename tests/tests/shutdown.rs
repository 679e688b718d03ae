//! SIGTERM with everything open: the programs end by themselves, in time, with exit code 0, and
//! tell every open stream.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; figures are printed")]

use std::time::{Duration, Instant};

use proto::eventstore::v1::{self as es, consume_request as es_consume};
use proto::messagequeue::v1::{self as mq, consume_request as mq_consume};
use system_tests::clients::{Clients, append, event, outgoing, send};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// Far less than the 25 s that are promised: nothing here has a reason to wait.
const SOON: Duration = Duration::from_secs(5);

/// How a stream ended: none when it was closed without a status of its own.
type End = Option<Status>;

/// Reads a stream to its end, after telling that it is open.
fn drain<T: Send + 'static>(mut stream: Streaming<T>) -> JoinHandle<End> {
    tokio::spawn(async move {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    })
}

/// Requests of a stream that stays open: the sender has to be kept.
async fn open<T>(first: Option<T>) -> (mpsc::Sender<T>, ReceiverStream<T>) {
    let (sender, receiver) = mpsc::channel(1);
    if let Some(first) = first {
        sender.send(first).await.ok().unwrap();
    }
    (sender, ReceiverStream::new(receiver))
}

async fn store_streams(clients: &Clients) -> Vec<(&'static str, JoinHandle<End>)> {
    let mut store = clients.store.clone();
    let events = vec![event("1", "happened", "")];
    store.append(append("open", events)).await.unwrap();
    let subscribe = es::SubscribeRequest {
        topics: vec![es::TopicStart { topic: "open".to_owned(), start: None }],
        ..es::SubscribeRequest::default()
    };
    let mut subscription = store.subscribe(subscribe).await.unwrap().into_inner();
    subscription.message().await.unwrap().unwrap();

    let group = es::CreateGroupRequest {
        topic: "open".to_owned(),
        group: "open".to_owned(),
        settings: None,
    };
    clients.groups.clone().create_group(group).await.unwrap();
    let message = es_consume::Message::Open(es::ConsumeOpen {
        topic: "open".to_owned(),
        group: "open".to_owned(),
        consumer: "me".to_owned(),
        max_in_flight: None,
    });
    let (consuming, requests) = open(Some(es::ConsumeRequest { message: Some(message) })).await;
    let consume = clients.groups.clone().consume(requests).await.unwrap();
    let mut consume = consume.into_inner();
    consume.message().await.unwrap().unwrap();
    // Held until the end of the test: the client does not close its side.
    std::mem::forget(consuming);
    vec![("Subscribe", drain(subscription)), ("Consume", drain(consume))]
}

async fn queue_streams(clients: &Clients) -> Vec<(&'static str, JoinHandle<End>)> {
    let mut queue = clients.queue.clone();
    queue.send(send("open", vec![outgoing("work", "")])).await.unwrap();
    let message = mq_consume::Message::Open(mq::ConsumeOpen {
        queue: "open".to_owned(),
        ..mq::ConsumeOpen::default()
    });
    let (consuming, requests) = open(Some(mq::ConsumeRequest { message: Some(message) })).await;
    let mut consume = queue.consume(requests).await.unwrap().into_inner();
    consume.message().await.unwrap().unwrap();
    std::mem::forget(consuming);
    let mut waiting = clients.queue.clone();
    let receive = tokio::spawn(async move {
        let request = mq::ReceiveRequest {
            queue: "empty".to_owned(),
            wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
            ..mq::ReceiveRequest::default()
        };
        waiting.receive(request).await.err()
    });
    vec![("Consume", drain(consume)), ("Receive", receive)]
}

async fn stop(system: &mut System, name: &str) {
    let start = Instant::now();
    let status = system.stop(name).await.unwrap();
    eprintln!("{name} stopped after {:?}", start.elapsed());
    assert!(status.success(), "{name} ended with {status}");
    assert!(start.elapsed() < SOON, "{name} took {:?}", start.elapsed());
}

#[tokio::test]
async fn open_streams_end_with_a_status() {
    let mut system = System::services().await.unwrap();
    let clients = system.clients().unwrap();
    let store = store_streams(&clients).await;
    let queue = queue_streams(&clients).await;
    stop(&mut system, EVENT_STORE).await;
    stop(&mut system, MESSAGE_QUEUE).await;
    for (name, ended) in store.into_iter().chain(queue) {
        let end = tokio::time::timeout(SOON, ended).await.unwrap().unwrap();
        match end {
            Some(status) => assert_eq!(status.code(), Code::Unavailable, "{name}: {status:?}"),
            // A long poll may as well be answered, with nothing.
            None => assert_eq!(name, "Receive", "{name} ended without a status"),
        }
    }

    // What the consumer held and never acked is there for the next one at once.
    system.start(MESSAGE_QUEUE).await.unwrap();
    let receive = mq::ReceiveRequest {
        queue: "open".to_owned(),
        wait: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..mq::ReceiveRequest::default()
    };
    let received = clients.queue.clone().receive(receive).await.unwrap();
    assert_eq!(received.into_inner().deliveries.len(), 1);
}

#[tokio::test]
async fn every_program_of_the_shop_stops_when_told() {
    let mut system = System::shop().await.unwrap();
    for name in [GATEWAY].into_iter().chain(WORKERS).chain([EVENT_STORE, MESSAGE_QUEUE]) {
        stop(&mut system, name).await;
    }
}
