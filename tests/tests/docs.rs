//! Every command shown in the documentation is run, in order, against a system that was just
//! started, and has to print what is shown.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use system_tests::console;
use system_tests::grpcurl::Grpcurl;
use system_tests::programs;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE};

/// The README and every document of docs/, but that which first_consumer.rs follows.
fn documents() -> Vec<PathBuf> {
    let root = programs::repository();
    let mut found = vec![root.join("README.md")];
    for file in std::fs::read_dir(root.join("docs")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "md") && !path.ends_with("first-consumer.md")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_commands_of_the_documents_print_what_is_shown() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for path in documents() {
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let examples = console::examples(&text);
        if examples.is_empty() {
            continue;
        }
        let mut system = System::shop().await.unwrap();
        let redis = format!("127.0.0.1:{}", system.redis().port());
        let mut places = BTreeMap::from([("localhost:6379".to_owned(), redis)]);
        for (port, name) in [("50051", EVENT_STORE), ("50052", MESSAGE_QUEUE), ("5000", GATEWAY)] {
            let real = system.url(name).unwrap().replace("http://", "");
            for host in ["localhost", "127.0.0.1"] {
                places.insert(format!("{host}:{port}"), real.clone());
            }
        }
        let printed = console::run(&examples, &places, programs::repository()).await.unwrap();
        for (example, printed) in examples.iter().zip(printed) {
            checked += 1;
            if let Err(error) = console::compare(example, &printed.text) {
                wrong.push(format!("{}: {error:#}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(checked > 0, "no document shows a command");
}

/// The names that grpcurl lists.
async fn list(service: &Grpcurl, of: &[&str]) -> Vec<String> {
    let listed = service.text(&[&["list"], of].concat()).await.unwrap();
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_cookbook_has_every_call_of_both_services() {
    let book = programs::repository().join("docs/grpcurl.md");
    let book = std::fs::read_to_string(book).unwrap();
    let examples = console::examples(&book);
    let system = System::services().await.unwrap();
    let mut checked = 0;
    for (name, package) in [(EVENT_STORE, "eventstore.v1."), (MESSAGE_QUEUE, "messagequeue.v1.")] {
        let service = Grpcurl::new(&system.url(name).unwrap());
        for found in list(&service, &[]).await {
            if !found.starts_with(package) {
                continue;
            }
            for method in list(&service, &[&found]).await {
                let call = method.strip_prefix(&format!("{found}.")).unwrap();
                let path = format!("{found}/{call}");
                let called = examples.iter().any(|example| {
                    example.command.split_whitespace().any(|word| word == path.as_str())
                });
                assert!(called, "docs/grpcurl.md has no call of {path}");
                assert!(book.contains(&format!("\n### {call}\n")), "nor a section for {path}");
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "reflection shows only {checked} calls");
}
