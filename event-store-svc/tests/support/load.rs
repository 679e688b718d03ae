//! Clients that go on whatever happens, as the documentation tells them to: appenders that retry with
//! the same ids, one by one or by the stream, subscribers that resume after their last position, consumers that come back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::eventstore::v1::consume_request::Message as Say;
use proto::eventstore::v1::consume_response::Message as Heard;
use proto::eventstore::v1::consumer_groups_client::ConsumerGroupsClient;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::start::At;
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::topics_client::TopicsClient;
use proto::eventstore::v1::*;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::account::Account;
use super::stream_writer::StreamWriter;
use super::{event, start};

pub const TOPIC: &str = "load";
pub const GROUPS: [&str; 2] = ["free", "ordered"];
const APPENDERS: usize = 4;
/// Those that append over streams.
const STREAMS: usize = 2;
/// Requests of a stream that may be unanswered.
const WINDOW: usize = 32;
const WRITERS: usize = APPENDERS + STREAMS;
const SUBSCRIBERS: usize = 4;
/// How long after a fault everything must be well again.
pub const WELL: Duration = Duration::from_secs(5);

/// What clients share.
struct Shared {
    replicas: Vec<Channel>,
    account: Mutex<Account>,
    appending: AtomicBool,
    /// What each client got so far: answers, events, deliveries.
    got: Vec<(String, AtomicU64)>,
}

