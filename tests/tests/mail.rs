//! Mails: handed to an SMTP server once, tried again when it refuses, kept as dead letters and
//! redriven; with the CRM away for a whole scenario; and the trace of a request up to the mail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use domain_svcs::scenario::{Options, play};
use proto::eventstore::v1::{ReadRequest, RecordedEvent};
use proto::messagequeue::v1::{
    DeadLetter, ListDeadLettersRequest, MessageState, PauseQueueRequest, PeekMessagesRequest,
    RedriveDeadLettersRequest, ResumeQueueRequest,
};
use serde_json::{Value, json};
use system_tests::quiet;
use system_tests::smtp::{Answer, SmtpServer};
use system_tests::system::System;
use system_tests::topology::GATEWAY;
use system_tests::watch;

const PATIENCE: Duration = Duration::from_secs(60);
const MAIL: &str = "mail-service";
const CRM: &str = "crm-service";

/// A shop that sends its mails to `server`, and is quick to try again.
async fn shop(server: &SmtpServer, more: &[&str]) -> System {
    let url = server.url();
    let args = ["--smtp-url", &url, "--mail-retry", "50ms", "--mail-retry-longest", "1s"];
    System::shop_with(&[(MAIL, &[&args[..], more].concat())]).await.unwrap()
}

async fn new_customer(system: &System, name: &str) -> String {
    let customer = json!({ "name": name, "email": format!("{name}@example.com") });
    let http = reqwest::Client::new();
    let url = format!("{}/customer", system.url(GATEWAY).unwrap());
    let answer: Value = http.post(url).json(&customer).send().await.unwrap().json().await.unwrap();
    answer["result"][0].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn events(system: &System, topic: &str) -> Vec<RecordedEvent> {
    let request = ReadRequest { topic: topic.to_owned(), ..ReadRequest::default() };
    let mut stream = match system.clients().unwrap().store.read(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) if status.code() == tonic::Code::NotFound => return Vec::new(),
        Err(status) => panic!("{status}"),
    };
    let mut events = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        events.push(answer.event.unwrap());
    }
    events
}

async fn done(system: &System) {
    let clients = system.clients().unwrap();
    watch::until("everything to be done", PATIENCE, || quiet::check(&clients)).await.unwrap();
}

async fn dead_letters(system: &System) -> Vec<DeadLetter> {
    let request =
        ListDeadLettersRequest { queue: MAIL.to_owned(), ..ListDeadLettersRequest::default() };
    let answer = system.clients().unwrap().queues.list_dead_letters(request).await.unwrap();
    answer.into_inner().dead_letters
}

#[tokio::test]
async fn a_refused_mail_is_tried_again_then_set_aside_and_can_be_redriven() {
    let server = SmtpServer::start().await.unwrap();
    let system = shop(&server, &["--mail-attempts", "3"]).await;
    server.answer(Answer::Refuse("550 5.1.1 no such user here"));
    new_customer(&system, "ann").await;
    let dead = watch::until("a dead letter", PATIENCE, || async {
        let dead = dead_letters(&system).await;
        anyhow::ensure!(!dead.is_empty(), "none, and {} refusals", server.refused());
        Ok(dead)
    })
    .await
    .unwrap();
    assert_eq!((server.refused(), server.received().len()), (3, 0));
    assert_eq!((dead.len(), dead[0].attempts), (1, 3));
    assert!(dead[0].last_error.contains("550"), "{}", dead[0].last_error);
    assert!(events(&system, "mail").await.is_empty(), "recorded as sent, but it was refused");

    server.answer(Answer::Take);
    let request = RedriveDeadLettersRequest {
        queue: MAIL.to_owned(),
        ..RedriveDeadLettersRequest::default()
    };
    let redriven = system.clients().unwrap().queues.redrive_dead_letters(request).await.unwrap();
    assert_eq!(redriven.into_inner().redriven, 1);
    let received = server.wait_for(1, PATIENCE).await.unwrap();
    assert_eq!(received[0].to, "ann@example.com");
    done(&system).await;
    assert_eq!(events(&system, "mail").await.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_away_delays_mails_and_loses_none() {
    let mut server = SmtpServer::start().await.unwrap();
    let system = shop(&server, &[]).await;
    server.go_away().await;
    for name in ["ann", "ben", "cem"] {
        new_customer(&system, name).await;
    }
    watch::until("an attempt", PATIENCE, || async {
        let log = system.log(MAIL)?;
        anyhow::ensure!(log.contains("the mail was not taken"), "none yet");
        Ok(())
    })
    .await
    .unwrap();
    assert!(events(&system, "mail").await.is_empty());
    server.listen().await.unwrap();
    server.wait_for(3, PATIENCE).await.unwrap();
    done(&system).await;
    let mut to: Vec<_> = server.received().into_iter().map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, ["ann@example.com", "ben@example.com", "cem@example.com"]);
    assert_eq!(events(&system, "mail").await.len(), 3);
}

/// The service dies after the server has taken a mail, and before it is recorded: the one moment
/// in which a mail is sent again. It is the same to the byte, and recorded once.
#[tokio::test]
async fn a_mail_that_has_to_be_sent_again_is_recognised_by_its_message_id() {
    let server = SmtpServer::start().await.unwrap();
    let mut system = shop(&server, &[]).await;
    server.answer(Answer::Silence);
    new_customer(&system, "ann").await;
    server.wait_for(1, PATIENCE).await.unwrap();
    system.kill9(MAIL).await.unwrap();
    server.answer(Answer::Take);
    system.start(MAIL).await.unwrap();
    let received = server.wait_for(2, PATIENCE).await.unwrap();
    assert_eq!(received[0], received[1]);
    assert!(received[0].header("Message-ID").unwrap().ends_with("@ordershop.example>"));
    done(&system).await;
    assert_eq!((server.received().len(), events(&system, "mail").await.len()), (2, 1));
}

#[tokio::test]
async fn the_password_is_seen_nowhere() {
    const PASSWORD: &str = "correct-horse-battery";
    let server = SmtpServer::start().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PASSWORD).unwrap();
    let file = file.path().to_str().unwrap();
    let system = shop(
        &server,
        &["--smtp-user", "shop", "--smtp-password-file", file, "--log-level", "trace"],
    )
    .await;
    new_customer(&system, "ann").await;
    server.wait_for(1, PATIENCE).await.unwrap();
    // It was used: base64 of "\0shop\0correct-horse-battery".
    let login = "AHNob3AAY29ycmVjdC1ob3JzZS1iYXR0ZXJ5";
    assert_eq!(server.logins(), [login]);
    let log = system.log(MAIL).unwrap();
    assert!(log.contains("TRACE"), "it logs everything");
    assert!(!log.contains(PASSWORD) && !log.contains(login), "the log has the password");
    let pid = system.pid(MAIL).unwrap();
    let command_line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command_line.contains("--smtp-user") && !command_line.contains(PASSWORD));
    let help = std::process::Command::new(system_tests::programs::program(MAIL).unwrap())
        .arg("--help")
        .env("SMTP_PASSWORD", PASSWORD)
        .env("SMTP_URL", format!("smtp://shop:{PASSWORD}@mail.example.com"))
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("--smtp-url") && !help.contains(PASSWORD), "{help}");
}

