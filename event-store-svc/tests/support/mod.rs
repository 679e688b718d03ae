//! A real service on a real Redis, and short ways to ask it things.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_imports,
    reason = "tests use what they need of it, and fail loudly"
)]

pub mod account;
pub mod consumer;
pub mod load;
pub mod raw;
pub mod replica;
pub mod stream_writer;

use std::time::Duration;

use clap::Parser as _;
use event_store_svc::config::Config;
use proto::eventstore::v1::consumer_groups_client::ConsumerGroupsClient;
use proto::eventstore::v1::event::Data;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::topics_client::TopicsClient;
use proto::eventstore::v1::*;
use redis_link::test_util::PrivateRedis;
use svc_runtime::rpc_error::ErrorFacts;
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

pub struct Service {
    pub url: String,
    pub channel: Channel,
    pub shutdown: Shutdown,
    pub ended: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    /// A replica over this Redis, once it is ready.
    pub async fn start(redis: &PrivateRedis) -> Self {
        Self::start_with(redis, &[]).await
    }

    pub async fn start_with(redis: &PrivateRedis, flags: &[&str]) -> Self {
        Self::start_at(&redis.url(), flags).await
    }

    /// A replica over the Redis at this address.
    pub async fn start_at(redis_url: &str, flags: &[&str]) -> Self {
        let own = ["event-store-svc", "--redis-url", redis_url];
        let admin = if flags.contains(&"--admin-listen") {
            [].as_slice()
        } else {
            &["--admin-listen", "off"]
        };
        let args = own.iter().chain(admin).chain(flags).copied();
        let config = Config::parse_from(args);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let ended = tokio::spawn(svc_front::run(config, listener, shutdown.clone()));
        let channel = svc_runtime::client::channel(&url, 1).unwrap();
        let service = Self { url, channel, shutdown, ended };
        service.ready().await;
        service
    }

    /// Waits until it can reach Redis.
    pub async fn ready(&self) {
        let mut topics = self.topics();
        let ready = async {
            // Who has to say who it is learns that at once.
            while topics
                .list_topics(ListTopicsRequest::default())
                .await
                .is_err_and(|status| status.code() != Code::Unauthenticated)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ready)
            .await
            .expect("the service is not ready");
    }

    pub fn store(&self) -> EventStoreClient<Channel> {
        EventStoreClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub fn groups(&self) -> ConsumerGroupsClient<Channel> {
        ConsumerGroupsClient::new(self.channel.clone())
    }

    pub fn topics(&self) -> TopicsClient<Channel> {
        TopicsClient::new(self.channel.clone())
    }

    pub async fn append(&self, topic: &str, events: Vec<Event>) -> Result<AppendResponse, Status> {
        self.append_expecting(topic, events, Vec::new()).await
    }

    pub async fn append_expecting(
        &self,
        topic: &str,
        events: Vec<Event>,
        expectations: Vec<Expectation>,
    ) -> Result<AppendResponse, Status> {
        let request = AppendRequest { topic: topic.into(), events, expectations, durability: 0 };
        Ok(self.store().append(request).await?.into_inner())
    }

    pub async fn read(&self, request: ReadRequest) -> Result<Vec<RecordedEvent>, Status> {
        let mut stream = self.store().read(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(item) = stream.message().await? {
            events.push(item.event.unwrap());
        }
        Ok(events)
    }

    pub async fn read_all(&self, topic: &str) -> Vec<RecordedEvent> {
        self.read(ReadRequest { topic: topic.into(), ..Default::default() }).await.unwrap()
    }

    pub async fn subscribe(
        &self,
        topic: &str,
        start: Option<Start>,
    ) -> Streaming<SubscribeResponse> {
        let topics = vec![TopicStart { topic: topic.into(), start }];
        let request = SubscribeRequest { topics, ..Default::default() };
        self.store().subscribe(request).await.unwrap().into_inner()
    }

    pub async fn create_group(&self, topic: &str, group: &str, settings: GroupSettings) -> Group {
        let request = CreateGroupRequest {
            topic: topic.into(),
            group: group.into(),
            settings: Some(settings),
        };
        self.groups().create_group(request).await.unwrap().into_inner().group.unwrap()
    }

    pub async fn group(&self, topic: &str, group: &str) -> Group {
        let request = GetGroupRequest { topic: topic.into(), group: group.into() };
        self.groups().get_group(request).await.unwrap().into_inner().group.unwrap()
    }

    pub async fn fetch(&self, topic: &str, group: &str, max: u32, wait_ms: u64) -> Vec<Delivery> {
        let request = FetchRequest {
            topic: topic.into(),
            group: group.into(),
            consumer: "worker".into(),
            max_events: Some(max),
            wait: Some(millis(wait_ms)),
        };
        self.groups().fetch(request).await.unwrap().into_inner().deliveries
    }

    pub async fn ack(&self, topic: &str, group: &str, receipts: &[&Delivery]) -> Vec<Outcome> {
        let receipts = receipts.iter().map(|delivery| delivery.receipt.clone()).collect();
        let request = AckRequest { topic: topic.into(), group: group.into(), receipts };
        self.groups().ack(request).await.unwrap().into_inner().outcomes
    }

    pub async fn nack(
        &self,
        topic: &str,
        group: &str,
        delivery: &Delivery,
        action: NackAction,
        delay: Option<u64>,
    ) -> Vec<Outcome> {
        let request = NackRequest {
            topic: topic.into(),
            group: group.into(),
            receipts: vec![delivery.receipt.clone()],
            action: action.into(),
            delay: delay.map(millis),
            reason: "because".into(),
        };
        self.groups().nack(request).await.unwrap().into_inner().outcomes
    }
}

/// Everything that is in Redis.
pub fn contents(redis: &PrivateRedis) -> Vec<(String, String)> {
    let mut keys: Vec<_> = redis.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect();
    keys.sort();
    keys.into_iter().map(|key| (redis.cli(&["DUMP", &key]), key)).collect()
}

pub fn millis(ms: u64) -> prost_types::Duration {
    Duration::from_millis(ms).try_into().unwrap()
}

pub fn event(id: &str, subject: &str) -> Event {
    Event {
        id: (!id.is_empty()).then(|| id.to_owned()),
        r#type: "created".into(),
        subject: (!subject.is_empty()).then(|| subject.to_owned()),
        data: Some(Data::TextData(format!("data of {id}"))),
        ..Default::default()
    }
}

pub fn start(at: start::At) -> Option<Start> {
    Some(Start { at: Some(at) })
}

pub fn expect(subject: &str, expected: expectation::Expected) -> Expectation {
    Expectation { subject: subject.into(), expected: Some(expected) }
}

pub fn data(event: &RecordedEvent) -> &str {
    match event.event.as_ref().unwrap().data.as_ref().unwrap() {
        Data::TextData(text) => text,
        Data::BinaryData(_) => panic!("text was expected"),
    }
}

pub fn sequences(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

/// Checks code and reason of an error, and that nothing of Redis is in it.
#[track_caller]
pub fn assert_error(status: &Status, code: Code, reason: &str) -> ErrorFacts {
    let facts = ErrorFacts::of(status).unwrap_or_else(|| panic!("no facts in {status:?}"));
    assert_eq!((status.code(), facts.reason.as_str()), (code, reason), "{status:?}");
    assert_eq!(facts.domain, "eventstore.v1");
    for leak in ["redis:", "EVALSHA", "ERR ", "127.0.0.1"] {
        assert!(!status.message().contains(leak), "{status:?}");
    }
    facts
}
