//! `--check` of both services, as an operator runs it: what is in force, what is wrong and what would
//! be right, and never a secret.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::process::{Command, Output};

use redis_link::test_util::secured::{PASSWORD, Secured};
use redis_link::test_util::{Options, PrivateRedis};
use system_tests::programs;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};

const SERVICES: [&str; 2] = [EVENT_STORE, MESSAGE_QUEUE];

/// Runs it with these flags; answers whether all was well, and all that it said.
#[track_caller]
fn check(service: &str, flags: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let output: Output = Command::new(programs::program(service).unwrap())
        .arg("--check")
        .args(flags)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?} {said}", output.status);
    assert!(!said.contains(PASSWORD) && !said.contains("hidden"), "{said}");
    (output.status.success(), said)
}

fn flags(redis: &PrivateRedis) -> Vec<String> {
    let url = ["--redis-url".to_owned(), redis.url()];
    url.into_iter().chain(redis.secured_flags()).collect()
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// A line that begins with the first and has the others in this order.
#[track_caller]
fn has_line(said: &str, parts: &[&str]) {
    let found = said.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        line.starts_with(parts[0]) && words == parts.join(" ").split(' ').collect::<Vec<_>>()
    });
    assert!(found, "no line {parts:?} in {said}");
}

#[test]
fn what_is_right_is_told_with_where_it_comes_from() {
    let redis = PrivateRedis::start_secured(Secured::default());
    let flags = flags(&redis);
    for service in SERVICES {
        let variables = [("LOG_LEVEL", "warn"), ("REDIS_CONNECTIONS", "3")];
        let (right, said) = check(service, &words(&flags), &variables);
        assert!(right, "{said}");
        has_line(&said, &["--redis-url", &redis.url(), "flag"]);
        has_line(&said, &["--redis-username", "messaging", "flag"]);
        has_line(&said, &["--redis-connections", "3", "environment (REDIS_CONNECTIONS)"]);
        has_line(&said, &["--log-level", "warn", "environment (LOG_LEVEL)"]);
        has_line(&said, &["--tls-cert", "none", "default"]);
        has_line(&said, &["--no-auto-create", "false", "default"]);
        has_line(&said, &["flags and files", "right"]);
        has_line(&said, &["append-only file", "on, fsync always"]);
        has_line(&said, &["maxmemory", "no limit, policy noeviction"]);
        has_line(&said, &["durability", "memory, fsynced (with every answer), not replicated"]);
        for part in
            ["redis              Redis ", "round trip ", " ms\n", "rights             all of the"]
        {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert!(said.ends_with("\nall is well\n"), "{said}");
        let nothing_is_left = redis.cli(&["KEYS", "*"]);
        assert_eq!(nothing_is_left, "");
    }
}

#[test]
fn every_flag_is_told() {
    let redis = PrivateRedis::start();
    for service in SERVICES {
        let help =
            Command::new(programs::program(service).unwrap()).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let (_, said) = check(service, &["--redis-url", &redis.url()], &[]);
        let explained: Vec<&str> = help
            .lines()
            // Explanations are further to the right.
            .filter_map(|line| line.strip_prefix("      --"))
            .filter_map(|line| line.split([' ', '=']).next())
            .collect();
        assert!(explained.len() > 30, "{explained:?}");
        for flag in explained {
            let told = said.lines().any(|line| line.starts_with(&format!("--{flag} ")));
            assert!(told, "--{flag} is not told: {said}");
        }
    }
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    let redis = PrivateRedis::start_secured(Secured::default());
    let few = PrivateRedis::start_secured(Secured {
        rules: Some("~* &* +@all -publish"),
        ..Secured::default()
    });
    let put = |name: &str, text: &str| {
        std::fs::write(redis.file(name), text).unwrap();
        redis.file(name).display().to_string()
    };
    let (wrong, no_rules) = (put("wrong", "hidden"), put("rules.toml", "hidden"));
    let right = flags(&redis);
    let with = |flag: &str, value: &str| {
        let mut flags = right.clone();
        let at = flags.iter().position(|given| given == flag).unwrap();
        flags[at + 1] = value.to_owned();
        flags
    };
    let also = |more: &[&str]| {
        right.iter().cloned().chain(more.iter().map(|&flag| flag.to_owned())).collect::<Vec<_>>()
    };
    let away = "rediss://localhost:9";
    let other_host = redis.url().replace("localhost", "127.0.0.1");
    for (flags, named) in [
        (with("--redis-url", away), "--redis-url: has to be where redis is"),
        (with("--redis-url", &other_host), "--redis-url: has to call redis by a name"),
        (with("--redis-url", "http://u:hidden@h"), "redis://[user:password@]host"),
        (with("--redis-url", "rediss://u:hidden@h"), "--redis-username: is said twice"),
        (with("--redis-password-file", &wrong), "--redis-username, --redis-password-file"),
        (with("--redis-password-file", "/not/there"), "--redis-password-file: cannot read /not/"),
        (with("--redis-ca", &wrong), "--redis-ca: holds no PEM certificate"),
        (
            with("--redis-ca", &redis.file("other-ca.crt").display().to_string()),
            "--redis-ca: has to",
        ),
        (flags(&few), "may not use publish; --redis-username"),
        (also(&["--tls-cert", "/not/there"]), "--tls-key: is missing"),
        (also(&["--auth", "tokens"]), "--auth-tokens: is missing"),
        (also(&["--auth-rules", &no_rules]), "--auth-rules: needs callers"),
        (also(&["--listen", "50051"]), "must be an address and a port, as in 0.0.0.0:50051"),
        (also(&["--admin-listen", "on"]), "as in 0.0.0.0:9090, or off"),
        (also(&["--log-level", "inof"]), "`inof` is no level"),
        (also(&["--shutdown-delay", "25s"]), "--shutdown-delay: is part of --shutdown-timeout"),
        (also(&["--redis-min-replicas", "1"]), "--redis-min-replicas: is more than redis has"),
        (also(&["--redis-cert", &wrong]), "--redis-key: is missing"),
        (also(&["--trace-sample", "10"]), "from 0.0 (none) to 1.0 (all)"),
        (also(&["--metrics-max-names", "0"]), "1..=10000"),
    ] {
        for service in SERVICES {
            let (right, said) = check(service, &words(&flags), &[]);
            assert!(!right && said.contains(named), "{service} does not say {named}: {said}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_nothing_is_bound() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let wrong = ["--redis-ca", "/no/ca", "--tls-cert", "/no/cert", "--redis-key", "/no/key"];
    let listen = ["--listen", &address, "--admin-listen", &address];
    for service in SERVICES {
        let (right, said) = check(service, &[&wrong[..], &listen].concat(), &[]);
        assert!(!right);
        for flag in ["--redis-ca: ", "--redis-cert: ", "--redis-key: ", "--tls-key: "] {
            assert!(said.contains(flag), "{flag} is not in {said}");
        }
        assert!(said.contains("things are wrong"), "{said}");
        // The same, when it is to serve: nothing is bound, or the taken port would be named.
        let output =
            Command::new(programs::program(service).unwrap()).args(wrong).args(listen).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("--tls-key: "), "{said}");
        assert!(said.contains("--redis-cert: ") && !said.contains(&address), "{said}");
    }
}

#[test]
fn a_redis_that_may_lose_things_is_warned_of() {
    let redis = PrivateRedis::start_with(Options {
        extra: ["--maxmemory-policy", "allkeys-lru"].map(str::to_owned).into(),
        ..Options::default()
    });
    let url = redis.url().replace("redis://", "redis://default:hidden-hidden@");
    // The user that is not asked for a password takes any.
    let (right, said) = check(EVENT_STORE, &[], &[("REDIS_URL", &url)]);
    assert!(right, "{said}");
    has_line(
        &said,
        &["--redis-url", &url.replace("default:hidden-hidden", "***"), "environment (REDIS_URL)"],
    );
    assert!(said.contains("maxmemory-policy noeviction") && said.contains("allkeys-lru"), "{said}");
    assert!(said.contains("appendonly yes"), "{said}");
}
