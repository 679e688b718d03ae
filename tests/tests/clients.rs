//! The example clients of `clients/`, in four languages: what one writes the others read and
//! consume, a worker in one answers calls from another, and all of them go on where they were when
//! Redis is killed and the network is cut.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use proto::eventstore::v1::{GetGroupRequest, TruncateTopicRequest, truncate_topic_request};
use redis_link::test_util::proxy::Proxy;
use serde_json::{Value, json};
use system_tests::clients::Clients;
use system_tests::example::{Addresses, Example, LANGUAGES};
use system_tests::programs;
use system_tests::readers::whole_topic;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};
use system_tests::watch;

/// On a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "clients";
/// Events that each writer appends before the outage, and again as many in it.
const HALF: usize = 5;

fn direct(system: &System, name: &str) -> String {
    system.url(name).unwrap().replace("http://", "")
}

fn addresses(system: &System) -> Addresses {
    let [event_store, message_queue] =
        [EVENT_STORE, MESSAGE_QUEUE].map(|name| direct(system, name));
    Addresses { event_store, message_queue }
}

/// A network between the clients and both services.
struct Network(Proxy, Proxy);

impl Network {
    async fn before(system: &System) -> Self {
        let to = addresses(system);
        Self(Proxy::start(&to.event_store).await, Proxy::start(&to.message_queue).await)
    }

    fn addresses(&self) -> Addresses {
        let [event_store, message_queue] =
            [&self.0, &self.1].map(|proxy| format!("127.0.0.1:{}", proxy.port()));
        Addresses { event_store, message_queue }
    }

    fn cut(&self) {
        self.0.cut();
        self.1.cut();
    }

    fn heal(&self) {
        self.0.heal();
        self.1.heal();
    }
}

/// One of each kind in one language; all run through all rounds.
struct Crew {
    language: &'static str,
    subscriber: Example,
    consumer: Example,
    worker: Example,
    caller: Example,
}

impl Crew {
    /// Each has a group of its own, and calls the worker of the next language.
    fn start(index: usize, at: &Addresses, positions: &Path) -> Self {
        let language = LANGUAGES[index];
        let position = positions.join(language);
        let start = |args: &[&str]| Example::start(language, at, args).unwrap();
        let other = format!("sums-{}", LANGUAGES[(index + 1) % LANGUAGES.len()]);
        Self {
            language,
            subscriber: start(&["subscribe", TOPIC, position.to_str().unwrap()]),
            consumer: start(&["consume", TOPIC, language]),
            worker: start(&["work", &format!("sums-{language}")]),
            caller: start(&["call", &other]),
        }
    }

    /// Everything up to this event was seen and handled, each once.
    async fn has_seen(&self, count: usize) {
        self.subscriber.says("position", count, PATIENCE).await.unwrap();
        self.consumer.says("handled", count, PATIENCE).await.unwrap();
        let all: Vec<u64> = (1..=u64::try_from(count).unwrap()).collect();
        assert_eq!(self.subscriber.sequences("position"), all, "{}", self.language);
        let mut handled = self.consumer.sequences("handled");
        handled.sort_unstable();
        assert_eq!(handled, all, "{}: {:#?}", self.language, self.consumer.said());
    }

    /// SIGTERM ends each that lasts, with nothing in hand.
    async fn stop(self, clients: &Clients) {
        let all_acked = async || {
            let (topic, group) = (TOPIC.to_owned(), self.language.to_owned());
            let request = GetGroupRequest { topic, group };
            let told = clients.groups.clone().get_group(request).await?.into_inner().group.unwrap();
            anyhow::ensure!(told.lag + told.pending + told.parked == 0, "{told:?}");
            Ok(())
        };
        watch::until("all acks", PATIENCE, all_acked).await.unwrap();
        for example in [self.subscriber, self.consumer, self.worker] {
            let (status, said) = example.stop().await.unwrap();
            assert!(status.success(), "{}: {status} after {said:#?}", self.language);
            assert_eq!(said.last(), Some(&json!({ "stopped": true })), "{}", self.language);
        }
        let (status, said) = self.caller.finish().await.unwrap();
        assert!(status.success(), "{}: {status} after {said:#?}", self.language);
    }
}

