//! Replicas of the real binary that are killed with -9 while producers and
//! consumers work: every message is acked, none is lost or stuck, and those of
//! a key are handled one at a time and in order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has to fail")]

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::messagequeue::v1 as pb;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use redis_link::test_util::PrivateRedis;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

const REPLICAS: usize = 3;
const PRODUCERS: usize = 4;
const CONSUMERS: usize = 8;
const KEYS: usize = 40;
const MESSAGES: usize = 60_000;
const BATCH: usize = 50;
const KILL_EVERY: Duration = Duration::from_millis(700);
const LIMIT: Duration = Duration::from_secs(120);

/// A replica as a process.
struct Replica {
    port: u16,
    url: String,
    process: Child,
}

impl Replica {
    fn start(redis: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        Self { port, url: redis.to_owned(), process: spawn(port, redis) }
    }

    /// As the kernel's out-of-memory killer would; and a new one in its place.
    fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(self.port, &self.url);
    }

    fn client(&self) -> MessageQueueClient<Channel> {
        let url = format!("http://127.0.0.1:{}", self.port);
        MessageQueueClient::new(svc_runtime::client::channel(&url, 1).unwrap())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, redis: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_message-queue-svc"))
        .args(["--listen", &format!("127.0.0.1:{port}"), "--redis-url", redis])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What consumers saw of each key: when each number was handled first.
#[derive(Default)]
struct Seen {
    numbers: HashMap<usize, Vec<usize>>,
    busy: HashMap<usize, usize>,
    acked: usize,
    redelivered: usize,
}

/// Sends `BATCH` messages of every key it owns, in order, until each is in.
async fn produce(producer: usize, clients: Vec<MessageQueueClient<Channel>>) {
    let mut turn = producer;
    for start in (0..MESSAGES / KEYS).step_by(BATCH) {
        for key in (producer..KEYS).step_by(PRODUCERS) {
            let messages: Vec<_> = (start..start + BATCH).map(|n| message(key, n)).collect();
            loop {
                turn += 1;
                let messages = messages.clone();
                let request = pb::SendRequest { queue: "q".into(), messages, durability: 0 };
                if clients[turn % REPLICAS].clone().send(request).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn message(key: usize, number: usize) -> pb::OutgoingMessage {
    let body = pb::message::Body::TextBody(format!("{key} {number}"));
    let message = pb::Message { r#type: "t".into(), body: Some(body), ..Default::default() };
    pb::OutgoingMessage {
        message: Some(message),
        ordering_key: Some(format!("key-{key}")),
        // A retry after an unknown outcome is safe.
        dedup_key: Some(format!("{key}-{number}")),
        ..Default::default()
    }
}

async fn consume(
    consumer: usize,
    clients: Vec<MessageQueueClient<Channel>>,
    seen: Arc<Mutex<Seen>>,
    done: Arc<AtomicBool>,
) {
    let mut turn = consumer;
    while !done.load(Ordering::Relaxed) {
        turn += 1;
        let mut client = clients[turn % REPLICAS].clone();
        let request = pb::ReceiveRequest {
            queue: "q".into(),
            max_messages: Some(20),
            wait: Some(Duration::from_millis(500).try_into().unwrap()),
            // Short, so that what a killed replica took comes back soon.
            lease: Some(Duration::from_secs(2).try_into().unwrap()),
        };
        let Ok(received) = client.receive(request).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let deliveries = received.into_inner().deliveries;
        let receipts: Vec<_> = deliveries.iter().map(|d| d.receipt.clone()).collect();
        begin(&seen, consumer, &deliveries);
        // From the ack on the next of each key may be anywhere.
        end(&seen, &deliveries);
        let acked = ack(&clients, &mut turn, receipts).await;
        seen.lock().unwrap().acked += acked;
    }
}

fn numbers(delivery: &pb::Delivery) -> (usize, usize) {
    let Some(pb::message::Body::TextBody(text)) = &delivery.message.as_ref().unwrap().body else {
        panic!("no text");
    };
    let (key, number) = text.split_once(' ').unwrap();
    (key.parse().unwrap(), number.parse().unwrap())
}

fn begin(seen: &Mutex<Seen>, consumer: usize, deliveries: &[pb::Delivery]) {
    let mut seen = seen.lock().unwrap();
    for delivery in deliveries {
        let (key, number) = numbers(delivery);
        let other = seen.busy.insert(key, consumer);
        assert_eq!(other, None, "two of key {key} at once");
        let handled = seen.numbers.entry(key).or_default();
        let next = handled.last().map_or(0, |last| last + 1);
        assert!(number <= next, "{number} of key {key} before {next}");
        if number == next {
            handled.push(number);
        } else {
            assert_eq!(number + 1, next, "an older one of key {key} came back");
            seen.redelivered += 1;
        }
    }
}

fn end(seen: &Mutex<Seen>, deliveries: &[pb::Delivery]) {
    let mut seen = seen.lock().unwrap();
    for delivery in deliveries {
        seen.busy.remove(&numbers(delivery).0);
    }
}

/// Acks until it is known what became of it; answers how many were accepted.
async fn ack(
    clients: &[MessageQueueClient<Channel>],
    turn: &mut usize,
    receipts: Vec<String>,
) -> usize {
    if receipts.is_empty() {
        return 0;
    }
    loop {
        *turn += 1;
        let request = pb::AckRequest { queue: "q".into(), receipts: receipts.clone() };
        if let Ok(answer) = clients[*turn % REPLICAS].clone().ack(request).await {
            let outcomes = answer.into_inner().outcomes;
            return outcomes.iter().filter(|outcome| outcome.error.is_none()).count();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_killed_lose_nothing_and_keep_the_order() {
    let redis = PrivateRedis::start();
    let mut replicas: Vec<_> = (0..REPLICAS).map(|_| Replica::start(&redis.url())).collect();
    let clients: Vec<_> = replicas.iter().map(Replica::client).collect();
    let (seen, done) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        producers.spawn(produce(producer, clients.clone()));
    }
    let mut consumers = JoinSet::new();
    for consumer in 0..CONSUMERS {
        consumers.spawn(consume(consumer, clients.clone(), Arc::clone(&seen), Arc::clone(&done)));
    }
    let kills = AtomicUsize::new(0);
    let start = Instant::now();
    let finished = async {
        loop {
            tokio::time::sleep(KILL_EVERY).await;
            let handled: usize = seen.lock().unwrap().numbers.values().map(Vec::len).sum();
            let left = redis.cli(&["HLEN", "mq:{q}:body"]);
            if handled == MESSAGES && left.trim() == "0" {
                break;
            }
            assert!(start.elapsed() < LIMIT, "{handled} handled, {left} left");
            let kill = kills.fetch_add(1, Ordering::Relaxed);
            replicas[kill % REPLICAS].kill_and_restart();
        }
    };
    tokio::select! {
        () = finished => {}
        Some(Err(panicked)) = consumers.join_next() => panic!("{panicked}"),
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = producers.join_next().await {
        ended.unwrap();
    }
    while let Some(ended) = consumers.join_next().await {
        ended.unwrap();
    }
    let seen = seen.lock().unwrap();
    println!(
        "{MESSAGES} messages in {:?}, {} replicas killed, {} redelivered, {} acked",
        start.elapsed(),
        kills.load(Ordering::Relaxed),
        seen.redelivered,
        seen.acked
    );
    assert!(kills.load(Ordering::Relaxed) >= 2, "too fast to have been disturbed");
}
