//! Rules about the repository itself: who may depend on Redis, how long files are, what every
//! program explains about itself.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use system_tests::programs;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};

/// Who may name a crate that speaks to Redis.
const REDIS_CRATES: [(&str, &[&str]); 2] =
    [("redis", &["redis-link", EVENT_STORE, MESSAGE_QUEUE]), ("deadpool-redis", &["redis-link"])];
/// Who may use the crate that wraps it; system-tests starts private servers with it.
const REDIS_LINK_USERS: [&str; 5] =
    [EVENT_STORE, MESSAGE_QUEUE, "svc-front", "system-tests", "redis-link"];
const MAX_LINES: usize = 400;

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(programs::repository())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn only_the_front_services_speak_to_redis() {
    let mut redis_users = BTreeSet::new();
    for package in packages() {
        let user = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            if let Some((_, allowed)) = REDIS_CRATES.iter().find(|(krate, _)| *krate == name) {
                assert!(allowed.contains(&user), "{user} must not depend on {name}");
                redis_users.insert(user.to_owned());
            } else if name.contains("redis") || name.contains("fred") {
                assert_eq!(name, "redis-link", "{user} depends on another Redis library");
                assert!(REDIS_LINK_USERS.contains(&user), "{user} must not reach Redis");
            }
        }
    }
    // Or else this test looks at the wrong thing.
    assert!(redis_users.contains("redis-link"), "{redis_users:?}");
}

#[test]
fn files_stay_short_and_say_what_they_are_for() {
    let mut seen = 0;
    for path in tracked_or_new() {
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if !matches!(kind, "rs" | "lua" | "sh" | "py") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(programs::repository().join(&path)).unwrap();
        let lines = text.lines().count();
        let name = path.display();
        assert!(lines <= MAX_LINES, "{name} has {lines} lines: it has more than one subject");
        let first = text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        let says = match kind {
            "rs" => first.starts_with("//!"),
            "lua" => first.starts_with("--"),
            _ => first.starts_with('#') || first.starts_with("\"\"\""),
        };
        assert!(says, "{name} does not say what it is for: {first:?}");
    }
    assert!(seen > 30, "only {seen} files were looked at");
}

fn tracked_or_new() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(programs::repository())
        .output()
        .unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let there = |path: &Path| programs::repository().join(path).is_file();
    list.lines().map(PathBuf::from).filter(|path| there(path)).collect()
}

#[test]
fn every_program_explains_each_of_its_flags() {
    let services = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY, "shop-demo", "up", "bench", "soak"];
    for name in services.into_iter().chain(WORKERS) {
        let output = Command::new(programs::program(name).unwrap()).arg("--help").output().unwrap();
        assert!(output.status.success(), "{name} --help failed");
        let help = String::from_utf8(output.stdout).unwrap();
        let flags = unexplained(&help);
        assert!(flags.is_empty(), "{name} does not explain {flags:?}:\n{help}");
        assert!(help.contains("--"), "{name} has no flags:\n{help}");
        let wrong =
            Command::new(programs::program(name).unwrap()).arg("--no-such-flag").output().unwrap();
        assert!(!wrong.status.success(), "{name} takes any flag");
    }
}

/// Flags of a help text that nothing is said about: neither on their line nor on the next.
fn unexplained(help: &str) -> Vec<String> {
    let lines: Vec<&str> = help.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let flag = line.trim_start();
        // Not the values that a flag takes, which are listed as `- value: what it means`.
        if !flag.starts_with('-') || flag.starts_with("- ") {
            continue;
        }
        let on_line = flag.split_once("  ").is_some_and(|(_, text)| !text.trim().is_empty());
        let next = lines.get(index + 1).map_or("", |line| line.trim());
        let below = !next.is_empty() && !next.starts_with(['-', '[']);
        if !on_line && !below {
            found.push(flag.to_owned());
        }
    }
    found
}
