//! The link where Sentinels watch over Redis: it finds the primary, and follows it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has to fail")]

use std::{path::Path, time::Duration};

use redis_link::{
    Link, LinkError, RedisArgs, RedisUrl, Rights, cmd,
    probe::Probe,
    test_util::{
        PrivateRedis,
        secured::Secured,
        sentinel::{MASTER, Sentinel, USER, Watched},
    },
    values,
};
use tempfile::NamedTempFile;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(20);
/// How long Sentinels leave an old primary alone.
const TOLD_AFTER: Duration = Duration::from_secs(8);
const PASSWORD: &str = "battery-staple";

async fn connected(args: &RedisArgs) -> Link {
    let link = Link::start(args).unwrap();
    timeout(LIMIT, link.ready().wait_for(|ready| *ready)).await.unwrap().unwrap();
    link
}

fn password_file() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    file
}

fn as_user(watched: &Watched, password: &Path) -> RedisArgs {
    let mut args = watched.args();
    args.sentinel.redis_sentinel_username = Some(USER.to_owned());
    args.sentinel.redis_sentinel_password_file = Some(password.to_owned());
    args
}

/// Counts up until it works, and answers how far it got.
async fn count_up(link: &Link) -> i64 {
    let start = Instant::now();
    loop {
        match link.query(cmd("INCR").arg("n")).await {
            Ok(count) => return values::int(&count).unwrap(),
            Err(LinkError::Unavailable(_) | LinkError::OutcomeUnknown(_)) => {
                assert!(start.elapsed() < LIMIT, "no primary in time");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Where the link's commands, its blocking ones and its bells go.
async fn all_of_it_works(link: &Link, at: &PrivateRedis) {
    let start = Instant::now();
    let mut bell = link.bells().subscribe("bell");
    loop {
        let mut blocking = link.blocking().take(LIMIT).await.unwrap();
        let pushed = link.query(cmd("LPUSH").arg("from").arg("x")).await;
        let mut take = cmd("BRPOPLPUSH");
        take.arg("from").arg("to").arg(1);
        let taken = blocking.query_blocking(&take, Duration::from_secs(1)).await;
        if pushed.is_ok() && taken.is_ok() {
            break;
        }
        assert!(start.elapsed() < LIMIT, "{pushed:?} {taken:?}");
    }
    assert!(at.cli(&["LLEN", "to"]).trim().parse::<u32>().unwrap() > 0);
    // It rings when it is subscribed, and then when somebody rings it.
    while at.cli(&["PUBLISH", "bell", "rung"]).trim() == "0" {
        assert!(start.elapsed() < LIMIT, "nobody listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while timeout(LIMIT, bell.recv()).await.unwrap().as_deref() != Some(b"rung") {}
}

#[tokio::test]
async fn it_follows_the_primary_when_that_is_killed_and_when_it_comes_back() {
    let mut watched = Watched::start(None);
    let link = connected(&watched.args()).await;
    all_of_it_works(&link, &watched.servers[0]).await;
    assert_eq!(count_up(&link).await, 1);
    watched.until("it is replicated", || watched.servers[1].cli(&["GET", "n"]) == "1\n");
    let generation = *link.generation().borrow();

    watched.servers[0].kill9();
    assert!(count_up(&link).await >= 2);
    assert!(*link.generation().borrow() > generation);
    all_of_it_works(&link, &watched.servers[1]).await;

    // It comes back as it was, and is told that it is a replica now: nobody writes to it.
    watched.servers[0].restart();
    let role = || watched.servers[0].cli(&["ROLE"]);
    watched.until("the old primary is a replica", || role().starts_with("slave"));
    let count = count_up(&link).await;
    watched
        .until("it follows", || watched.servers[0].cli(&["GET", "n"]).trim() == count.to_string());
    all_of_it_works(&link, &watched.servers[1]).await;
}

#[tokio::test]
async fn it_follows_a_primary_that_changes_on_demand() {
    let watched = Watched::start(Some(PASSWORD));
    let file = password_file();
    let link = connected(&as_user(&watched, file.path())).await;
    all_of_it_works(&link, &watched.servers[0]).await;
    count_up(&link).await;
    assert_eq!(watched.fail_over(), "OK\n");
    watched.until("the replica is the primary", || {
        watched.servers[1].cli(&["ROLE"]).starts_with("master")
    });
    // The old one still serves for as long: what is written to it is gone when it is told.
    timeout(TOLD_AFTER, async {
        loop {
            let count = count_up(&link).await;
            if watched.servers[1].cli(&["GET", "n"]).trim() == count.to_string() {
                break;
            }
        }
    })
    .await
    .unwrap();
    all_of_it_works(&link, &watched.servers[1]).await;
    watched.until("the old primary is a replica", || {
        watched.servers[0].cli(&["ROLE"]).starts_with("slave")
    });
    count_up(&link).await;
}

#[tokio::test]
async fn one_sentinel_is_enough_and_what_is_wrong_is_named() {
    let mut watched = Watched::start(Some(PASSWORD));
    let file = password_file();
    let args = as_user(&watched, file.path());
    watched.end_sentinel(0);
    watched.end_sentinel(0);
    count_up(&connected(&args).await).await;

    let told =
        async |args: &RedisArgs| Probe::look(args, Rights::default()).await.unwrap_err().detail();
    let mut wrong = args.clone();
    wrong.sentinel.redis_sentinel_master = Some("other".to_owned());
    let said = told(&wrong).await;
    assert!(said.contains("--redis-sentinel-master: other is not known there"), "{said}");
    std::fs::write(file.path(), "other\n").unwrap();
    let said = told(&args).await;
    assert!(
        said.contains("--redis-sentinels: ") && said.contains("authentication failed"),
        "{said}"
    );
    watched.end_sentinel(0);
    let said = told(&args).await;
    assert_eq!(said.matches("refused").count(), 3, "{said}");
}

#[tokio::test]
async fn sentinels_speak_tls_where_redis_does() {
    let redis = PrivateRedis::start_secured(Secured::default());
    let sentinel = Sentinel::secured(&redis);
    let mut args = redis.secured_args();
    args.redis_url = RedisUrl::parse("rediss://nowhere.invalid").unwrap();
    let address = format!("localhost:{}", sentinel.port());
    args.sentinel.redis_sentinels = vec![address.parse().unwrap()];
    args.sentinel.redis_sentinel_master = Some(MASTER.to_owned());
    let link = connected(&args).await;
    link.query(cmd("SET").arg("es:a").arg("there")).await.unwrap();
    assert_eq!(redis.cli(&["GET", "es:a"]), "there\n");

    args.redis_ca = Some(redis.file("other-ca.crt"));
    let said = Probe::look(&args, Rights::default()).await.unwrap_err().detail();
    assert!(said.contains("--redis-sentinels: ") && said.contains("certificate"), "{said}");
}