#[tokio::test]
async fn a_trace_goes_from_the_request_to_the_mail() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let server = SmtpServer::start().await.unwrap();
    let system = shop(&server, &[]).await;
    let queues = system.clients().unwrap().queues;
    for queue in ["customer-service", MAIL] {
        let request = PauseQueueRequest { queue: queue.to_owned() };
        queues.clone().pause_queue(request).await.unwrap();
    }
    let customer = json!([{ "name": "Ann", "email": "ann@example.com" }]);
    let url = format!("{}/customers", system.url(GATEWAY).unwrap());
    let answer = reqwest::Client::new()
        .post(url)
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .json(&customer)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());

    let mut way = BTreeMap::new();
    for queue in ["customer-service", MAIL] {
        let headers = watch::until("a command", PATIENCE, || async {
            let request = PeekMessagesRequest {
                queue: queue.to_owned(),
                state: MessageState::Ready.into(),
                ..PeekMessagesRequest::default()
            };
            let messages = queues.clone().peek_messages(request).await?.into_inner().messages;
            let message = messages.into_iter().next().and_then(|peeked| peeked.message);
            Ok(message.ok_or_else(|| anyhow::anyhow!("nothing in {queue}"))?.headers)
        })
        .await
        .unwrap();
        way.insert(format!("queue {queue}"), headers.get("traceparent").cloned());
        let request = ResumeQueueRequest { queue: queue.to_owned() };
        queues.clone().resume_queue(request).await.unwrap();
    }
    let received = server.wait_for(1, PATIENCE).await.unwrap();
    way.insert("mail".to_owned(), received[0].header("traceparent").map(str::to_owned));
    done(&system).await;
    for topic in ["customer", "mail"] {
        let event = events(&system, topic).await.remove(0).event.unwrap();
        way.insert(format!("topic {topic}"), event.headers.get("traceparent").cloned());
    }
    assert_eq!(way.len(), 5);
    for (place, traceparent) in way {
        let traceparent = traceparent.unwrap_or_else(|| panic!("no trace in {place}"));
        assert_eq!(traceparent.split('-').nth(1), Some(TRACE), "{place}");
    }
}

/// The chapters of a customer's story, in their order.
fn chapter(msg: &str) -> usize {
    ["Welcome", "is in stock", "Thank you for paying", "is on its way"]
        .iter()
        .position(|words| msg.contains(words))
        .unwrap_or_else(|| panic!("a mail of no chapter: {msg}"))
}

#[tokio::test]
async fn a_crm_that_was_away_writes_every_mail_in_the_order_of_each_customers_story() {
    let mut system = System::shop().await.unwrap();
    assert!(system.stop(CRM).await.unwrap().success());
    let options = Options {
        url: system.url(GATEWAY).unwrap(),
        patience: PATIENCE,
        mails: false,
        ..Options::default()
    };
    let played = play(&options, |_| {}).await.unwrap();
    assert!(events(&system, "mail").await.is_empty(), "somebody else writes mails");
    system.start(CRM).await.unwrap();
    watch::until("the mails", PATIENCE, || async {
        let there = events(&system, "mail").await.len();
        anyhow::ensure!(there >= played.mails, "{there} of {}", played.mails);
        Ok(())
    })
    .await
    .unwrap();
    done(&system).await;

    let mut stories: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for event in events(&system, "mail").await {
        let Some(proto::eventstore::v1::event::Data::TextData(text)) = event.event.unwrap().data
        else {
            panic!("a mail is text");
        };
        let mail: Value = serde_json::from_str(&text).unwrap();
        let to = mail["to"].as_str().unwrap().to_owned();
        stories.entry(to).or_default().push(chapter(mail["msg"].as_str().unwrap()));
    }
    assert_eq!(stories.values().map(Vec::len).sum::<usize>(), 22);
    assert_eq!(stories.len(), 10);
    for (customer, story) in &stories {
        let whole = if customer.starts_with("customer0@") { vec![0, 1, 2, 3] } else { vec![0, 1] };
        assert_eq!(story, &whole, "{customer}");
    }
}
