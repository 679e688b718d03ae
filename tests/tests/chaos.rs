//! Chaos: the scenario, many times its size, while every program in turn is killed with -9 and
//! started again, both front services too. In the end every order is where it belongs, the stock
//! adds up to the piece, each mail is there once, and nothing was set aside.
//!
//! `CHAOS_SEEDS` (`1 2`) and `CHAOS_SCALE` (`4`) say how much; `make soak` plays five seeds at 20.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking; figures are printed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain_svcs::model::OrderStatus;
use domain_svcs::scenario::{Options, Played, ScenarioError, play};
use proto::eventstore::v1::{ReadRequest, event};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use system_tests::quiet;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};
use system_tests::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(180);
/// The longest time between two kills, and that a program stays away.
const PAUSE_MS: u64 = 400;
const AWAY_MS: u64 = 400;

/// An event of the shop, as far as it matters here.
struct Fact {
    subject: String,
    kind: String,
    data: Value,
}

async fn topic(system: &System, topic: &str) -> Vec<Fact> {
    let request = ReadRequest { topic: topic.to_owned(), ..ReadRequest::default() };
    let stream = system.clients().unwrap().store.read(request).await.unwrap();
    let mut stream = stream.into_inner();
    let mut facts = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        let event = answer.event.unwrap().event.unwrap();
        let Some(event::Data::TextData(text)) = event.data else {
            panic!("an event of the shop is text");
        };
        let data = serde_json::from_str(&text).unwrap();
        facts.push(Fact { subject: event.subject.unwrap(), kind: event.r#type, data });
    }
    facts
}

/// Kills one program after the other, each in its turn, as long as the scenario goes on, and at
/// least all of them twice. Answers how often.
async fn kill(
    system: &mut System,
    seed: u64,
    playing: &JoinHandle<Result<Played, ScenarioError>>,
) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut programs: Vec<&str> =
        WORKERS.into_iter().chain([EVENT_STORE, MESSAGE_QUEUE, GATEWAY]).collect();
    let mut kills = 0;
    loop {
        programs.shuffle(&mut rng);
        for name in &programs {
            if playing.is_finished() && kills >= 2 * programs.len() {
                return kills;
            }
            sleep(Duration::from_millis(rng.random_range(0..PAUSE_MS))).await;
            system.kill9(name).await.unwrap();
            sleep(Duration::from_millis(rng.random_range(0..AWAY_MS))).await;
            system.spawn(name).unwrap();
            kills += 1;
        }
    }
}

async fn chaos(seed: u64, scale: usize) {
    let mut system = System::shop().await.unwrap();
    let options = Options {
        url: system.url(GATEWAY).unwrap(),
        scale,
        patience: PATIENCE,
        ..Options::default()
    };
    let start = Instant::now();
    let playing = tokio::spawn(async move { play(&options, |_| {}).await });
    let kills = kill(&mut system, seed, &playing).await;
    let played = playing.await.unwrap().unwrap();
    let took = start.elapsed();
    let clients = system.clients().unwrap();
    // No pending event, no message, nothing parked, no dead letter.
    watch::until("everything to be done", PATIENCE, || quiet::check(&clients)).await.unwrap();

    orders_are_where_they_belong(&played, &topic(&system, "order").await);
    stock_adds_up(&played, &topic(&system, "inventory").await);
    each_mail_is_there_once(&played, &topic(&system, "mail").await);
    for paid_for in ["billing", "shipping"] {
        let created = topic(&system, paid_for).await;
        let created = created.iter().filter(|fact| fact.kind == "entity_created").count();
        assert_eq!(created, scale, "{paid_for}s");
    }
    eprintln!(
        "seed {seed}: {} orders, {} mails, {kills} kills in {took:.1?}",
        played.orders.len(),
        played.mails
    );
}

/// Each order went the way of the diagram, one step at a time, to where the scenario sent it.
fn orders_are_where_they_belong(played: &Played, facts: &[Fact]) {
    let mut ways: BTreeMap<&str, Vec<Option<OrderStatus>>> = BTreeMap::new();
    for fact in facts {
        let status = OrderStatus::named(fact.data["status"].as_str().unwrap());
        let status = status.filter(|_| fact.kind != "entity_deleted");
        ways.entry(&fact.subject).or_default().push(status);
    }
    assert_eq!(ways.len(), played.orders.len(), "orders");
    for (place, id) in played.orders.iter().enumerate() {
        let way = &ways[id.as_str()];
        assert_eq!(way[0], Some(OrderStatus::Created), "order {place}");
        for step in way.windows(2) {
            let right = match (step[0], step[1]) {
                (Some(from), Some(to)) => from.may_become(to),
                (Some(_), None) => true,
                (None, _) => false,
            };
            assert!(right, "order {place} took a step that there is not: {way:?}");
        }
        assert_eq!(way.last().unwrap(), &Played::status(place), "order {place}: {way:?}");
    }
}

/// What is left of each product, and no piece was ever sold that was not there.
fn stock_adds_up(played: &Played, facts: &[Fact]) {
    let mut left: BTreeMap<&str, u64> = BTreeMap::new();
    let mut decided = BTreeSet::new();
    for fact in facts {
        if let Some(amount) = fact.data["amount"].as_u64() {
            left.insert(&fact.subject, amount);
        }
        if fact.kind == "stock_reserved" {
            assert!(decided.insert(&fact.subject), "{} was decided twice", fact.subject);
        }
    }
    let there: Vec<_> = played.inventories.iter().map(|id| left[id.as_str()]).collect();
    assert_eq!(there, played.stock());
}

fn each_mail_is_there_once(played: &Played, facts: &[Fact]) {
    let distinct: BTreeSet<_> = facts.iter().map(|fact| fact.data.to_string()).collect();
    assert_eq!((facts.len(), distinct.len()), (played.mails, played.mails), "mails");
}

#[tokio::test]
async fn every_program_may_die_at_any_time() {
    let seeds = std::env::var("CHAOS_SEEDS").unwrap_or_else(|_| "1 2".to_owned());
    let scale = std::env::var("CHAOS_SCALE").map_or(4, |scale| scale.parse().unwrap());
    for seed in seeds.split_whitespace() {
        chaos(seed.parse().unwrap(), scale).await;
    }
}
