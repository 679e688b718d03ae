//! Many at once, on two replicas: writers that race with expectations, and subscribers that join
//! at random moments. `EVENTS` sets how many events the subscribers see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "a test fails loudly, and prints its figures"
)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::expectation::Expected;
use proto::eventstore::v1::start::At;
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::*;
use rand::Rng as _;
use redis_link::test_util::PrivateRedis;
use support::*;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Code;

const WRITERS: u64 = 32;
const SUBJECTS: u64 = 8;
const ATTEMPTS: u64 = 40;
const SUBSCRIBERS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_have_one_winner_per_revision() {
    let redis = PrivateRedis::start();
    let replicas = Arc::new([Service::start(&redis).await, Service::start(&redis).await]);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let replicas = replicas.clone();
        writers.spawn(async move {
            let service = &replicas[usize::from(writer % 2 == 1)];
            // Each subject has writers at both replicas.
            let subject = format!("subject-{}", writer / 2 % SUBJECTS);
            let (mut last, mut won, mut lost): (Option<u64>, _, _) = (None, Vec::new(), 0);
            for attempt in 0..ATTEMPTS {
                let expected = last.map_or(Expected::NoEvents(()), Expected::Revision);
                let id = format!("{writer}-{attempt}");
                let (events, expectations) =
                    (vec![event(&id, &subject)], vec![expect(&subject, expected)]);
                match service.append_expecting("race", events, expectations).await {
                    Ok(answer) => {
                        let revision = answer.subject_revisions[&subject];
                        assert_eq!(revision, last.map_or(0, |last| last + 1));
                        won.push((subject.clone(), revision, id));
                        last = Some(revision);
                    }
                    Err(status) => {
                        let facts = assert_error(&status, Code::Aborted, "REVISION_CONFLICT");
                        let told = |fact: &str| facts.metadata[fact].parse::<u64>().ok();
                        assert_eq!(
                            (&facts.metadata["subject"], told("expected")),
                            (&subject, last)
                        );
                        // Others have won meanwhile: the revision has only grown.
                        assert!(told("actual") > last, "{facts:?}");
                        last = told("actual");
                        lost += 1;
                    }
                }
            }
            (won, lost)
        });
    }
    let (mut winners, mut losers) = (HashMap::new(), 0);
    for (won, lost) in writers.join_all().await {
        losers += lost;
        for (subject, revision, id) in won {
            let other = winners.insert((subject, revision), id);
            assert_eq!(other, None, "two winners of one revision");
        }
    }
    let events = replicas[0].read_all("race").await;
    assert_eq!(events.len(), winners.len());
    assert_eq!(sequences(&events), (1..=events.len() as u64).collect::<Vec<_>>());
    let mut next: HashMap<String, u64> = HashMap::new();
    for recorded in events {
        let event = recorded.event.unwrap();
        let (subject, revision) = (event.subject.unwrap(), recorded.subject_revision.unwrap());
        let expected = next.entry(subject.clone()).or_default();
        assert_eq!(revision, *expected, "{subject} has a hole");
        *expected += 1;
        assert_eq!(winners[&(subject, revision)], event.id.unwrap());
    }
    println!("{WRITERS} writers: {} wins, {losers} told expected and actual", winners.len());
}

/// Appends over one stream, ten events a request, until there are `total` from all.
async fn append(url: String, total: u64, taken: Arc<AtomicU64>, appended: watch::Sender<u64>) {
    let channel = svc_runtime::client::channel(&url, 1).unwrap();
    let requests = async_stream::stream! {
        while taken.fetch_add(10, SeqCst) < total {
            let events = (0..10).map(|n| event("", &format!("subject-{n}"))).collect();
            yield AppendRequest { topic: "t".into(), events, ..Default::default() };
        }
    };
    let mut store = EventStoreClient::new(channel);
    let mut answers = store.append_stream(requests).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        let Answer::Appended(answer) = answer.result.unwrap() else { panic!("refused") };
        let last = answer.first_sequence + 9;
        appended.send_if_modified(|newest| {
            let newer = last > *newest;
            *newest = (*newest).max(last);
            newer
        });
    }
}

