//! Traces end to end: one request is one trace, a tree of spans over the gateway, three services of
//! the shop, the message queue and the event store, up to the mail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests; trees are printed"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use proto::eventstore::v1::{Event, ReadRequest};
use redis_link::test_util::PrivateRedis;
use reqwest::StatusCode;
use serde_json::json;
use system_tests::otlp::{Collector, Seen, SpanKind, tree};
use system_tests::quiet;
use system_tests::smtp::{Answer, SmtpServer};
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE};
use system_tests::watch;

const CUSTOMER: &str = "customer-service";
const CRM: &str = "crm-service";
const MAIL: &str = "mail-service";
/// Who takes part in welcoming a customer.
const WELCOMING: [&str; 6] = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY, CUSTOMER, CRM, MAIL];
/// Longer than spans wait until they are sent (5 s), on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The test's own span, in which it asks.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// The part of the shop that writes mails, with these arguments for all and these for mail-service.
async fn shop(all: &[&str], mail: &[&str]) -> System {
    let mut arguments: Vec<(&str, &[&str])> = WELCOMING.map(|name| (name, all)).into();
    arguments.push((MAIL, mail));
    System::with_arguments(PrivateRedis::start_durable(), &WELCOMING, &arguments).await.unwrap()
}

/// Creates a customer, who gets a mail, within the test's span.
async fn welcome(system: &System, flags: &str) {
    let request = reqwest::Client::new()
        .post(format!("{}/customer", system.url(GATEWAY).unwrap()))
        .header("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"))
        .json(&json!({ "name": "ann", "email": "ann@example.com" }));
    let status = request.send().await.unwrap().status();
    assert_eq!(status, StatusCode::OK);
}

async fn done(system: &System) {
    let clients = system.clients().unwrap();
    watch::until("everything to be done", PATIENCE, || async {
        let mails = event(system, "mail").await;
        ensure!(mails.is_some(), "no mail");
        quiet::check(&clients).await
    })
    .await
    .unwrap();
}

/// The first event of a topic.
async fn event(system: &System, topic: &str) -> Option<Event> {
    let request = ReadRequest { topic: topic.to_owned(), ..ReadRequest::default() };
    let mut events = system.clients().unwrap().store.read(request).await.ok()?.into_inner();
    events.message().await.ok()??.event?.event
}

/// The only span of a service with this name and kind.
fn one<'a>(spans: &'a [Seen], service: &str, name: &str, kind: SpanKind) -> &'a Seen {
    let found: Vec<_> = all(spans, service, name, kind);
    assert_eq!(found.len(), 1, "{service}: {name} in\n{}", tree(spans, SPAN));
    found[0]
}

fn all<'a>(spans: &'a [Seen], service: &str, name: &str, kind: SpanKind) -> Vec<&'a Seen> {
    let wanted = |span: &&Seen| span.service == service && span.name == name && span.kind == kind;
    spans.iter().filter(wanted).collect()
}

