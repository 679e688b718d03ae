//! What a scrape tells adds up with what was done, and stays small however many queues there are.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that can't go on has to fail; figures are printed"
)]

mod scraped;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../queue/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use proto::messagequeue::v1 as pb;
use redis_link::test_util::{PrivateRedis, free_port};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};

use scraped::Scraped;
use support::*;

/// The process has one histogram of sends.
static ALONE: Mutex<()> = Mutex::const_new(());

const COUNTERS: [&str; 5] = [
    "messagequeue_sent_messages_total",
    "messagequeue_delivered_messages_total",
    "messagequeue_redelivered_messages_total",
    "messagequeue_acked_messages_total",
    "messagequeue_dead_lettered_messages_total",
];
const GAUGES: [&str; 4] = [
    "messagequeue_ready_messages",
    "messagequeue_leased_messages",
    "messagequeue_delayed_messages",
    "messagequeue_dead_letters",
];
const OLDEST: &str = "messagequeue_oldest_message_seconds";
const SECONDS: &str = "messagequeue_send_seconds";

/// What the counters of `q` have to be.
#[derive(Default)]
struct Did {
    sent: u64,
    delivered: u64,
    redelivered: u64,
    acked: u64,
    dead: u64,
    requests: u64,
}

struct Load {
    service: Replica,
    address: String,
    did: Did,
}

impl Load {
    async fn check(&mut self, what: &str) {
        let Did { sent, delivered, redelivered, acked, dead, .. } = self.did;
        let scraped = Scraped::get(&self.address).await;
        let told = COUNTERS.map(|name| scraped.of(name, "q"));
        let wanted = [sent, delivered, redelivered, acked, dead].map(Some);
        assert_eq!(told, wanted, "sent, delivered, redelivered, acked, dead after: {what}");
    }

    async fn send(&mut self, messages: Vec<pb::OutgoingMessage>) {
        self.did.sent += messages.len() as u64;
        self.did.requests += 1;
        self.service.send("q", messages).await;
    }

    async fn receive(&mut self, max: u32, lease: Option<u64>) -> Vec<String> {
        let mut receipts = Vec::new();
        while receipts.len() < max as usize {
            let left = max - u32::try_from(receipts.len()).unwrap();
            let got = self.service.receive_for("q", left, lease, 20_000).await;
            assert!(!got.is_empty(), "nothing came");
            self.did.redelivered +=
                got.iter().filter(|delivery| delivery.attempt > 1).count() as u64;
            receipts.extend(got.into_iter().map(|delivery| delivery.receipt));
        }
        self.did.delivered += u64::from(max);
        receipts
    }

    async fn ack(&mut self, receipts: &[String]) {
        let receipts: Vec<_> = receipts.iter().map(String::as_str).collect();
        let outcomes = self.service.ack("q", &receipts).await;
        assert!(outcomes.iter().all(Option::is_none), "{outcomes:?}");
    }
}

fn many(count: usize) -> Vec<pb::OutgoingMessage> {
    (0..count).map(|n| outgoing(&format!("{n}"))).collect()
}

/// Sends, of which some repeat others or are refused; receives, acks, and acks again.
async fn sends_and_acks(load: &mut Load) {
    load.send(many(10)).await;
    let mut keyed = many(5);
    for (n, message) in keyed.iter_mut().enumerate() {
        message.dedup_key = Some(format!("key-{n}"));
    }
    load.send(keyed.clone()).await;
    let repeated = load.service.try_send("q", keyed.clone()).await.unwrap();
    assert!(repeated.results.iter().all(|result| result.deduplicated));
    keyed[0].message = Some(message("other"));
    assert_eq!(reason(&load.service.try_send("q", keyed).await.unwrap_err()), "ID_REUSED");
    load.did.requests += 2;
    load.check("sends, repeats, a refusal").await;

    let receipts = load.receive(15, None).await;
    load.ack(&receipts).await;
    // Each once, whoever says it again.
    load.ack(&receipts).await;
    load.ack(&[receipts[0].clone(), receipts[0].clone()]).await;
    load.did.acked += 15;
    load.check("acks, and acks again").await;
}

