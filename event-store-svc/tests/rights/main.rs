//! Who may do what: every call of the package, by its descriptor, with callers that have no right,
//! another right, and the one that is needed; and streams whose rule is taken away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_imports,
    reason = "a test fails loudly"
)]

mod guarded;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod taken_away;

use std::future::Future;
use std::time::Duration;

use guarded::{Guarded, RIGHTS, assert_denied, methods, rule, token};
use prost::Message as _;
use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::*;
use support::*;
use svc_runtime::rpc_error::ErrorFacts;
use table::{Furnished, entry};
use tokio::time::timeout;
use tonic::Request;

/// Needs no right, but tells only of topics that the caller has one on.
const LIST: &str = "Topics/ListTopics";

/// Waits until it is so.
pub async fn soon<F: Future<Output = bool>>(what: &str, is: impl Fn() -> F) {
    let watched = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), watched).await.unwrap_or_else(|_| panic!("not so: {what}"));
}

/// Callers with one right each, called as it is, and `nobody`.
async fn guarded() -> Guarded {
    let rules: String = RIGHTS.iter().map(|right| rule(right, &[right], &["t", "t-*"])).collect();
    Guarded::start(&["nobody", "append", "read", "consume", "administer"], &rules, &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_denied_to_whoever_has_not_the_right() {
    let guarded = guarded().await;
    let furnished = Furnished::new(&guarded.open, "t").await;
    let before = contents(&guarded.redis);
    let mut denied = 0;
    for (method, is_stream) in methods() {
        if method == LIST {
            continue;
        }
        let Some((rights, message)) = entry(&method, &furnished) else {
            panic!("{method} is not in the table of rights: say there which it needs")
        };
        for caller in RIGHTS.iter().chain(&["nobody"]).filter(|caller| !rights.contains(caller)) {
            let asked = guarded.ask(&method, is_stream, vec![message.clone()], caller).await;
            let right = assert_denied(&method, asked, "t", caller);
            assert!(rights.contains(&&*right), "{method} needs {rights:?}, was told {right}");
            denied += 1;
        }
    }
    assert!(denied > 90, "only {denied}");
    assert_eq!(contents(&guarded.redis), before, "something was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_allowed_to_whoever_has_just_the_right() {
    let guarded = guarded().await;
    let any = Furnished::new(&guarded.open, "t").await;
    let methods = methods().into_iter().filter(|(method, _)| method != LIST);
    for (at, (method, is_stream)) in methods.enumerate() {
        let (rights, _) = entry(&method, &any).unwrap();
        for right in rights {
            let furnished = Furnished::new(&guarded.open, &format!("t-{at}-{right}")).await;
            let (_, message) = entry(&method, &furnished).unwrap();
            let asked = guarded.ask(&method, is_stream, vec![message], right).await;
            asked.unwrap_or_else(|status| panic!("{method} of {right}: {status:?}"));
        }
    }
}

fn named(answer: &[u8]) -> (Vec<String>, String) {
    let answer = ListTopicsResponse::decode(answer).unwrap();
    (answer.topics.into_iter().map(|topic| topic.topic).collect(), answer.next_page_token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_tells_of_known_topics_page_by_page() {
    let rules =
        rule("some", &["read"], &["k-05", "k-17", "k-29"]) + &rule("all", &["append"], &["*"]);
    let guarded = Guarded::start(&["nobody", "some", "all"], &rules, &[]).await;
    for number in 0..30 {
        guarded.open.append(&format!("k-{number:02}"), vec![event("", "")]).await.unwrap();
    }
    let page = async |caller: &str, page_size: i32, page_token: String| {
        let request = ListTopicsRequest { page_size, page_token };
        let asked = guarded.ask(LIST, false, vec![request.encode_to_vec().into()], caller).await;
        named(&asked.unwrap())
    };
    let none = String::new;
    assert_eq!(page("nobody", 10, none()).await, (Vec::new(), none()));
    let (first, next) = page("some", 2, none()).await;
    assert_eq!(first, ["k-05", "k-17"]);
    assert_eq!(page("some", 2, next).await, (vec!["k-29".to_owned()], none()));
    assert_eq!(page("some", 3, none()).await.0, ["k-05", "k-17", "k-29"]);
    let (mut seen, mut token) = (Vec::new(), none());
    loop {
        let (topics, next) = page("all", 7, token).await;
        assert!(topics.len() == 7 || next.is_empty(), "{topics:?}");
        seen.extend(topics);
        if next.is_empty() {
            break;
        }
        token = next;
    }
    assert_eq!(seen.len(), 30);
    assert!(seen.is_sorted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_stream_count_each() {
    let rules = rule("writer", &["append"], &["*"]);
    let limits = ["--requests-per-second", "1", "--request-burst", "20"];
    let guarded = Guarded::start(&["writer"], &rules, &limits).await;
    let append =
        |_| AppendRequest { topic: "t".into(), events: vec![event("", "")], ..Default::default() };
    let mut request = Request::new(tokio_stream::iter((0..60).map(append)));
    let bearer = format!("Bearer {}", token("writer")).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut answers = guarded.guarded.store().append_stream(request).await.unwrap().into_inner();
    let (mut appended, mut refused) = (0, 0);
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.result.unwrap() {
            Answer::Appended(_) => appended += 1,
            Answer::Error(error) => {
                let facts = ErrorFacts::of_item(&error).unwrap();
                assert_eq!(facts.reason, "RATE_LIMITED");
                assert_eq!(facts.metadata["caller"], "writer");
                assert!(facts.retry_after.unwrap() > Duration::ZERO);
                refused += 1;
            }
        }
    }
    // Asking whether it is ready took from the burst; some came back meanwhile.
    assert!((1..30).contains(&appended), "{appended}");
    assert_eq!(appended + refused, 60, "each was answered");
    assert_eq!(guarded.open.read_all("t").await.len(), appended);
}
