//! Who may do what: every call of the package is refused to those without the right, says so, and
//! writes nothing.

mod guarded;
mod table;

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use proto::messagequeue::v1::{self as pb, FILE_DESCRIPTOR_SET};
use svc_runtime::rpc_error::ErrorFacts;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use crate::support::*;
use guarded::{CALLERS, Guarded, RULES, by};
use table::request_of;

/// The error of an answer: how the call ended, or its only item.
fn refusal(method: &str, (first, ended): (Option<Bytes>, Status)) -> Status {
    if method != "SendStream" || ended.code() != Code::Ok {
        return ended;
    }
    let answer = pb::SendStreamResponse::decode(first.unwrap()).unwrap();
    match answer.result.unwrap() {
        pb::send_stream_response::Result::Sent(_) => ended,
        pb::send_stream_response::Result::Error(error) => {
            Status::with_details(error.code.into(), &error.message, error.encode_to_vec().into())
        }
    }
}

/// Every method of the package, and its path.
pub fn methods() -> Vec<(String, String)> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let files = set.file.into_iter().filter(|file| file.package() == "messagequeue.v1");
    let services = files.flat_map(|file| file.service);
    let methods = services.flat_map(|service| {
        let name = service.name().to_owned();
        let path = move |method: &str| format!("/messagequeue.v1.{name}/{method}");
        service.method.into_iter().map(move |method| (method.name().into(), path(method.name())))
    });
    methods.collect()
}

#[tokio::test]
async fn every_call_needs_its_right() {
    let mut guarded = Guarded::start(&[]).await;
    let methods = methods();
    assert!(methods.len() >= 21, "{methods:?}");
    for (method, path) in methods.iter().filter(|(method, _)| method != "ListQueues") {
        for caller in CALLERS.into_iter().chain(["nobody"]) {
            let what = format!("{method} by {caller}");
            let row = request_of(method, guarded.leased().await);
            let before = guarded.kept();
            let answer = guarded.call(caller, path, &row.request).await;
            let refused = refusal(method, answer);
            if row.allowed.contains(&caller) {
                assert_eq!(refused.code(), row.ends, "{what}: {refused:?}");
                continue;
            }
            assert_eq!(refused.code(), Code::PermissionDenied, "{what}: {refused:?}");
            let facts = ErrorFacts::of(&refused).unwrap();
            assert_eq!((&*facts.reason, &*facts.domain), ("PERMISSION_DENIED", "messagequeue.v1"));
            let said = ["right", "queue", "caller"].map(|fact| facts.metadata[fact].as_str());
            assert_eq!(said, [row.right, "q", caller], "{what}");
            assert_eq!(guarded.kept(), before, "{what} wrote something");
        }
        // Without a token it is not even asked.
        let row = request_of(method, guarded.leased().await);
        let (_, ended) = guarded.call("stranger", path, &row.request).await;
        assert_eq!(ended.code(), Code::Unauthenticated, "{method}: {ended:?}");
    }
}

#[tokio::test]
async fn a_redrive_needs_the_right_to_send_to_where_it_goes() {
    let mut guarded = Guarded::start(&[]).await;
    guarded.leased().await;
    let redrive = pb::RedriveDeadLettersRequest {
        queue: "q".into(),
        to_queue: Some("other".into()),
        ..Default::default()
    };
    let queues = &mut guarded.service.queues;
    let refused = queues.redrive_dead_letters(by("administrator", redrive.clone())).await;
    let facts = ErrorFacts::of(&refused.unwrap_err()).unwrap();
    assert_eq!((&*facts.metadata["right"], &*facts.metadata["queue"]), ("send", "other"));
    queues.redrive_dead_letters(by("all", redrive)).await.unwrap();
}

