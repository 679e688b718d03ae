//! Clients of another age: one made from the protos as they landed first goes on working; fields of
//! a newer one are ignored and its enum values refused; an older one, in every language, copes with
//! fields, values and kinds of messages that it has no name for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use system_tests::example::{Addresses, Example, LANGUAGES};
use system_tests::newer::{LATER, Newer};
use system_tests::programs;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const PACKAGES: [&str; 2] = ["eventstore/v1", "messagequeue/v1"];

fn python() -> Command {
    let python = programs::repository().join("target/clients/python/venv/bin/python");
    assert!(python.exists(), "{} is not there: run `scripts/clients.sh`", python.display());
    Command::new(python)
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn files(protos: &Path) -> Vec<PathBuf> {
    let files = PACKAGES.iter().flat_map(|folder| std::fs::read_dir(protos.join(folder)).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// Stubs for Python, as `python -m grpc_tools.protoc` makes them.
fn stubs(protos: &Path) -> TempDir {
    let stubs = tempfile::tempdir().unwrap();
    let out = stubs.path().display();
    let arguments = [
        format!("-I{}", protos.display()),
        format!("--python_out={out}"),
        format!("--grpc_python_out={out}"),
    ];
    succeed(python().args(["-m", "grpc_tools.protoc"]).args(arguments).args(files(protos)));
    stubs
}

/// The protos of today, with some lines replaced.
fn changed(changes: &[(&str, &str, &str)]) -> TempDir {
    let protos = tempfile::tempdir().unwrap();
    let today = programs::repository().join("proto");
    for path in files(&today).into_iter().chain([today.join("google/rpc/status.proto")]) {
        let name = path.strip_prefix(&today).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (file, from, to) in changes.iter().filter(|(file, ..)| name.ends_with(file)) {
            assert_eq!(text.matches(from).count(), 1, "{file}: {from}");
            text = text.replace(from, to);
        }
        let copy = protos.path().join(name);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(copy, text).unwrap();
    }
    protos
}

fn addresses(system: &System) -> Addresses {
    let address = |name| system.url(name).unwrap().replace("http://", "");
    Addresses { event_store: address(EVENT_STORE), message_queue: address(MESSAGE_QUEUE) }
}

async fn check(script: &str, changes: &[(&str, &str, &str)], at: Addresses) {
    let protos = changed(changes);
    let stubs = stubs(protos.path());
    let script = programs::repository().join("tests/python").join(script);
    let mut client = python();
    client.env("PYTHONPATH", stubs.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    client.arg(script).args([at.event_store, at.message_queue]);
    let said = tokio::task::spawn_blocking(move || succeed(&mut client)).await.unwrap();
    assert_eq!(said.trim(), "all well");
}

#[tokio::test]
async fn stubs_of_the_protos_that_landed_first_work() {
    let system = System::services().await.unwrap();
    let at = addresses(&system);
    let protos = programs::repository().join("tests/fixtures/proto-first");
    let stubs = stubs(&protos);
    let start =
        |args: &[&str]| Example::start_with("python", &at, args, Some(stubs.path())).unwrap();

    let mut writer = start(&["append", "old", "line", "id"]);
    writer.tell("a").await.unwrap();
    writer.tell("b").await.unwrap();
    let (status, said) = writer.finish().await.unwrap();
    assert!(status.success(), "{said:#?}");
    let (subscriber, consumer) =
        (start(&["subscribe", "old"]), start(&["consume", "old", "group"]));
    let (worker, mut caller) = (start(&["work", "old"]), start(&["call", "old"]));
    caller.tell("[1, 2]").await.unwrap();
    caller.says("reply", 1, PATIENCE).await.unwrap();
    subscriber.says("position", 2, PATIENCE).await.unwrap();
    consumer.says("handled", 2, PATIENCE).await.unwrap();
    assert_eq!(subscriber.all("text"), [json!("a"), json!("b")]);
    assert_eq!(caller.all("reply"), [json!("3")]);
    for example in [subscriber, consumer, worker] {
        let (status, said) = example.stop().await.unwrap();
        assert!(status.success(), "{said:#?}");
    }
    let (status, said) = start(&["read", "nothing"]).finish().await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(said[0]["error"]["reason"], "TOPIC_NOT_FOUND");
}

#[tokio::test]
async fn what_only_a_newer_client_knows_is_ignored_or_refused() {
    let changes = [
        ("event.proto", "message Event {\n", "message Event {\n  string later = 900;\n"),
        (
            "event.proto",
            "DURABILITY_UNSPECIFIED = 0;\n",
            "DURABILITY_UNSPECIFIED = 0;\n  DURABILITY_LATER = 900;\n",
        ),
        (
            "event_store.proto",
            "message AppendRequest {\n",
            "message AppendRequest {\n  Event later = 900;\n",
        ),
        (
            "event_store.proto",
            "DIRECTION_UNSPECIFIED = 0;\n",
            "DIRECTION_UNSPECIFIED = 0;\n  DIRECTION_LATER = 900;\n",
        ),
        ("message.proto", "message Message {\n", "message Message {\n  string later = 900;\n"),
        (
            "message.proto",
            "message OutgoingMessage {\n",
            "message OutgoingMessage {\n  repeated string later = 900;\n",
        ),
        (
            "message.proto",
            "PRIORITY_UNSPECIFIED = 0;\n",
            "PRIORITY_UNSPECIFIED = 0;\n  PRIORITY_LATER = 900;\n",
        ),
        (
            "consumer_groups.proto",
            "NACK_ACTION_UNSPECIFIED = 0;\n",
            "NACK_ACTION_UNSPECIFIED = 0;\n  NACK_ACTION_LATER = 900;\n",
        ),
        (
            "consumer_groups.proto",
            "ORDERING_UNSPECIFIED = 0;\n",
            "ORDERING_UNSPECIFIED = 0;\n  ORDERING_LATER = 900;\n",
        ),
        (
            "consumer_groups.proto",
            "message GroupSettings {\n",
            "message GroupSettings {\n  string later = 900;\n",
        ),
        (
            "message.proto",
            "DURABILITY_UNSPECIFIED = 0;\n",
            "DURABILITY_UNSPECIFIED = 0;\n  DURABILITY_LATER = 900;\n",
        ),
        (
            "queues.proto",
            "MESSAGE_STATE_UNSPECIFIED = 0;\n",
            "MESSAGE_STATE_UNSPECIFIED = 0;\n  MESSAGE_STATE_LATER = 900;\n",
        ),
    ];
    let system = System::services().await.unwrap();
    let at = addresses(&system);
    check("newer.py", &changes, at.clone()).await;

    // What the newer client has appended has fields that these clients do not know.
    for language in LANGUAGES {
        let read = Example::start(language, &at, &["read", "newer"]).unwrap();
        let (status, said) = read.finish().await.unwrap();
        assert!(status.success(), "{language}: {said:#?}");
        assert_eq!(said[0]["text"], "hello", "{language}: {said:#?}");
    }
}

#[tokio::test]
async fn an_older_client_copes_with_values_that_it_has_no_name_for() {
    let changes = [
        ("queues.proto", "  MESSAGE_STATE_READY = 1;\n", ""),
        (
            "queues.proto",
            "  google.protobuf.Timestamp sent_at = 3;\n\n  // When it is due",
            "\n  // When it is due",
        ),
        ("event.proto", "  uint64 sequence = 3;\n", ""),
    ];
    let system = System::services().await.unwrap();
    check("older.py", &changes, addresses(&system)).await;
}

/// Everything that an example reads, from services that say more than it knows.
async fn understands_a_newer_service(language: &str, at: &Addresses) {
    let start = |args: &[&str]| Example::start(language, at, args).unwrap();
    let (topic, queue) = (format!("later-{language}"), format!("later-{language}"));
    let mut writer = start(&["append", &topic, "line", "id"]);
    writer.tell("a").await.unwrap();
    writer.tell("b").await.unwrap();
    let (status, said) = writer.finish().await.unwrap();
    assert!(status.success(), "{language}: {said:#?}");
    let durability = said[0]["durability"].as_str().unwrap();
    let unnamed = [LATER.to_string(), format!("DURABILITY_{LATER}"), "UNRECOGNIZED".to_owned()];
    assert!(unnamed.iter().any(|name| name == durability), "{language}: {durability}");

    let (status, read) = start(&["read", &topic]).finish().await.unwrap();
    assert!(status.success(), "{language}: {read:#?}");
    let texts: Vec<_> = read.iter().map(|line| &line["text"]).collect();
    assert_eq!(texts, ["a", "b"], "{language}");

    let (subscriber, consumer) =
        (start(&["subscribe", &topic]), start(&["consume", &topic, "group"]));
    let (worker, mut caller) = (start(&["work", &queue]), start(&["call", &queue]));
    caller.tell("[1, 2]").await.unwrap();
    caller.says("reply", 1, PATIENCE).await.unwrap();
    subscriber.says("caught_up", 1, PATIENCE).await.unwrap();
    consumer.says("handled", 2, PATIENCE).await.unwrap();
    assert_eq!(subscriber.sequences("position"), [1, 2], "{language}");
    assert_eq!(caller.all("reply"), [json!("3")], "{language}");
    for example in [subscriber, consumer, worker] {
        assert!(example.all("resuming").is_empty(), "{language}: {:#?}", example.said());
        let (status, said) = example.stop().await.unwrap();
        assert!(status.success(), "{language}: {said:#?}");
    }
    let (status, said) = caller.finish().await.unwrap();
    assert!(status.success(), "{language}: {said:#?}");
    let (status, said) = start(&["read", "nothing"]).finish().await.unwrap();
    assert_eq!(status.code(), Some(1), "{language}");
    assert_eq!(said[0]["error"]["reason"], "TOPIC_NOT_FOUND", "{language}: {said:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_language_copes_with_a_newer_service() {
    let system = System::services().await.unwrap();
    let store = Newer::start(&system.url(EVENT_STORE).unwrap()).await.unwrap();
    let queue = Newer::start(&system.url(MESSAGE_QUEUE).unwrap()).await.unwrap();
    let at = Addresses {
        event_store: store.address().to_owned(),
        message_queue: queue.address().to_owned(),
    };
    let all = LANGUAGES.map(|language| understands_a_newer_service(language, &at));
    futures::future::join_all(all).await;
}
