//! The link against a real Redis: scripts forgotten, servers killed, frozen,
//! full, and what is told of it.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has to fail")]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use redis_link::{
    Link, LinkError, Script, Value, cmd,
    test_util::{Options, PrivateRedis},
    values,
};
use tokio::time::timeout;

static SET_AND_GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "set_and_get",
        "#!lua\nredis.call('SET', KEYS[1], ARGV[1]) return {redis.call('GET', KEYS[1]), ARGV[2] + 1}",
    )
});

static WRITE_ANYWAY: LazyLock<Script> = LazyLock::new(|| {
    Script::new("write_anyway", "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1])")
});

static OWN_CODE: LazyLock<Script> =
    LazyLock::new(|| Script::new("own_code", "#!lua\nreturn redis.error_reply('TEAPOT short')"));

const LIMIT: Duration = Duration::from_secs(10);

async fn until_ready(link: &Link, wanted: bool) {
    let mut ready = link.ready();
    timeout(LIMIT, ready.wait_for(|ready| *ready == wanted)).await.unwrap().unwrap();
}

async fn connected(redis: &PrivateRedis) -> Link {
    let link = Link::start(&redis.args()).unwrap();
    until_ready(&link, true).await;
    link
}

#[tokio::test]
async fn a_flushed_script_is_loaded_again() {
    let redis = PrivateRedis::start();
    let link = connected(&redis).await;
    for _ in 0..3 {
        let mut call = SET_AND_GET.call(&["{a}:1"]);
        call.arg(&b"by\0tes"[..]).arg(41);
        let mut answer = values::Items::of(link.invoke(&call).await.unwrap()).unwrap();
        assert_eq!(&answer.next_bytes().unwrap()[..], b"by\0tes");
        assert_eq!(answer.next_int().unwrap(), 42);
        assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]), "OK\n");
    }
}

#[tokio::test]
async fn a_script_runs_however_often_it_is_flushed() {
    let redis = Arc::new(PrivateRedis::start());
    let link = connected(&redis).await;
    let over = Arc::new(AtomicBool::new(false));
    let flushing = {
        let (redis, over) = (redis.clone(), over.clone());
        std::thread::spawn(move || {
            while !over.load(Relaxed) {
                assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]), "OK\n");
            }
        })
    };
    let mut answers = Vec::new();
    for number in 0..3_000 {
        let mut call = SET_AND_GET.call(&["{a}:1"]);
        call.arg(&b"by\0tes"[..]).arg(number);
        answers.push(link.invoke(&call).await);
    }
    over.store(true, Relaxed);
    flushing.join().unwrap();
    for (number, answer) in answers.into_iter().enumerate() {
        let mut answer = values::Items::of(answer.unwrap()).unwrap();
        assert_eq!(&answer.next_bytes().unwrap()[..], b"by\0tes");
        assert_eq!(answer.next_unsigned().unwrap(), number as u64 + 1);
    }
}

#[tokio::test]
async fn it_starts_without_redis_and_finds_it_later() {
    let mut redis = PrivateRedis::start();
    redis.kill9();
    let link = Link::start(&redis.args()).unwrap();
    let error = link.query(&cmd("PING")).await.unwrap_err();
    assert!(matches!(error, LinkError::Unavailable(_)), "{error:?}");
    redis.restart();
    until_ready(&link, true).await;
    link.query(&cmd("PING")).await.unwrap();
}

