//! The order of an AppendStream: what one stream appends to a topic stands there in the order in
//! which it was sent, also where a batch has to be sent again because the topic is new or Redis has
//! forgotten the script. `STREAM_ROUNDS` (30) makes it longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "a test fails loudly, and prints its figures"
)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::event::Data;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::expectation::Expected;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use support::stream_writer::StreamWriter;
use support::*;
use tokio::task::JoinSet;

const STREAMS: usize = 4;
/// Requests of a stream to each of the old topics and to the new one of a round, taking turns.
const PER_ROUND: usize = 12;
const OLD: [&str; 2] = ["old-a", "old-b"];
/// Each so many-th request is refused, and each so many-th so large that it bounds a batch.
const BAD: usize = 61;
const LARGE: usize = 97;

/// What a stream sends, and what it must be answered.
struct Plan {
    requests: Vec<AppendRequest>,
    /// The last revision of the stream's subject, where the request has it; none: it is refused.
    answers: Vec<Option<Option<u64>>>,
    /// What must stand in each topic, in this order.
    texts: BTreeMap<String, Vec<String>>,
}

/// Requests of all kinds: alone or several events, with ids or none, and with the revision that the
/// ones before must have left behind.
fn plan(stream: usize, rounds: usize) -> Plan {
    let mut plan = Plan { requests: Vec::new(), answers: Vec::new(), texts: BTreeMap::new() };
    let mut revisions: HashMap<String, u64> = HashMap::new();
    let subject = format!("subject-{stream}");
    for round in 0..rounds {
        let topics = [OLD[0].to_owned(), OLD[1].to_owned(), format!("new-{round}")];
        for number in 0..PER_ROUND * topics.len() {
            let index = plan.requests.len();
            let topic = &topics[number % topics.len()];
            if index % BAD == BAD - 1 {
                let topic = "Not a Name".to_owned();
                plan.requests.push(AppendRequest { topic, ..Default::default() });
                plan.answers.push(None);
                continue;
            }
            let (with_id, with_subject) = (index % 2 == 1, index % 4 >= 2);
            let size = if index % LARGE == LARGE - 1 { 300_000 } else { 10 };
            let events = (0..=index % 3).map(|n| {
                let text = format!("{stream} {index} {n}");
                plan.texts.entry(topic.clone()).or_default().push(text.clone());
                let id = if with_id { text.replace(' ', "-") } else { String::new() };
                let data = Some(Data::TextData(format!("{text} {}", "x".repeat(size))));
                Event { data, ..event(&id, if with_subject { &subject } else { "" }) }
            });
            let events: Vec<_> = events.collect();
            let mut expectations = Vec::new();
            let mut revision = None;
            if with_subject {
                let next = revisions.entry(topic.clone()).or_default();
                let expected =
                    next.checked_sub(1).map_or(Expected::NoEvents(()), Expected::Revision);
                expectations.push(expect(&subject, expected));
                *next += events.len() as u64;
                revision = Some(*next - 1);
            }
            let topic = topic.clone();
            plan.requests.push(AppendRequest { topic, events, expectations, durability: 0 });
            plan.answers.push(Some(revision));
        }
    }
    plan
}

