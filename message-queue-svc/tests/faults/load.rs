//! Clients that go on through faults: producers, unary and by stream, and consumers, by long poll and
//! by stream, at two replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use proto::messagequeue::v1 as pb;
use proto::messagequeue::v1::queues_client::QueuesClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::account::Account;
use crate::consumers::Consumer;
use crate::producers::Producer;

const CLIENTS: usize = 4;
/// Everybody goes on this soon after a fault.
const SOON: Duration = Duration::from_secs(5);
/// Longer than a fault and all that follows from it.
const LIMIT: Duration = Duration::from_secs(30);

/// A load under way.
pub struct Load {
    channels: Arc<[Channel]>,
    account: Arc<Account>,
    goal: Arc<AtomicUsize>,
    /// How many messages each client sent or got.
    moved: Vec<(String, Arc<AtomicUsize>)>,
    sent: Vec<Arc<AtomicUsize>>,
    producers: JoinSet<()>,
    consumers: JoinSet<()>,
}

impl Load {
    pub async fn start(urls: &[&str]) -> Self {
        let channel = |url: &&str| svc_runtime::client::channel(url, 1).unwrap();
        let channels: Arc<[_]> = urls.iter().map(channel).collect();
        let account = Arc::new(Account::default());
        let goal = Arc::new(AtomicUsize::new(usize::MAX));
        let (mut producers, mut consumers) = (JoinSet::new(), JoinSet::new());
        let (mut moved, mut sent) = (Vec::new(), Vec::new());
        for number in 0..CLIENTS {
            let (goal, account) = (Arc::clone(&goal), Arc::clone(&account));
            let producer = Producer::new(number, Arc::clone(&channels), account, goal);
            sent.push(Arc::clone(&producer.sent));
            moved.push((format!("producer {number}"), Arc::clone(&producer.sent)));
            producers.spawn(producer.produce());
        }
        for number in 0..CLIENTS {
            let (channels, account) = (Arc::clone(&channels), Arc::clone(&account));
            let consumer = Consumer { number, channels, account, got: Arc::default() };
            moved.push((format!("consumer {number}"), Arc::clone(&consumer.got)));
            consumers.spawn(consumer.consume());
        }
        let mut load = Self { channels, account, goal, moved, sent, producers, consumers };
        load.goes_on("the beginning").await;
        load
    }

    /// Waits until so many more messages are handled: a fault is to hit clients that are busy.
    pub async fn run(&mut self, messages: usize) {
        let wanted = self.account.handled() + messages;
        let start = Instant::now();
        while self.account.handled() < wanted {
            assert!(start.elapsed() < LIMIT, "nothing moves");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until every client moves something again.
    pub async fn goes_on(&mut self, after: &str) -> Duration {
        let moved = || self.moved.iter().map(|(_, moved)| moved.load(Relaxed)).collect::<Vec<_>>();
        let (start, before) = (Instant::now(), moved());
        loop {
            let waiting: Vec<_> = (before.iter().zip(moved()).zip(&self.moved))
                .filter_map(|((before, now), (name, _))| (now <= *before).then_some(name))
                .collect();
            if waiting.is_empty() {
                return start.elapsed();
            }
            assert!(start.elapsed() < SOON, "{after}: nothing new for {waiting:?} in {SOON:?}");
            // A client that found something wrong has ended.
            if let Some(ended) = self.consumers.try_join_next() {
                panic!("{after}: a consumer ended: {ended:?}");
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the sends, waits until all is handled and acked, and tells the figures.
    pub async fn finish(mut self, what: &str) {
        self.goal.store(0, Relaxed);
        let start = Instant::now();
        while let Some(ended) = self.producers.join_next().await {
            ended.unwrap();
        }
        while self.counts().await != Some([0, 0, 0, 0]) {
            if let Some(ended) = self.consumers.try_join_next() {
                panic!("{what}: a consumer ended: {ended:?}");
            }
            assert!(start.elapsed() < LIMIT, "{what}: stuck with {:?}", self.counts().await);
            sleep(Duration::from_millis(20)).await;
        }
        self.consumers.shutdown().await;
        let sent: usize = self.sent.iter().map(|sent| sent.load(Relaxed)).sum();
        println!("{what}: {sent} sent; {}", self.account.told());
        assert_eq!(self.account.handled(), sent, "{what}: every message was handled");
    }

    /// Ready, in flight, delayed, dead.
    async fn counts(&self) -> Option<[u64; 4]> {
        let request = pb::GetQueueRequest { queue: "q".into() };
        let answer = QueuesClient::new(self.channels[0].clone()).get_queue(request).await.ok()?;
        let queue = answer.into_inner().queue?;
        Some([queue.ready, queue.in_flight, queue.delayed, queue.dead_letters])
    }
}