#[tokio::test]
async fn a_restart_is_survived_and_counted() {
    let mut redis = PrivateRedis::start_durable();
    let link = connected(&redis).await;
    link.query(cmd("SET").arg("a").arg(1)).await.unwrap();
    let before = *link.generation().borrow();
    redis.kill9();
    until_ready(&link, false).await;
    let error = link.query(&cmd("PING")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    redis.restart();
    until_ready(&link, true).await;
    let kept = link.query(cmd("GET").arg("a")).await.unwrap();
    assert_eq!(values::int(&kept).unwrap(), 1);
    assert!(*link.generation().borrow() > before);
}

#[tokio::test]
async fn killed_connections_are_replaced() {
    let redis = PrivateRedis::start();
    let mut args = redis.args();
    args.redis_connections = 1;
    let link = Link::start(&args).unwrap();
    until_ready(&link, true).await;
    let mut generation = link.generation();
    let before = *generation.borrow_and_update();
    let _ = redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    timeout(LIMIT, generation.wait_for(|now| *now > before)).await.unwrap().unwrap();
    until_ready(&link, true).await;
    link.query(&cmd("PING")).await.unwrap();
}

#[tokio::test]
async fn a_frozen_redis_is_noticed_and_its_calls_are_unknown() {
    let redis = PrivateRedis::start();
    let mut args = redis.args();
    args.redis_response_timeout = Duration::from_millis(300);
    args.redis_connect_timeout = Duration::from_millis(300);
    let link = Link::start(&args).unwrap();
    until_ready(&link, true).await;
    redis.stop_signal();
    let error = link.query(cmd("SET").arg("a").arg(1)).await.unwrap_err();
    assert!(matches!(error, LinkError::OutcomeUnknown(_)), "{error:?}");
    until_ready(&link, false).await;
    redis.cont_signal();
    until_ready(&link, true).await;
    link.query(&cmd("PING")).await.unwrap();
}

#[tokio::test]
async fn errors_are_told_apart_by_code() {
    let redis = PrivateRedis::start();
    let link = connected(&redis).await;
    link.query(cmd("SET").arg("a").arg("text")).await.unwrap();
    let error = link.query(cmd("LPUSH").arg("a").arg("x")).await.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    let error = link.invoke(&OWN_CODE.call::<&str>(&[])).await.unwrap_err();
    assert_eq!(error.code(), Some("TEAPOT"));
    let error = link.query(&cmd("NOSUCHCOMMAND")).await.unwrap_err();
    assert_eq!(error.code(), Some("ERR"));
    let mut two = redis_link::pipe();
    two.cmd("PING").cmd("LPUSH").arg("a").arg("x");
    assert_eq!(link.pipeline(&two).await.unwrap_err().code(), Some("WRONGTYPE"));
    assert!(*link.ready().borrow(), "refusals say nothing about the connection");
}

#[tokio::test]
async fn a_full_redis_refuses_writes_before_they_begin() {
    let redis = PrivateRedis::start_with(Options {
        max_memory: Some("1mb".to_owned()),
        ..Options::default()
    });
    let link = connected(&redis).await;
    let mut call = SET_AND_GET.call(&["{a}:1"]);
    call.arg("x").arg(1);
    let error = link.invoke(&call).await.unwrap_err();
    assert!(matches!(error, LinkError::Full(_)), "{error:?}");
    assert_eq!(redis.cli(&["EXISTS", "{a}:1"]), "0\n");
    let mut call = WRITE_ANYWAY.call(&["{a}:1"]);
    call.arg("x");
    link.invoke(&call).await.unwrap();
}

#[tokio::test]
async fn a_replica_is_not_served_from() {
    let redis = PrivateRedis::start();
    let link = connected(&redis).await;
    assert_eq!(redis.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK\n");
    let error = link.query(cmd("SET").arg("a").arg(1)).await.unwrap_err();
    assert!(matches!(error, LinkError::Unavailable(_)), "{error:?}");
    assert_eq!(redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK\n");
    until_ready(&link, true).await;
}

#[tokio::test]
async fn a_blocking_call_that_is_given_up_takes_its_connection_along() {
    let redis = PrivateRedis::start();
    let mut args = redis.args();
    args.redis_blocking_connections = 1;
    let link = Link::start(&args).unwrap();
    let block = Duration::from_secs(30);
    let mut pop = cmd("BRPOPLPUSH");
    pop.arg("ready").arg("handoff").arg(30);
    {
        let mut connection = link.blocking().take(LIMIT).await.unwrap();
        let given_up =
            timeout(Duration::from_millis(50), connection.query_blocking(&pop, block)).await;
        assert!(given_up.is_err());
    }
    let mut connection = link.blocking().take(LIMIT).await.unwrap();
    assert!(link.blocking().try_take().await.unwrap().is_none(), "the only one is in use");
    let (popped, _) = tokio::join!(connection.query_blocking(&pop, block), async {
        link.query(cmd("LPUSH").arg("ready").arg("id-1")).await.unwrap();
    });
    assert_eq!(popped.unwrap(), Value::BulkString(b"id-1".to_vec()));
    let mut pop = cmd("BRPOPLPUSH");
    pop.arg("ready").arg("handoff").arg(0.05);
    let nothing = connection.query_blocking(&pop, Duration::from_millis(50)).await;
    assert_eq!(nothing.unwrap(), Value::Nil);
}