/// Each way to become a dead letter, and a delivery after each failure before.
async fn failures(load: &mut Load) {
    // Nacked twice: as many attempts as there are.
    load.send(many(1)).await;
    for _ in 0..2 {
        let receipt = load.receive(1, None).await.remove(0);
        load.service.nack("q", &receipt, Some(0)).await;
    }
    load.did.dead += 1;
    load.check("two nacks").await;
    // Nacked as not to be tried again.
    load.send(many(1)).await;
    let receipts = load.receive(1, None).await;
    let nack =
        pb::NackRequest { queue: "q".into(), receipts, dead_letter: true, ..Default::default() };
    load.service.mq.nack(nack).await.unwrap();
    load.did.dead += 1;
    load.check("a nack with dead_letter").await;
    // Leases that run out, the second one while nobody looks.
    load.send(many(1)).await;
    for _ in 0..2 {
        load.receive(1, Some(1_000)).await;
    }
    load.did.dead += 1;
    load.service.until_counts("q", [0, 0, 0, 3]).await;
    load.check("two leases that ran out").await;
    // Time to live that ends.
    let mut short = outgoing("short");
    short.time_to_live = ms(50);
    load.send(vec![short]).await;
    load.did.dead += 1;
    load.service.until_counts("q", [0, 0, 0, 4]).await;
    // And once more, where a take finds it: the service's keeper comes at its own time.
    let mut short = outgoing("short");
    short.time_to_live = ms(30);
    load.send(vec![short]).await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(load.service.receive_now("q", 1).await.is_empty());
    load.did.dead += 1;
    load.service.until_counts("q", [0, 0, 0, 5]).await;
    load.check("two that expired").await;
    // Given back unused is no failure: the same message, delivered twice, in its first attempt.
    load.send(many(1)).await;
    let (say, said) = mpsc::channel(1);
    let mut stream = load.service.consume("q", 1, ReceiverStream::new(said)).await;
    let attempt = delivery(&mut stream).await.attempt;
    load.did.delivered += 1;
    drop((say, stream));
    let receipts = load.receive(1, None).await;
    load.ack(&receipts).await;
    load.did.acked += 1;
    assert_eq!(attempt, 1);
    load.check("one that was given back unused").await;
}

/// A stream, to which sends hand over, calls and their replies.
async fn handed_over(load: &mut Load) {
    let (say, said) = mpsc::unbounded_channel();
    let mut stream = load.service.consume("q", 10, UnboundedReceiverStream::new(said)).await;
    for _ in 0..3 {
        load.send(many(1)).await;
        let got = delivery(&mut stream).await;
        say.send(ack_of(&[&got.receipt])).unwrap();
        assert_eq!(outcome(&mut stream).await.error, None);
    }
    (load.did.delivered, load.did.acked) = (load.did.delivered + 3, load.did.acked + 3);
    load.check("a stream").await;

    let mut caller = load.service.mq.clone();
    let calls = tokio::spawn(async move {
        for _ in 0..2 {
            let message = Some(message("call"));
            let request = pb::CallRequest { queue: "q".into(), message, timeout: ms(20_000) };
            caller.call(request).await.unwrap();
        }
    });
    for _ in 0..2 {
        let receipt = delivery(&mut stream).await.receipt;
        let reply = || pb::ReplyRequest {
            queue: "q".into(),
            receipt: receipt.clone(),
            reply: Some(reply_text("done")),
        };
        load.service.mq.reply(reply()).await.unwrap();
        // Once: the second one is refused.
        load.service.mq.reply(reply()).await.unwrap_err();
    }
    calls.await.unwrap();
    drop((say, stream));
    load.did.sent += 2;
    load.did.requests += 2;
    load.did.delivered += 2;
    load.did.acked += 2;
    load.check("calls and replies").await;
}