impl Shared {
    fn note(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.account.lock().unwrap());
    }

    /// The replica for a client's n-th attempt.
    fn replica(&self, client: usize, attempt: usize) -> Channel {
        self.replicas[(client + attempt) % self.replicas.len()].clone()
    }

    /// A client pauses before it tries elsewhere, so as not to run hot.
    async fn failed(&self, status: &Status) {
        self.note(|account| account.error(status));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A load under way.
pub struct Load {
    shared: Arc<Shared>,
    appenders: JoinSet<()>,
    readers: JoinSet<()>,
}

impl Load {
    /// Starts clients at these replicas; groups get this ack timeout.
    pub async fn start(urls: &[&str], ack_timeout: Option<prost_types::Duration>) -> Self {
        let replicas: Vec<_> =
            urls.iter().map(|url| svc_runtime::client::channel(url, 1).unwrap()).collect();
        for (group, ordering) in GROUPS.into_iter().zip([Ordering::None, Ordering::Subject]) {
            let settings = GroupSettings {
                ack_timeout,
                ordering: ordering.into(),
                retry_backoff: Some(Backoff {
                    initial: Some(super::millis(0)),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let request = CreateGroupRequest {
                topic: TOPIC.into(),
                group: group.into(),
                settings: Some(settings),
            };
            ConsumerGroupsClient::new(replicas[0].clone()).create_group(request).await.unwrap();
        }
        let consumers = GROUPS.len() * replicas.len();
        let names = (0..APPENDERS).map(|n| format!("appender {n}"));
        let names = names.chain((0..STREAMS).map(|n| format!("stream {n}")));
        let names = names.chain((0..SUBSCRIBERS).map(|n| format!("subscriber {n}")));
        let names = names.chain((0..consumers).map(|n| format!("consumer {n}")));
        let shared = Arc::new(Shared {
            replicas,
            account: Mutex::default(),
            appending: AtomicBool::new(true),
            got: names.map(|name| (name, AtomicU64::new(0))).collect(),
        });
        let (mut appenders, mut readers) = (JoinSet::new(), JoinSet::new());
        for client in 0..APPENDERS {
            appenders.spawn(append(shared.clone(), client));
        }
        for client in 0..STREAMS {
            appenders.spawn(append_stream(shared.clone(), client));
        }
        for client in 0..SUBSCRIBERS {
            readers.spawn(subscribe(shared.clone(), client));
        }
        for client in 0..consumers {
            readers.spawn(consume(shared.clone(), client));
        }
        let mut load = Self { shared, appenders, readers };
        load.goes_on("the beginning").await;
        load
    }

    /// Waits until so many more events are acked: a fault is to hit clients that are busy.
    pub async fn run(&mut self, events: usize) {
        let acked = || self.shared.account.lock().unwrap().acked.len();
        let wanted = acked() + events;
        while acked() < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until every replica answers, as they must soon after a fault.
    pub async fn replicas_answer(&self, after: &str) {
        let start = Instant::now();
        for replica in &self.shared.replicas {
            let mut topics = TopicsClient::new(replica.clone());
            while let Err(status) = topics.list_topics(ListTopicsRequest::default()).await {
                assert!(start.elapsed() < WELL, "{after}: {status:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Waits until every client gets something again; fails when one does not.
    pub async fn goes_on(&mut self, after: &str) -> Duration {
        let start = Instant::now();
        let got = || self.shared.got.iter().map(|(_, got)| got.load(Relaxed)).collect::<Vec<_>>();
        let before = got();
        loop {
            let waiting: Vec<_> = (before.iter().zip(got()).zip(&self.shared.got))
                .filter_map(|((before, now), (name, _))| (now <= *before).then_some(name))
                .collect();
            if waiting.is_empty() {
                return start.elapsed();
            }
            assert!(start.elapsed() < WELL, "{after}: nothing new for {waiting:?} in {WELL:?}");
            // A client that failed says why.
            let ended = self.readers.try_join_next().or_else(|| self.appenders.try_join_next());
            if let Some(ended) = ended {
                panic!("{after}: a client ended: {ended:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the appends, waits until everything has arrived everywhere, and checks it.
    pub async fn finish(mut self, what: &str) {
        self.shared.appending.store(false, Relaxed);
        while let Some(ended) = self.appenders.join_next().await {
            ended.unwrap();
        }
        self.replicas_answer(what).await;
        let log = self.read_all().await;
        let (mut before, mut changed) = (String::new(), Instant::now());
        while let Some(missing) = self.missing(log.len()).await {
            if let Some(ended) = self.readers.try_join_next() {
                panic!("{what}: a client ended: {ended:?}");
            }
            if missing != before {
                (before, changed) = (missing, Instant::now());
            }
            assert!(
                changed.elapsed() < WELL,
                "{what}: nothing new in {WELL:?}, and missing: {before}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.readers.shutdown().await;
        self.shared.account.lock().unwrap().check(what, &log);
    }

    /// What a subscriber does not have yet, or a group has left to do.
    async fn missing(&self, events: usize) -> Option<String> {
        let seen: Vec<usize> =
            self.shared.account.lock().unwrap().seen.values().map(Vec::len).collect();
        if seen.iter().any(|seen| *seen < events) {
            return Some(format!("subscribers have {seen:?} of {events}"));
        }
        for group in GROUPS {
            let request = GetGroupRequest { topic: TOPIC.into(), group: group.into() };
            let mut groups = ConsumerGroupsClient::new(self.shared.replicas[0].clone());
            let group = groups.get_group(request).await.unwrap().into_inner().group.unwrap();
            if (group.lag, group.pending) != (0, 0) {
                return Some(format!("{group:?}"));
            }
        }
        None
    }

    /// The largest delivery count that a consumer was told.
    pub fn delivery_count(&self) -> u32 {
        self.shared.account.lock().unwrap().delivery_count
    }

    async fn read_all(&self) -> Vec<RecordedEvent> {
        let request = ReadRequest { topic: TOPIC.into(), ..Default::default() };
        let mut store = EventStoreClient::new(self.shared.replicas[0].clone());
        let mut stream = store.read(request).await.unwrap().into_inner();
        let mut log = Vec::new();
        while let Some(item) = stream.message().await.unwrap() {
            log.push(item.event.unwrap());
        }
        log
    }
}

async fn append(shared: Arc<Shared>, client: usize) {
    let mut attempt = 0;
    for number in 0.. {
        if !shared.appending.load(Relaxed) {
            return;
        }
        // Batches of one to three, over two subjects of its own.
        let ids: Vec<_> = (0..=number % 3).map(|n| format!("{client}-{number}-{n}")).collect();
        let events = ids.iter().map(|id| event(id, &format!("subject-{client}-{}", number % 2)));
        let request =
            AppendRequest { topic: TOPIC.into(), events: events.collect(), ..Default::default() };
        let answer = loop {
            let mut store = EventStoreClient::new(shared.replica(client, attempt));
            match store.append(request.clone()).await {
                Ok(answer) => break answer.into_inner(),
                Err(status) => {
                    shared.failed(&status).await;
                    attempt += 1;
                }
            }
        };
        shared.note(|account| {
            account.repeats += u64::from(answer.deduplicated);
            account.acked.extend(ids.into_iter().zip(answer.first_sequence..));
        });
        shared.got[client].1.fetch_add(1, Relaxed);
    }
}

async fn append_stream(shared: Arc<Shared>, client: usize) {
    let mut writer = StreamWriter::new(TOPIC, format!("stream-{client}"), WINDOW);
    let more = || shared.appending.load(Relaxed);
    for attempt in 0.. {
        let replica = shared.replica(client, attempt);
        let answered = |ids: Vec<String>, answer: AppendResponse| {
            shared.note(|account| {
                account.repeats += u64::from(answer.deduplicated);
                account.streamed.entry(client).or_default().extend(ids.iter().cloned());
                account.acked.extend(ids.into_iter().zip(answer.first_sequence..));
            });
            shared.got[APPENDERS + client].1.fetch_add(1, Relaxed);
        };
        match writer.write(replica, more, answered).await {
            Err(status) => shared.failed(&status).await,
            Ok(()) => return,
        }
    }
}

async fn subscribe(shared: Arc<Shared>, client: usize) {
    let mut last: Option<String> = None;
    shared.note(|account| drop(account.seen.insert(client, Vec::new())));
    for attempt in 0.. {
        let start = last.clone().and_then(|last| start(At::AfterPosition(last)));
        let topics = vec![TopicStart { topic: TOPIC.into(), start }];
        let request = SubscribeRequest { topics, ..Default::default() };
        let mut store = EventStoreClient::new(shared.replica(client, attempt));
        let mut stream = match store.subscribe(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                shared.failed(&status).await;
                continue;
            }
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if let Some(Message::Event(event)) = message.message {
                        let seen = |account: &mut Account| {
                            account.seen.entry(client).or_default().push(event.sequence);
                        };
                        shared.note(seen);
                        last = Some(event.position);
                        shared.got[WRITERS + client].1.fetch_add(1, Relaxed);
                    }
                }
                Ok(None) => panic!("a subscription ends with a status"),
                Err(status) => {
                    shared.failed(&status).await;
                    break;
                }
            }
        }
    }
}

async fn consume(shared: Arc<Shared>, client: usize) {
    let group = GROUPS[client % GROUPS.len()];
    for attempt in 0.. {
        if let Err(status) = consume_once(&shared, client, group, attempt).await {
            shared.failed(&status).await;
        }
    }
}

async fn consume_once(
    shared: &Shared,
    client: usize,
    group: &'static str,
    attempt: usize,
) -> Result<(), Status> {
    let (say, requests) = mpsc::channel(1_024);
    let open = ConsumeOpen {
        topic: TOPIC.into(),
        group: group.into(),
        consumer: format!("consumer-{client}"),
        max_in_flight: Some(50),
    };
    let _ = say.send(ConsumeRequest { message: Some(Say::Open(open)) }).await;
    // The two consumers of a group begin at different replicas.
    let mut groups = ConsumerGroupsClient::new(shared.replica(client / GROUPS.len(), attempt));
    let mut hear = groups.consume(ReceiverStream::new(requests)).await?.into_inner();
    while let Some(message) = hear.message().await? {
        match message.message.unwrap() {
            Heard::Delivery(delivery) => {
                let sequence = delivery.event.unwrap().sequence;
                shared.note(|account| {
                    account.deliveries += 1;
                    account.delivered.entry(group).or_default().insert(sequence);
                    account.delivery_count = account.delivery_count.max(delivery.delivery_count);
                });
                let ack = ConsumeAck { receipts: vec![delivery.receipt] };
                // A stream that ended says why on the other side.
                let _ = say.send(ConsumeRequest { message: Some(Say::Ack(ack)) }).await;
                shared.got[WRITERS + SUBSCRIBERS + client].1.fetch_add(1, Relaxed);
            }
            // A lost lease is somebody else's delivery now.
            Heard::Outcome(_) | Heard::Heartbeat(_) => {}
        }
    }
    panic!("a consumer's stream ends with a status");
}