#[tokio::test]
async fn a_list_tells_of_the_queues_that_the_caller_knows() {
    let mut guarded = Guarded::start(&[]).await;
    for n in 0..120 {
        for prefix in ["a", "b", "c"] {
            if prefix == "b" && n >= 7 {
                continue;
            }
            let request =
                pb::CreateQueueRequest { queue: format!("{prefix}{n:03}"), settings: None };
            guarded.service.queues.create_queue(by("all", request)).await.unwrap();
        }
    }
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = pb::ListQueuesRequest { page_size: 3, page_token };
        let page = guarded.service.queues.list_queues(by("receiver", list)).await.unwrap();
        let page = page.into_inner();
        pages.push(page.queues.into_iter().map(|queue| queue.queue).collect::<Vec<_>>());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        assert!(page_token.starts_with('b'), "{page_token} is not the caller's business");
    }
    let wanted: Vec<_> = (0..7).map(|n| format!("b{n:03}")).collect();
    assert_eq!(pages, wanted.chunks(3).map(<[_]>::to_vec).collect::<Vec<_>>());
    let list = by("nobody", pb::ListQueuesRequest::default());
    let none = guarded.service.queues.list_queues(list).await.unwrap().into_inner();
    assert_eq!(none, pb::ListQueuesResponse::default());
}

#[tokio::test]
async fn a_stream_ends_when_the_rule_is_taken_away() {
    let mut guarded = Guarded::start(&[]).await;
    let send = |text: &str| {
        let messages = vec![outgoing(text)];
        by("all", pb::SendRequest { queue: "q".into(), messages, durability: 0 })
    };
    guarded.service.mq.send(send("held")).await.unwrap();
    let open = pb::ConsumeOpen { queue: "q".into(), ..Default::default() };
    let open = pb::ConsumeRequest { message: Some(pb::consume_request::Message::Open(open)) };
    let (say, said) = mpsc::unbounded_channel();
    say.send(open).unwrap();
    let requests = by("receiver", UnboundedReceiverStream::new(said));
    let mut consuming = guarded.service.mq.consume(requests).await.unwrap().into_inner();
    assert_eq!(texts(&[delivery(&mut consuming).await]), ["held"]);

    std::fs::write(guarded.files.path().join("rules"), RULES).unwrap();
    let know = || by("receiver", pb::GetQueueRequest { queue: "q".into() });
    let start = tokio::time::Instant::now();
    while guarded.service.queues.get_queue(know()).await.is_ok() {
        assert!(start.elapsed() < LIMIT, "the rules are still the old ones");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    guarded.service.mq.send(send("next")).await.unwrap();
    let ended = loop {
        let answer = tokio::time::timeout(LIMIT, consuming.message()).await.unwrap();
        match answer.map(|answer| answer.unwrap().message.unwrap()) {
            Ok(pb::consume_response::Message::Heartbeat(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(status) => break status,
        }
    };
    let facts = ErrorFacts::of(&ended).unwrap();
    assert_eq!((ended.code(), &*facts.metadata["caller"]), (Code::PermissionDenied, "receiver"));
    // What it held and what it was not given any more go to others, at once and as they were.
    let mut got = Vec::new();
    while got.len() < 2 {
        let request = pb::ReceiveRequest {
            queue: "q".into(),
            max_messages: Some(2),
            wait: ms(20_000),
            lease: None,
        };
        let received = guarded.service.mq.receive(by("all", request)).await.unwrap();
        got.extend(received.into_inner().deliveries);
        assert!(got.iter().all(|delivery| delivery.attempt == 1), "{got:?}");
    }
    let mut texts = texts(&got);
    texts.sort_unstable();
    assert_eq!(texts, ["held", "next"]);
}

#[tokio::test]
async fn each_send_of_a_stream_is_a_request() {
    let mut guarded = Guarded::start(&["--requests-per-second", "1", "--request-burst", "3"]).await;
    let send = |n| pb::SendRequest {
        queue: "q".into(),
        messages: vec![outgoing(&format!("{n}"))],
        durability: 0,
    };
    let requests = by("sender", stream::iter((0..10).map(send)));
    let answers = guarded.service.mq.send_stream(requests).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect().await;
    assert_eq!(answers.len(), 10);
    let mut sent = 0;
    for answer in answers {
        match answer.unwrap().result.unwrap() {
            pb::send_stream_response::Result::Sent(_) => sent += 1,
            pb::send_stream_response::Result::Error(error) => {
                let facts = ErrorFacts::of_item(&error).unwrap();
                assert_eq!((&*facts.reason, error.code), ("RATE_LIMITED", 8));
            }
        }
    }
    // The stream itself was the first of three; while this took long, another one came free.
    assert!((3..6).contains(&sent), "{sent} of 10 were let through");
    let know = by("all", pb::GetQueueRequest { queue: "q".into() });
    let queue = guarded.service.queues.get_queue(know).await.unwrap().into_inner().queue.unwrap();
    assert_eq!(queue.ready, sent);
}