/// What is there at the end, for the gauges.
async fn what_stays(load: &mut Load) {
    load.send(many(1)).await;
    load.receive(1, None).await;
    let mut later = many(2);
    for message in &mut later {
        message.due = Some(pb::outgoing_message::Due::Delay(ms(3_600_000).unwrap()));
    }
    load.send(later).await;
    let one = |n: u32| pb::SendRequest {
        queue: "q".into(),
        messages: vec![outgoing(&format!("{n}"))],
        durability: 0,
    };
    let answers = load.service.mq.send_stream(stream::iter((0..4).map(one))).await.unwrap();
    assert_eq!(
        answers.into_inner().filter(|sent| futures::future::ready(sent.is_ok())).count().await,
        4
    );
    load.did.sent += 4;
    load.did.requests += 4;
}

#[tokio::test]
async fn what_is_told_adds_up_with_what_was_done() {
    let _alone = ALONE.lock().await;
    let redis = PrivateRedis::start();
    let address = format!("127.0.0.1:{}", free_port());
    let mut service = Replica::start_with(&redis, &address, &[]).await;
    let backoff = pb::Backoff { initial: ms(0), ..Default::default() };
    let settings = pb::QueueSettings {
        max_attempts: Some(2),
        retry_backoff: Some(backoff),
        ..Default::default()
    };
    service.create("q", settings).await;
    let before = Scraped::get(&address).await.count_of(SECONDS);
    let mut load = Load { service, address, did: Did::default() };
    sends_and_acks(&mut load).await;
    failures(&mut load).await;
    handed_over(&mut load).await;
    what_stays(&mut load).await;
    load.check("all of it").await;

    let asked = Instant::now();
    let scraped = Scraped::get(&load.address).await;
    let queue = load.service.info("q").await;
    let gauges = GAUGES.map(|name| scraped.of(name, "q"));
    assert_eq!(gauges, [queue.ready, queue.in_flight, queue.delayed, queue.dead_letters].map(Some));
    assert_eq!(gauges, [4, 1, 2, 5].map(Some));
    let oldest = queue.oldest_age.unwrap();
    let oldest =
        Duration::new(oldest.seconds.try_into().unwrap(), oldest.nanos.try_into().unwrap());
    let told = Duration::from_secs_f64(scraped.value(OLDEST, "q").unwrap());
    assert!(told <= oldest && oldest <= told + asked.elapsed(), "{told:?}, then {oldest:?}");
    assert_eq!(scraped.count_of(SECONDS) - before, load.did.requests);
    load.service.stop().await;
}

#[tokio::test]
async fn ten_thousand_queues_have_two_hundred_labels() {
    const QUEUES: usize = 10_000;
    const LABELS: usize = 200;
    let _alone = ALONE.lock().await;
    let redis = PrivateRedis::start();
    let address = format!("127.0.0.1:{}", free_port());
    let service = Replica::start_with(&redis, &address, &[]).await;
    let sends = (0..QUEUES).map(|n| {
        let mut mq = service.mq.clone();
        let messages = vec![outgoing("x")];
        let request = pb::SendRequest { queue: format!("q{n:05}"), messages, durability: 0 };
        async move { mq.send(request).await.unwrap() }
    });
    assert_eq!(stream::iter(sends).buffer_unordered(64).count().await, QUEUES);

    let asked = Instant::now();
    let scraped = Scraped::get(&address).await;
    let (took, bytes) = (asked.elapsed(), scraped.text.len());
    eprintln!("{QUEUES} queues: {bytes} bytes in {took:?}");
    let counted = scraped.labels(COUNTERS[0]);
    assert_eq!(counted.len(), LABELS + 1);
    for name in COUNTERS {
        assert!(scraped.labels(name).len() <= LABELS + 1, "{name}");
    }
    let sent: u64 = counted.iter().filter_map(|queue| scraped.of(COUNTERS[0], queue)).sum();
    assert_eq!(sent, QUEUES as u64);
    assert_eq!(scraped.of(COUNTERS[0], "other"), Some((QUEUES - LABELS) as u64));
    // What is told of a queue is told whole.
    let named: BTreeSet<_> = counted.into_iter().filter(|queue| queue != "other").collect();
    for name in GAUGES.into_iter().chain([OLDEST]) {
        assert_eq!(scraped.labels(name), named, "{name}");
    }
    assert!(bytes < 300_000, "a scrape of {bytes} bytes");
    assert!(took < Duration::from_secs(2), "a scrape took {took:?}");
    service.stop().await;
}
