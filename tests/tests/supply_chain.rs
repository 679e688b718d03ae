//! What the workspace is built of: licences that deny.toml allows, crates of one registry alone, one
//! version of what must be one, no second TLS. What `cargo deny check licenses bans sources` would say,
//! without having to build it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use system_tests::programs;

/// Two of one of these in a process would not know each other.
const ONCE: [&str; 12] = [
    "tokio",
    "tonic",
    "prost",
    "redis",
    "rustls",
    "ring",
    "hyper",
    "h2",
    "http",
    "axum",
    "metrics",
    "tracing-core",
];
/// Cryptography beside ring, and what needs a library of the system.
const NONE: [&str; 5] = ["openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys", "webpki-roots"];

/// Everything that a build for Linux may use, tests included.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked", "--all-features"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(programs::repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let resolved = metadata["resolve"]["nodes"].as_array().unwrap();
    let used: BTreeSet<&str> = resolved.iter().filter_map(|node| node["id"].as_str()).collect();
    let all = metadata["packages"].as_array().unwrap();
    all.iter().filter(|package| used.contains(text(package, "id"))).cloned().collect()
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

fn allowed() -> BTreeSet<String> {
    let file = std::fs::read_to_string(programs::repository().join("deny.toml")).unwrap();
    let deny: toml::Table = file.parse().unwrap();
    let allow = deny["licenses"]["allow"].as_array().unwrap();
    allow.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Whether a licence expression can be met: `OR` (once written `/`) offers a choice, `AND` does not.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, allowed);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "ISC"].map(str::to_owned).into();
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only/MIT", true),
        ("MIT AND GPL-3.0-only", false),
        ("(GPL-3.0-only OR MIT) AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", true),
        ("Apache-2.0", false),
        ("(MIT", false),
        ("MIT ISC", false),
        ("", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}

#[test]
fn licences_are_those_that_are_allowed() {
    let allowed = allowed();
    let packages = packages();
    assert!(packages.len() > 200, "only {} crates", packages.len());
    for package in &packages {
        let (name, version) = (text(package, "name"), text(package, "version"));
        let licence = text(package, "license");
        assert!(is_met(licence, &allowed), "{name} {version} is under {licence:?}");
    }
}

#[test]
fn crates_come_from_one_registry_and_key_ones_are_there_once() {
    let mut sources = BTreeSet::new();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let (name, version) = (text(&package, "name"), text(&package, "version"));
        let source = package["source"].as_str();
        let from = |source: &str| source.starts_with("registry+");
        assert!(source.is_none_or(from), "{name} comes from {source:?}");
        sources.extend(source.map(str::to_owned));
        versions.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    assert_eq!(sources.len(), 1, "crates come from several registries: {sources:?}");
    for name in NONE {
        assert!(!versions.contains_key(name), "{name}: what speaks TLS uses ring");
    }
    for name in ONCE {
        let found = versions.get(name).map(BTreeSet::len);
        assert_eq!(found, Some(1), "{name}: {:?}", versions.get(name));
    }
}