/// Waits until the whole trace is there: every span's parent, the answer to every call, and one that
/// handled the mail well. Each service sends what it has when it is time.
async fn whole_trace(collector: &Collector) -> Vec<Seen> {
    watch::until("the whole trace", PATIENCE, || async {
        let spans = collector.trace(TRACE);
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
        for span in &spans {
            let parent = span.parent.as_str();
            ensure!(parent == SPAN || ids.contains(parent), "no parent of {span:?}");
            let answered = spans.iter().any(|other| other.parent == span.id);
            ensure!(span.kind != SpanKind::Client || answered, "no answer to {span:?}");
        }
        let mut mails = all(&spans, MAIL, "process mail-service", SpanKind::Consumer).into_iter();
        ensure!(mails.any(|span| !span.failed), "no mail in\n{}", tree(&spans, SPAN));
        let first = spans.iter().find(|span| span.parent == SPAN);
        ensure!(first.is_some(), "not where it began");
        Ok(spans)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn one_request_is_one_trace_from_the_gateway_to_the_mail() {
    let collector = Collector::start().await.unwrap();
    let traced = ["--otlp-endpoint", collector.url(), "--trace-sample", "1.0"];
    let system = shop(&traced, &[]).await;
    welcome(&system, "01").await;
    done(&system).await;
    let spans = whole_trace(&collector).await;
    eprintln!("{}", tree(&spans, SPAN));

    // A tree whose root is the request, and everybody is in it.
    let top: Vec<_> = spans.iter().filter(|span| span.parent == SPAN).collect();
    assert_eq!(top.len(), 1, "{top:#?}");
    assert_eq!((top[0].service.as_str(), top[0].kind), (GATEWAY, SpanKind::Server));
    assert_eq!(top[0].name, "POST /customer");
    assert_eq!(top[0].attributes["http.response.status_code"], "200");
    let lines = tree(&spans, SPAN);
    assert_eq!(lines.lines().count(), spans.len(), "a circle, or a span twice:\n{lines}");
    let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(WELCOMING));
    assert!(spans.iter().all(|span| !span.failed), "{lines}");

    // Whoever handles something is a child of whoever sent it, and linked to it.
    let asks = one(&spans, GATEWAY, "send customer-service", SpanKind::Producer);
    assert_eq!(asks.parent, top[0].id);
    let creates = one(&spans, CUSTOMER, "process customer-service", SpanKind::Consumer);
    let created = one(&spans, CUSTOMER, "send customer", SpanKind::Producer);
    let reacts = one(&spans, CRM, "process customer", SpanKind::Consumer);
    let writes = one(&spans, CRM, "send mail-service", SpanKind::Producer);
    let mails = one(&spans, MAIL, "process mail-service", SpanKind::Consumer);
    let mailed = one(&spans, MAIL, "send mail", SpanKind::Producer);
    for (sender, handler) in [(asks, creates), (created, reacts), (writes, mails)] {
        assert_eq!((&handler.parent, &handler.links), (&sender.id, &vec![sender.id.clone()]));
        assert_eq!(
            handler.attributes["messaging.destination.name"],
            sender.attributes["messaging.destination.name"]
        );
    }
    for (handler, sender) in [(creates, created), (reacts, writes), (mails, mailed)] {
        assert_eq!(sender.parent, handler.id, "{lines}");
    }

    // Calls: each that a front service answered is a child of the one that was made.
    let calls = spans.iter().filter(|span| span.kind == SpanKind::Server && span.id != top[0].id);
    let mut answered = BTreeSet::new();
    for call in calls {
        let made = spans.iter().find(|span| span.id == call.parent).unwrap();
        assert_eq!((made.kind, &made.name), (SpanKind::Client, &call.name), "{lines}");
        answered.insert((call.service.as_str(), call.name.as_str()));
    }
    for call in [
        (MESSAGE_QUEUE, "messagequeue.v1.MessageQueue/Call"),
        (MESSAGE_QUEUE, "messagequeue.v1.MessageQueue/Reply"),
        (MESSAGE_QUEUE, "messagequeue.v1.MessageQueue/Send"),
        (EVENT_STORE, "eventstore.v1.EventStore/Append"),
        (EVENT_STORE, "eventstore.v1.EventStore/Read"),
    ] {
        assert!(answered.contains(&call), "{call:?}\n{lines}");
    }

    // What is stored names who sent it, for whoever reads it next year.
    for (topic, sender) in [("customer", created), ("mail", mailed)] {
        let headers = event(&system, topic).await.unwrap().headers;
        assert_eq!(headers["traceparent"], format!("00-{TRACE}-{}-01", sender.id), "{topic}");
    }
}

#[tokio::test]
async fn each_attempt_is_a_span_and_the_log_names_its_trace() {
    let (collector, server) =
        (Collector::start().await.unwrap(), SmtpServer::start().await.unwrap());
    server.answer(Answer::Refuse("451 4.3.0 not now"));
    let traced = ["--otlp-endpoint", collector.url(), "--trace-sample", "1.0"];
    let smtp = server.url();
    let system = shop(&traced, &["--smtp-url", &smtp, "--mail-retry", "50ms"]).await;
    welcome(&system, "01").await;
    watch::until("a refusal", PATIENCE, || async {
        ensure!(server.refused() > 0, "none yet");
        Ok(())
    })
    .await
    .unwrap();
    server.answer(Answer::Take);
    done(&system).await;
    let spans = whole_trace(&collector).await;
    eprintln!("{}", tree(&spans, SPAN));

    let attempts = all(&spans, MAIL, "process mail-service", SpanKind::Consumer);
    let (failed, well): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|span| span.failed);
    assert_eq!((failed.len(), well.len()), (server.refused(), 1));
    let writes = one(&spans, CRM, "send mail-service", SpanKind::Producer);
    assert!(failed.iter().all(|span| span.parent == writes.id));
    let log = system.log(MAIL).unwrap();
    let line = log.lines().find(|line| line.contains("the mail was not taken")).unwrap();
    let ids = format!("trace_id={TRACE} span_id=");
    assert!(line.contains(&ids), "{line}");
    assert!(failed.iter().any(|span| line.contains(&format!("{ids}{}", span.id))), "{line}");
    // The mail itself is the same each time, so it names who had it written.
    let received = server.wait_for(1, PATIENCE).await.unwrap();
    let header = received[0].header("traceparent").unwrap();
    assert_eq!(header, format!("00-{TRACE}-{}-01", writes.id));
}

#[tokio::test]
async fn what_a_client_does_not_record_is_not_recorded_and_stays_one_trace() {
    let collector = Collector::start().await.unwrap();
    let traced = ["--otlp-endpoint", collector.url(), "--trace-sample", "1.0"];
    let mut system = shop(&traced, &[]).await;
    welcome(&system, "00").await;
    done(&system).await;
    for topic in ["customer", "mail"] {
        let headers = event(&system, topic).await.unwrap().headers;
        assert_eq!(headers["traceparent"], format!("00-{TRACE}-{SPAN}-00"), "{topic}");
    }
    // At their end services send what they have.
    for name in WELCOMING.into_iter().rev() {
        assert!(system.stop(name).await.unwrap().success(), "{name}");
    }
    assert!(collector.trace(TRACE).is_empty(), "{}", tree(&collector.trace(TRACE), SPAN));
    assert!(collector.count() > 0, "streams of the workers are traces of their own");
}