/// Sends a plan as fast as it is taken, and checks each answer.
async fn play(url: String, stream: usize, plan: Plan) -> BTreeMap<String, Vec<String>> {
    let topics: Vec<_> = plan.requests.iter().map(|request| request.topic.clone()).collect();
    let channel = svc_runtime::client::channel(&url, 1).unwrap();
    let requests = tokio_stream::iter(plan.requests);
    let mut answers =
        EventStoreClient::new(channel).append_stream(requests).await.unwrap().into_inner();
    let mut last: HashMap<String, u64> = HashMap::new();
    for (index, (topic, wanted)) in topics.into_iter().zip(plan.answers).enumerate() {
        let answer = answers.message().await.unwrap().expect("an answer to each request");
        match (answer.result.unwrap(), wanted) {
            (Answer::Appended(answer), Some(revision)) => {
                let told = answer.subject_revisions.get(&format!("subject-{stream}")).copied();
                assert_eq!(told, revision, "request {index} of stream {stream}");
                let before = last.insert(topic.clone(), answer.first_sequence);
                assert!(
                    before < Some(answer.first_sequence),
                    "request {index} of {stream}: {topic}"
                );
                assert!(!answer.deduplicated);
            }
            (Answer::Error(status), None) => assert_eq!(status.code, 3, "{status:?}"),
            (Answer::Error(status), Some(_)) => {
                let status = tonic::Status::new(tonic::Code::from(status.code), status.message);
                panic!("request {index} of {stream}: {status:?}");
            }
            (Answer::Appended(answer), None) => panic!("request {index} of {stream}: {answer:?}"),
        }
    }
    assert!(answers.message().await.unwrap().is_none(), "no more answers than requests");
    plan.texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_sent_again_is_not_overtaken() {
    let rounds = std::env::var("STREAM_ROUNDS").map_or(30, |text| text.parse().unwrap());
    let redis = Arc::new(PrivateRedis::start());
    let service = Service::start(&redis).await;
    for topic in OLD {
        service.append(topic, vec![event("", "")]).await.unwrap();
    }
    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let flushing = {
        let (redis, over) = (redis.clone(), over.clone());
        std::thread::spawn(move || {
            let mut flushes = 0;
            while !over.load(SeqCst) {
                assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]).trim(), "OK");
                flushes += 1;
            }
            flushes
        })
    };
    let mut streams = JoinSet::new();
    for stream in 0..STREAMS {
        let (url, plan) = (service.url.clone(), plan(stream, rounds));
        streams.spawn(async move { (stream, play(url, stream, plan).await) });
    }
    let played = streams.join_all().await;
    over.store(true, SeqCst);
    let flushes = flushing.join().unwrap();

    let mut events = 0;
    let topics: Vec<_> = played[0].1.keys().cloned().collect();
    assert_eq!(topics.len(), rounds + OLD.len());
    for topic in topics {
        let log = service.read_all(&topic).await;
        assert_eq!(sequences(&log), (1..=log.len() as u64).collect::<Vec<_>>(), "{topic}");
        events += log.len();
        for (stream, texts) in &played {
            let prefix = format!("{stream} ");
            let stored = log.iter().map(|recorded| data(recorded).trim_end_matches([' ', 'x']));
            let stored: Vec<_> = stored.filter(|text| text.starts_with(&prefix)).collect();
            let overtaken = stored.iter().zip(&texts[&topic]).position(|(is, sent)| is != sent);
            assert_eq!(overtaken, None, "{topic}, stream {stream}: stored {stored:?}");
            assert_eq!(stored.len(), texts[&topic].len(), "{topic}, stream {stream}");
        }
    }
    println!(
        "{STREAMS} streams, {} topics, {events} events, {flushes} times SCRIPT FLUSH: none \
         overtaken, in {:?}",
        rounds + OLD.len(),
        began.elapsed()
    );
}

/// Writers that repeat what was not answered, in order, while whatever is under way fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_failed_append_waits_for_its_repetition() {
    const KILLS: usize = 15;
    let redis = PrivateRedis::start();
    let service = Service::start(&redis).await;
    let written = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for stream in 0..STREAMS {
        let channel = svc_runtime::client::channel(&service.url, 1).unwrap();
        let (written, over) = (written.clone(), over.clone());
        writers.spawn(async move {
            let mut writer = StreamWriter::new("t", format!("stream-{stream}"), 512);
            let (acked, mut errors) = (Mutex::new(Vec::new()), 0);
            loop {
                let answered = |ids: Vec<String>, answer: AppendResponse| {
                    acked.lock().unwrap().extend(ids.into_iter().zip(answer.first_sequence..));
                    written.fetch_add(1, SeqCst);
                };
                match writer.write(channel.clone(), || !over.load(SeqCst), answered).await {
                    Ok(()) => return (acked.into_inner().unwrap(), errors),
                    // As it is told to: it may try again at once.
                    Err(_) => errors += 1,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    for kill in 1..=KILLS {
        while written.load(SeqCst) < kill * 1_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    over.store(true, SeqCst);
    let written = writers.join_all().await;

    let log = service.read_all("t").await;
    let stored: HashMap<_, _> = (log.iter())
        .map(|recorded| (recorded.event.as_ref().unwrap().id().to_owned(), recorded.sequence))
        .collect();
    assert_eq!(stored.len(), log.len(), "some are there twice");
    let (mut acked, mut lost, mut overtaken, mut errors) = (0, 0, 0, 0);
    for (events, failed) in &written {
        errors += failed;
        acked += events.len();
        lost += events.iter().filter(|(id, at)| stored.get(id) != Some(at)).count();
        overtaken += events.windows(2).filter(|pair| pair[0].1 >= pair[1].1).count();
    }
    println!(
        "{STREAMS} streams, all connections to Redis killed {KILLS} times: {acked} acked, {lost} \
         lost, {overtaken} overtaken, {errors} times a stream had to go on"
    );
    assert!(errors > 0, "the kills hit nothing");
    assert_eq!((lost, overtaken, acked), (0, 0, log.len()));
}
