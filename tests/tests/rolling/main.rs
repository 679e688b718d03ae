//! A rolling restart under load: three replicas of each service, each told to stop in turn and started
//! again, while clients write and others work it off over all of them. No call fails but with
//! UNAVAILABLE, which the standard retry hides; nothing is lost, stuck or there twice.
//!
//! `ROLLING_RATE` (`500`) says how many appends and as many sends a second: half of what debug builds did
//! beside their clients on two cores. `make soak` takes 2000 and release builds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking; figures are printed"
)]

mod fleet;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::ensure;
use proto::eventstore::v1::consumer_groups_client::ConsumerGroupsClient;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::topics_client::TopicsClient;
use proto::eventstore::v1::{CreateGroupRequest, CreateTopicRequest, ReadRequest};
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::queues_client::QueuesClient;
use system_tests::balanced::{Balanced, Tally};
use system_tests::clients::Clients;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};
use system_tests::{quiet, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use fleet::Fleet;
use work::{GROUP, Handled, TOPIC};

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two restarts: the replica that came back takes its part.
const PAUSE: Duration = Duration::from_secs(1);
/// Streams of each kind, and long polls.
const WORKERS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_restarts_and_no_call_fails() {
    let rate = std::env::var("ROLLING_RATE").map_or(500, |rate| rate.parse().unwrap());
    let mut fleet = Fleet::start().await;
    let store = Balanced::over(&fleet.urls(EVENT_STORE)).unwrap();
    let queue = Balanced::over(&fleet.urls(MESSAGE_QUEUE)).unwrap();
    let clients = Clients {
        store: EventStoreClient::new(store.channel.clone()),
        groups: ConsumerGroupsClient::new(store.channel.clone()),
        topics: TopicsClient::new(store.channel.clone()),
        queue: MessageQueueClient::new(queue.channel.clone()),
        queues: QueuesClient::new(queue.channel.clone()),
    };
    let topic = CreateTopicRequest { topic: TOPIC.into(), settings: None };
    clients.topics.clone().create_topic(topic).await.unwrap();
    let group = CreateGroupRequest { topic: TOPIC.into(), group: GROUP.into(), settings: None };
    clients.groups.clone().create_group(group).await.unwrap();

    let tally = Tally::default();
    let (events, messages) = (Handled::default(), Handled::default());
    let (written, done) = (CancellationToken::new(), CancellationToken::new());
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let (of, tally, done) = (clients.clone(), tally.clone(), done.clone());
        let name = format!("member-{number}");
        workers.spawn(work::member(of.clone(), name, tally.clone(), events.clone(), done.clone()));
        workers.spawn(work::consumer(of.clone(), tally.clone(), messages.clone(), done.clone()));
        workers.spawn(work::poller(of, tally, messages.clone(), done));
    }
    let (of, to) = (clients.clone(), tally.clone());
    let append = move |id| work::append_one(of.clone(), to.clone(), id);
    let (of, to) = (clients.clone(), tally.clone());
    let send = move |text| work::send_one(of.clone(), to.clone(), text);
    let appending = tokio::spawn(work::write(rate, written.clone(), append));
    let sending = tokio::spawn(work::write(rate, written.clone(), send));

    let began = Instant::now();
    for index in 0..fleet.len() {
        sleep(PAUSE).await;
        let (name, took) = fleet.restart(index).await;
        eprintln!("{name} ended {took:.2?} after SIGTERM");
    }
    sleep(PAUSE).await;
    written.cancel();
    let (appended, sent) = (appending.await.unwrap(), sending.await.unwrap());
    let took = began.elapsed();
    let failed = tally.seen().failed.join("\n");
    assert!(failed.is_empty(), "{failed}");

    for (what, stored, handled) in [("events", &appended, &events), ("messages", &sent, &messages)]
    {
        let what = format!("{what} to be handled");
        let all = || async { all_handled(stored, handled) };
        watch::until(&what, PATIENCE, all).await.unwrap();
    }
    watch::until("nothing to be left", PATIENCE, || quiet::check(&clients)).await.unwrap();
    done.cancel();
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    let mut read = read_all(&clients).await;
    read.sort_unstable();
    let stored: Vec<_> =
        appended.iter().map(|(id, at)| (id.clone(), at.clone().unwrap())).collect();
    assert_eq!(read, stored, "each event is there once, where its append was told");

    let seen = tally.seen();
    assert!(seen.failed.is_empty(), "{}", seen.failed.join("\n"));
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let per_second = |count: usize| count as f64 / took.as_secs_f64();
    eprintln!(
        "{} appends ({:.0}/s) and {} sends ({:.0}/s) in {took:.1?}; {} replicas restarted; {} calls \
         answered, 0 failed; tries made again: {:?}; the longest calls: {:.2?}; streams ended by a \
         stop: {}; delivered again: {} events, {} messages",
        appended.len(),
        per_second(appended.len()),
        sent.len(),
        per_second(sent.len()),
        fleet.len(),
        seen.answered,
        seen.hidden,
        seen.longest,
        seen.streams,
        again(&events),
        again(&messages),
    );
}

/// Everything that was stored was handled under the id that its writer was told, and nothing else.
fn all_handled(
    stored: &BTreeMap<String, Option<String>>,
    handled: &Arc<Mutex<BTreeMap<String, BTreeMap<String, u64>>>>,
) -> anyhow::Result<()> {
    let handled = handled.lock().unwrap();
    ensure!(handled.len() == stored.len(), "{} of {}", handled.len(), stored.len());
    for (text, id) in stored {
        let ids: Vec<_> = handled.get(text).into_iter().flatten().map(|(id, _)| id).collect();
        ensure!(ids == [id.as_ref().unwrap()], "{text} was stored as {id:?}, handled as {ids:?}");
    }
    Ok(())
}

/// Deliveries that were not the first.
fn again(handled: &Handled) -> u64 {
    let handled = handled.lock().unwrap();
    handled.values().flat_map(BTreeMap::values).map(|times| times - 1).sum()
}

/// Ids and positions of all events.
async fn read_all(clients: &Clients) -> Vec<(String, String)> {
    let request = ReadRequest { topic: TOPIC.into(), ..ReadRequest::default() };
    let mut stream = clients.store.clone().read(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        let event = answer.event.unwrap();
        all.push((event.event.unwrap().id.unwrap(), event.position));
    }
    all
}