/// Joins when so many events were acked, somewhere, says so, and sees everything from there once, in
/// order.
async fn subscribe(
    url: String,
    join_at: u64,
    total: u64,
    mut appended: watch::Receiver<u64>,
    joined: mpsc::Sender<()>,
) -> u64 {
    appended.wait_for(|newest| *newest >= join_at).await.unwrap();
    let channel = svc_runtime::client::channel(&url, 1).unwrap();
    let acked = *appended.borrow();
    let somewhere = rand::rng().random_range(1..=acked.max(1));
    let (start, exactly) = match rand::rng().random_range(0..3) {
        0 => (None, Some(1)),
        1 => (start(At::FromSequence(somewhere)), Some(somewhere)),
        _ => (start(At::End(())), None),
    };
    let topics = vec![TopicStart { topic: "t".into(), start }];
    let request = SubscribeRequest { topics, ..Default::default() };
    let mut stream = EventStoreClient::new(channel).subscribe(request).await.unwrap().into_inner();
    let mut joined = Some(joined);
    let (mut last, mut position, mut seen) = (exactly.map(|first| first - 1), (0, 0), 0);
    while last.is_none_or(|last| last < total) {
        // Heartbeats come for ever: they do not count.
        let next = async {
            loop {
                let message = stream.message().await.unwrap().unwrap().message.unwrap();
                match message {
                    Message::Event(event) => break event,
                    Message::CaughtUp(_) => drop(joined.take()),
                    _ => {}
                }
            }
        };
        let event = tokio::time::timeout(Duration::from_secs(60), next).await;
        let event = event.unwrap_or_else(|_| panic!("joined at {join_at}: nothing after {last:?}"));
        match last {
            Some(last) => assert_eq!(event.sequence, last + 1, "joined at {join_at}"),
            None => assert!(event.sequence > acked, "{} was there before", event.sequence),
        }
        let (ms, n) = event.position.split_once('-').unwrap();
        let at: (u64, u64) = (ms.parse().unwrap(), n.parse().unwrap());
        assert!(at > position, "positions go up");
        (last, position) = (Some(event.sequence), at);
        seen += 1;
        joined = None;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_join_at_random_moments_see_everything_once() {
    let meanwhile = std::env::var("EVENTS").map_or(20_000, |text| text.parse().unwrap());
    let redis = PrivateRedis::start();
    let replicas = [Service::start(&redis).await, Service::start(&redis).await];
    let began = Instant::now();
    let (newest, appended) = watch::channel(0);
    let (joined, mut all_joined) = mpsc::channel(1);
    let (mut subscribers, mut appenders) = (JoinSet::new(), JoinSet::new());
    // Those who joined at the end last of all have one more request to see.
    let total = meanwhile + 10;
    for index in 0..SUBSCRIBERS {
        let join_at = rand::rng().random_range(0..meanwhile);
        let url = replicas[index % 2].url.clone();
        subscribers.spawn(subscribe(url, join_at, total, appended.clone(), joined.clone()));
    }
    drop(joined);
    let taken = Arc::new(AtomicU64::new(0));
    for replica in &replicas {
        appenders.spawn(append(replica.url.clone(), meanwhile, taken.clone(), newest.clone()));
    }
    appenders.join_all().await;
    assert_eq!(all_joined.recv().await, None, "all have joined");
    append(replicas[0].url.clone(), total, Arc::new(AtomicU64::new(meanwhile)), newest).await;
    let seen: u64 = subscribers.join_all().await.into_iter().sum();
    assert_eq!(sequences(&replicas[0].read_all("t").await), (1..=total).collect::<Vec<_>>());
    println!(
        "{total} events, {SUBSCRIBERS} subscribers: {seen} deliveries in {:?}",
        began.elapsed()
    );
}
