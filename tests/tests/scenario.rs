//! The shop's scenario, end to end over REST: by itself, with the CRM away, and with Redis killed
//! in the middle of it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests; progress is printed")]

use std::collections::BTreeSet;
use std::time::Duration;

use domain_svcs::scenario::{Options, Played, ScenarioError, play};
use system_tests::quiet;
use system_tests::system::System;
use system_tests::topology::{GATEWAY, WORKERS};
use system_tests::watch::until;
use tokio::sync::watch::{self, Receiver};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);
const CRM: &str = "crm-service";
/// Mails of one scenario: 10 welcomes, 10 requests to pay, one thanks, one shipping.
const MAILS: usize = 22;

fn options(system: &System, mails: bool) -> Options {
    Options { url: system.url(GATEWAY).unwrap(), patience: PATIENCE, mails, ..Options::default() }
}

/// Plays it meanwhile, and counts its steps.
fn playing(system: &System) -> (JoinHandle<Result<Played, ScenarioError>>, Receiver<usize>) {
    let (told, steps) = watch::channel(0);
    let options = options(system, true);
    let progress = move |step: &str| {
        eprintln!("{step}");
        told.send_modify(|steps| *steps += 1);
    };
    (tokio::spawn(async move { play(&options, progress).await }), steps)
}

async fn mails(system: &System) -> usize {
    let mails = system.rest().unwrap().get("/mails/sent").await.unwrap();
    mails.as_array().unwrap().len()
}

/// Waits until every group and queue is done, so that nothing more can come.
async fn done(system: &System) {
    let clients = system.clients().unwrap();
    until("everything to be done", PATIENCE, || quiet::check(&clients)).await.unwrap();
}

/// The mails as they are in the event store, not in the read model: none is there twice.
async fn assert_no_mail_twice(system: &System, expected: usize) {
    let rest = system.rest().unwrap();
    let list = rest.get("/mails/sent").await.unwrap();
    let list: Vec<String> = list.as_array().unwrap().iter().map(ToString::to_string).collect();
    let distinct: BTreeSet<&String> = list.iter().collect();
    assert_eq!(distinct.len(), list.len(), "a mail is there twice: {list:#?}");

    let request = proto::eventstore::v1::GetTopicRequest { topic: "mail".to_owned() };
    let topic = system.clients().unwrap().topics.get_topic(request).await.unwrap();
    let events = topic.into_inner().topic.unwrap().events;
    assert_eq!(events, u64::try_from(expected).unwrap(), "events of topic mail");
    assert_eq!(list.len(), expected);
}

#[tokio::test]
async fn the_crm_misses_nothing_and_writes_nothing_twice() {
    let mut system = System::shop().await.unwrap();
    let played = play(&options(&system, true), |step| eprintln!("first: {step}")).await.unwrap();
    assert_eq!(played.mails, MAILS);
    done(&system).await;
    assert_no_mail_twice(&system, MAILS).await;

    let status = system.stop(CRM).await.unwrap();
    assert!(status.success(), "{status}");
    play(&options(&system, false), |step| {
        eprintln!("without the crm: {step}");
    })
    .await
    .unwrap();
    assert_eq!(mails(&system).await, MAILS, "somebody else writes mails");

    system.start(CRM).await.unwrap();
    until("the mails of the second scenario", PATIENCE, || async {
        let there = mails(&system).await;
        anyhow::ensure!(there >= 2 * MAILS, "{there} mails");
        Ok(())
    })
    .await
    .unwrap();
    done(&system).await;
    assert_no_mail_twice(&system, 2 * MAILS).await;
}

#[tokio::test]
async fn it_goes_on_after_redis_was_killed() {
    let mut system = System::shop().await.unwrap();
    let (playing, mut steps) = playing(&system);
    // In the middle of the carts, and in the middle of the saga.
    for step in [3, 6] {
        steps.wait_for(|done| *done >= step).await.unwrap();
        system.redis().kill9();
        system.redis().restart();
    }
    let played = playing.await.unwrap().unwrap();
    assert_eq!(played.mails, MAILS);
    done(&system).await;
    assert_no_mail_twice(&system, MAILS).await;
}

#[tokio::test]
async fn it_goes_on_after_every_service_was_killed_once() {
    let mut system = System::shop().await.unwrap();
    let (playing, mut steps) = playing(&system);
    steps.wait_for(|done| *done >= 2).await.unwrap();
    for name in WORKERS.into_iter().chain([GATEWAY]) {
        system.kill9(name).await.unwrap();
        system.start(name).await.unwrap();
    }
    let played = playing.await.unwrap().unwrap();
    assert_eq!(played.mails, MAILS);
    done(&system).await;
    assert_no_mail_twice(&system, MAILS).await;
}
