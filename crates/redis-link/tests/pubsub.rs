//! Bells against a real Redis.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has to fail")]

use std::time::Duration;

use redis_link::{Bell, Link, Mail, Mailbox, cmd, test_util::PrivateRedis};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

async fn rung(bell: &mut Bell) {
    timeout(LIMIT, bell.rung()).await.unwrap();
}

async fn mail(mailbox: &mut Mailbox) -> Mail {
    timeout(LIMIT, mailbox.recv()).await.unwrap()
}

async fn publish(link: &Link, channel: &str, text: &str) {
    link.query(cmd("PUBLISH").arg(channel).arg(text)).await.unwrap();
}

async fn connected(redis: &PrivateRedis) -> Link {
    let link = Link::start(&redis.args()).unwrap();
    timeout(LIMIT, link.ready().wait_for(|ready| *ready)).await.unwrap().unwrap();
    link
}

#[tokio::test]
async fn a_bell_wakes_when_subscribed_when_rung_and_after_a_reconnect() {
    let redis = PrivateRedis::start();
    let link = connected(&redis).await;
    let mut bell = link.bells().subscribe("a");
    rung(&mut bell).await;
    publish(&link, "a", "one").await;
    assert_eq!(timeout(LIMIT, bell.recv()).await.unwrap().unwrap(), "one");
    let _ = redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    rung(&mut bell).await;
    publish(&link, "a", "two").await;
    assert_eq!(timeout(LIMIT, bell.recv()).await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_mailbox_keeps_the_order_and_tells_when_it_was_full() {
    let redis = PrivateRedis::start();
    let link = connected(&redis).await;
    let mut mailbox = link.bells().subscribe_all("m", 4);
    assert_eq!(mail(&mut mailbox).await, Mail::Missed);
    for text in ["1", "2", "3", "4", "5", "6"] {
        publish(&link, "m", text).await;
    }
    // The bell rings after the mail before it was put into the box.
    let mut last = link.bells().subscribe("last");
    rung(&mut last).await;
    for text in ["1", "2", "3"] {
        assert_eq!(mail(&mut mailbox).await, Mail::Message(text.into()));
    }
    assert_eq!(mail(&mut mailbox).await, Mail::Missed);
    publish(&link, "m", "7").await;
    assert_eq!(mail(&mut mailbox).await, Mail::Message("7".into()));
}

#[tokio::test]
async fn who_listens_before_there_is_a_connection_is_told_once_that_it_begins() {
    let redis = PrivateRedis::start();
    let link = Link::start(&redis.args()).unwrap();
    let mut mailbox = link.bells().subscribe_all("m", 4);
    assert_eq!(mail(&mut mailbox).await, Mail::Missed);
    timeout(LIMIT, link.ready().wait_for(|ready| *ready)).await.unwrap().unwrap();
    publish(&link, "m", "1").await;
    assert_eq!(mail(&mut mailbox).await, Mail::Message("1".into()));
}

#[tokio::test]
async fn ten_thousand_channels_come_and_go() {
    let redis = PrivateRedis::start();
    let link = connected(&redis).await;
    let mut bells =
        (0..10_000).map(|n| link.bells().subscribe(&format!("c{n}"))).collect::<Vec<_>>();
    for bell in &mut bells {
        rung(bell).await;
    }
    assert_eq!(redis.cli(&["PUBSUB", "CHANNELS"]).lines().count(), 10_000);
    publish(&link, "c9999", "x").await;
    rung(bells.last_mut().unwrap()).await;
    bells.truncate(1);
    // Changes are followed in order: when this one is heard, the others left.
    let mut after = link.bells().subscribe("after");
    rung(&mut after).await;
    timeout(LIMIT, async {
        while redis.cli(&["PUBSUB", "CHANNELS"]).lines().count() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let mut again = link.bells().subscribe("c0");
    drop(bells);
    rung(&mut again).await;
    publish(&link, "c0", "x").await;
    rung(&mut again).await;
}