/// One writes; in the middle Redis is killed and the network is cut.
async fn round(system: &mut System, network: &Network, index: usize, crew: &mut [Crew]) {
    let language = LANGUAGES[index];
    let at = network.addresses();
    let mut writer = Example::start(language, &at, &["append", TOPIC, "line", language]).unwrap();
    for number in 0..HALF {
        writer.tell(&format!("{language} {number}")).await.unwrap();
    }
    writer.says("appended", HALF, PATIENCE).await.unwrap();
    for one in &*crew {
        one.has_seen((2 * index + 1) * HALF).await;
    }

    system.redis().kill9();
    for number in HALF..2 * HALF {
        writer.tell(&format!("{language} {number}")).await.unwrap();
    }
    for one in &mut *crew {
        one.caller.tell(&format!("[{index}, 2]")).await.unwrap();
    }
    writer.says("retrying", 1, PATIENCE).await.unwrap();
    network.cut();
    system.redis().restart();
    system.ready(EVENT_STORE).await.unwrap();
    system.ready(MESSAGE_QUEUE).await.unwrap();
    network.heal();

    writer.says("appended", 2 * HALF, PATIENCE).await.unwrap();
    let (status, said) = writer.finish().await.unwrap();
    assert!(status.success(), "{language}: {status} after {said:#?}");
    for one in crew {
        one.has_seen(2 * HALF * (index + 1)).await;
        one.caller.says("reply", index + 1, PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_languages_read_consume_and_answer_each_other_through_outages() {
    let mut system = System::services().await.unwrap();
    let network = Network::before(&system).await;
    let positions = tempfile::tempdir().unwrap();
    let at = network.addresses();
    let start = |index| Crew::start(index, &at, positions.path());
    let mut crew: Vec<Crew> = (0..LANGUAGES.len()).map(start).collect();
    for index in 0..LANGUAGES.len() {
        round(&mut system, &network, index, &mut crew).await;
    }

    let written = LANGUAGES
        .iter()
        .flat_map(|language| (0..2 * HALF).map(move |number| format!("{language} {number}")));
    let written: Vec<String> = written.collect();
    let clients = system.clients().unwrap();
    assert_eq!(whole_topic(&clients, TOPIC).await.unwrap(), written);
    for one in crew {
        // Its stream was cut while it had it, and it went on after the last event that it saw.
        assert!(!one.subscriber.all("resuming").is_empty(), "{}", one.language);
        assert!(!one.consumer.all("resuming").is_empty(), "{}", one.language);
        let replies: Vec<Value> =
            (0..LANGUAGES.len()).map(|sum| json!((sum + 2).to_string())).collect();
        assert_eq!(one.caller.all("reply"), replies, "{}", one.language);
        assert!(!one.worker.all("answered").is_empty(), "{}", one.language);
        let read = Example::start(one.language, &at, &["read", TOPIC]).unwrap();
        let (status, events) = read.finish().await.unwrap();
        assert!(status.success(), "{}", one.language);
        let texts: Vec<&str> = events.iter().filter_map(|event| event["text"].as_str()).collect();
        assert_eq!(texts, written, "{}", one.language);
        one.stop(&clients).await;
    }
}

/// Appends lines as events of a type, and answers their positions.
async fn append(
    language: &str,
    at: &Addresses,
    topic: &str,
    kind: &str,
    lines: &[&str],
) -> Vec<String> {
    let mut writer = Example::start(language, at, &["append", topic, kind]).unwrap();
    for line in lines {
        writer.tell(line).await.unwrap();
    }
    let (status, said) = writer.finish().await.unwrap();
    assert!(status.success(), "{language}: {said:#?}");
    let position = |line: &Value| line["position"].as_str().map(str::to_owned);
    said.iter().filter_map(position).collect()
}

/// What the error of a command says.
async fn error(language: &str, at: &Addresses, args: &[&str], input: &[&str]) -> Value {
    let mut example = Example::start(language, at, args).unwrap();
    for line in input {
        example.tell(line).await.unwrap();
    }
    let (status, said) = example.finish().await.unwrap();
    assert_eq!(status.code(), Some(1), "{language}: {said:#?}");
    said.last().unwrap()["error"].clone()
}

/// A subscriber that remembers a place which is not there any more starts over.
async fn starts_over(
    language: &str,
    at: &Addresses,
    topic: &str,
    position: &str,
    why: &str,
    left: u64,
) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("position");
    std::fs::write(&file, position).unwrap();
    let args = ["subscribe", topic, file.to_str().unwrap()];
    let subscriber = Example::start(language, at, &args).unwrap();
    subscriber.says("caught_up", 1, PATIENCE).await.unwrap();
    assert_eq!(subscriber.all("starting_over"), [json!(why)], "{language}");
    assert_eq!(subscriber.sequences("position"), [left], "{language}");
    subscriber.stop().await.unwrap();
    assert_ne!(std::fs::read_to_string(&file).unwrap(), position, "{language}");
}

async fn tells_what_goes_wrong(language: &str, at: &Addresses, clients: &Clients) {
    let missing = error(language, at, &["read", &format!("no-{language}")], &[]).await;
    assert_eq!(missing["reason"], "TOPIC_NOT_FOUND", "{language}: {missing}");
    assert_eq!(missing["metadata"]["topic"], format!("no-{language}"));
    let late = error(language, at, &["call", &format!("nobody-{language}"), "1"], &["[1]"]).await;
    assert_eq!(late["reason"], "CALL_TIMEOUT", "{language}: {late}");
    assert_eq!(late["metadata"]["state"], "withdrawn", "{language}: {late}");

    // One event fails once and is handled then, one is parked at once.
    let topic = &format!("failing-{language}");
    append(language, at, topic, "flaky", &["a"]).await;
    append(language, at, topic, "poison", &["b"]).await;
    let consumer = Example::start(language, at, &["consume", topic, "group"]).unwrap();
    consumer.says("handled", 1, PATIENCE).await.unwrap();
    consumer.says("parked", 1, PATIENCE).await.unwrap();
    assert_eq!(consumer.sequences("nacked"), [1], "{language}");
    let handled = consumer.said().into_iter().find(|line| line.get("handled").is_some()).unwrap();
    assert_eq!(
        (handled["sequence"].as_u64(), handled["delivery_count"].as_u64()),
        (Some(1), Some(2))
    );
    consumer.stop().await.unwrap();
    let request = GetGroupRequest { topic: topic.clone(), group: "group".to_owned() };
    let group =
        clients.groups.clone().get_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!((group.parked, group.pending), (1, 0), "{language}");

    // Retention has removed what would come next; or the topic never got so far.
    let topic = &format!("trimmed-{language}");
    let positions = append(language, at, topic, "line", &["a", "b", "c"]).await;
    let before = truncate_topic_request::Before::BeforePosition(positions[2].clone());
    let truncate = TruncateTopicRequest { topic: topic.clone(), before: Some(before) };
    clients.topics.clone().truncate_topic(truncate).await.unwrap();
    starts_over(language, at, topic, &positions[0], "POSITION_TRIMMED", 3).await;
    starts_over(language, at, topic, "9999999999999-9", "POSITION_BEYOND_HEAD", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told_by_reason() {
    let system = System::services().await.unwrap();
    let (at, clients) = (addresses(&system), system.clients().unwrap());
    let all = LANGUAGES.map(|language| tells_what_goes_wrong(language, &at, &clients));
    futures::future::join_all(all).await;
}

#[test]
fn the_page_of_the_first_consumer_shows_the_program() {
    let read = |path: &str| std::fs::read_to_string(programs::repository().join(path)).unwrap();
    let page = read("docs/first-consumer.md");
    let shown = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown, read("clients/python/first_consumer.py"));
}
