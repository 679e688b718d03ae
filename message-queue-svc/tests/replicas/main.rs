//! Replicas of the real binary that are killed with -9 while producers and
//! consumers work: every message is acked, none is lost or stuck, those of a key
//! are handled one at a time and in order, and what comes twice comes because its
//! lease was lost. `MESSAGES` sets how many there are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that can't go on has to fail, and prints its figures"
)]

mod account;
mod consumers;
mod producers;
mod replica;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use proto::messagequeue::v1 as pb;
use proto::messagequeue::v1::queues_client::QueuesClient;
use redis_link::test_util::PrivateRedis;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use account::Account;
use consumers::Consumer;
use producers::Producer;
use replica::Replica;

/// However quick it goes, so many replicas are killed, spread over the messages.
const KILLS_AT_LEAST: usize = 4;
const REPLICAS: usize = 3;
const PRODUCERS: usize = 8;
const CONSUMERS: usize = 16;
/// How long nothing may happen.
const STUCK: Duration = Duration::from_secs(30);

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_killed_lose_nothing_and_keep_the_order() {
    let redis = PrivateRedis::start();
    let messages = number("MESSAGES", 40_000) / PRODUCERS * PRODUCERS;
    let kill_every = Duration::from_millis(number("KILL_MS", 2_000) as u64);
    let mut replicas: Vec<_> = (0..REPLICAS).map(|_| Replica::start(&redis.url())).collect();
    let channels: Arc<[_]> = replicas.iter().map(Replica::channel).collect();
    let account = Arc::new(Account::default());
    let (mut producers, mut consumers) = (JoinSet::new(), JoinSet::new());
    let goal = Arc::new(AtomicUsize::new(messages / PRODUCERS));
    for number in 0..PRODUCERS {
        let (channels, account) = (Arc::clone(&channels), Arc::clone(&account));
        producers.spawn(Producer::new(number, channels, account, Arc::clone(&goal)).produce());
    }
    for number in 0..CONSUMERS {
        let (channels, account) = (Arc::clone(&channels), Arc::clone(&account));
        consumers.spawn(Consumer { number, channels, account, got: Arc::default() }.consume());
    }
    let (start, mut kills) = (Instant::now(), 0);
    let (mut kill_at, mut moved_at, mut before) = (start + kill_every, start, 0);
    loop {
        sleep(Duration::from_millis(20)).await;
        // What is acked is gone, also where the answer to the ack was lost.
        let left = redis.cli(&["HLEN", "mq:{q}:body"]);
        if producers.is_empty() && left.trim() == "0" {
            break;
        }
        let handled = account.handled();
        if handled > before {
            (before, moved_at) = (handled, Instant::now());
        }
        assert!(moved_at.elapsed() < STUCK, "stuck: {handled} handled, {left} left");
        // On a quick machine a few messages are through before the first kill is due.
        let share_done = handled * KILLS_AT_LEAST > messages * kills + messages / 2;
        if Instant::now() >= kill_at || (share_done && kills < KILLS_AT_LEAST) {
            replicas[kills % REPLICAS].kill_and_restart();
            kills += 1;
            kill_at = Instant::now() + kill_every;
        }
        // A client that found something wrong has ended.
        while let Some(ended) = consumers.try_join_next().or_else(|| producers.try_join_next()) {
            ended.unwrap();
        }
    }
    let took = start.elapsed();
    assert_eq!(account.handled(), messages, "every message was handled and acked");
    assert_eq!(counts(&channels).await, [0, 0, 0, 0]);
    consumers.shutdown().await;
    println!("{messages} messages in {took:.1?}, {kills} kills; {}", account.told());
    assert!(kills >= KILLS_AT_LEAST, "too few kills: more MESSAGES");
}

/// Ready, in flight, delayed, dead, as any replica that is up says.
async fn counts(channels: &[tonic::transport::Channel]) -> [u64; 4] {
    let since = Instant::now();
    loop {
        for channel in channels {
            let request = pb::GetQueueRequest { queue: "q".into() };
            if let Ok(answer) = QueuesClient::new(channel.clone()).get_queue(request).await {
                let queue = answer.into_inner().queue.unwrap();
                return [queue.ready, queue.in_flight, queue.delayed, queue.dead_letters];
            }
        }
        assert!(since.elapsed() < STUCK, "no replica answers");
        sleep(Duration::from_millis(20)).await;
    }
}
