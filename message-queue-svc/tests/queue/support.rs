//! A service under test, and short ways to say things to it.

use std::time::Duration;

use clap::Parser as _;
use futures::Stream;
use message_queue_svc::config::Config;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::queues_client::QueuesClient;
use proto::messagequeue::v1::{self as pb, message::Body, reply_content};
use redis_link::test_util::PrivateRedis;
use svc_runtime::rpc_error::ErrorFacts;
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Longer than anything here should take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A replica of the service.
pub struct Replica {
    pub mq: MessageQueueClient<Channel>,
    pub queues: QueuesClient<Channel>,
    pub channel: Channel,
    pub url: String,
    pub shutdown: Shutdown,
    pub ended: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    pub async fn start(redis: &PrivateRedis, flags: &[&str]) -> Self {
        Self::start_with(redis, "off", flags).await
    }

    /// With an admin port.
    pub async fn start_with(redis: &PrivateRedis, admin: &str, flags: &[&str]) -> Self {
        let url = redis.url();
        let own = ["mq", "--redis-url", &url, "--redis-connect-timeout", "1s"];
        let all = [&own[..], &["--admin-listen", admin], flags].concat();
        // With RUST_LOG set, what the service has to say is shown.
        if std::env::var_os("RUST_LOG").is_some() {
            let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        }
        let config = Config::try_parse_from(all).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let ended = tokio::spawn(svc_front::run(config, listener, shutdown.clone()));
        let channel = svc_runtime::client::channel(&url, 1).unwrap();
        let mut replica = Self {
            mq: MessageQueueClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            queues: QueuesClient::new(channel.clone()),
            channel,
            url,
            shutdown,
            ended,
        };
        replica.until_it_answers().await;
        replica
    }

    /// Waits until Redis can be reached through it.
    pub async fn until_it_answers(&mut self) {
        let answered = async {
            // Who is not let in does not need to wait.
            while let Err(status) = self.queues.list_queues(pb::ListQueuesRequest::default()).await
                && status.code() != Code::Unauthenticated
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, answered).await.unwrap();
    }

    pub async fn create(&mut self, queue: &str, settings: pb::QueueSettings) {
        let request = pb::CreateQueueRequest { queue: queue.into(), settings: Some(settings) };
        self.queues.create_queue(request).await.unwrap();
    }

    pub async fn send(&mut self, queue: &str, messages: Vec<pb::OutgoingMessage>) -> Vec<String> {
        let sent = self.try_send(queue, messages).await.unwrap();
        sent.results.into_iter().map(|result| result.message_id).collect()
    }

    pub async fn try_send(
        &mut self,
        queue: &str,
        messages: Vec<pb::OutgoingMessage>,
    ) -> Result<pb::SendResponse, Status> {
        let request = pb::SendRequest { queue: queue.into(), messages, durability: 0 };
        Ok(self.mq.send(request).await?.into_inner())
    }

    pub async fn receive(&mut self, queue: &str, max: u32) -> Vec<pb::Delivery> {
        self.receive_for(queue, max, None, 20_000).await
    }

    pub async fn receive_now(&mut self, queue: &str, max: u32) -> Vec<pb::Delivery> {
        self.receive_for(queue, max, None, 0).await
    }

    pub async fn receive_for(
        &mut self,
        queue: &str,
        max: u32,
        lease: Option<u64>,
        wait: u64,
    ) -> Vec<pb::Delivery> {
        let request = pb::ReceiveRequest {
            queue: queue.into(),
            max_messages: Some(max),
            wait: ms(wait),
            lease: lease.and_then(ms),
        };
        self.mq.receive(request).await.unwrap().into_inner().deliveries
    }

    pub async fn ack(&mut self, queue: &str, receipts: &[&str]) -> Vec<Option<String>> {
        let receipts = receipts.iter().map(ToString::to_string).collect();
        let request = pb::AckRequest { queue: queue.into(), receipts };
        reasons(self.mq.ack(request).await.unwrap().into_inner().outcomes)
    }

    pub async fn nack(&mut self, queue: &str, receipt: &str, delay: Option<u64>) {
        let request = pb::NackRequest {
            queue: queue.into(),
            receipts: vec![receipt.into()],
            delay: delay.and_then(ms),
            dead_letter: false,
            reason: "it did not work".into(),
        };
        let outcomes = self.mq.nack(request).await.unwrap().into_inner().outcomes;
        assert_eq!(reasons(outcomes), [None]);
    }

    pub async fn info(&mut self, queue: &str) -> pb::Queue {
        let request = pb::GetQueueRequest { queue: queue.into() };
        self.queues.get_queue(request).await.unwrap().into_inner().queue.unwrap()
    }

    /// Ready, in flight, delayed, dead.
    pub async fn counts(&mut self, queue: &str) -> [u64; 4] {
        let info = self.info(queue).await;
        [info.ready, info.in_flight, info.delayed, info.dead_letters]
    }

    /// Waits until the queue's counts are these.
    pub async fn until_counts(&mut self, queue: &str, wanted: [u64; 4]) {
        let start = tokio::time::Instant::now();
        loop {
            let counts = self.counts(queue).await;
            if counts == wanted {
                return;
            }
            assert!(start.elapsed() < LIMIT, "counts are {counts:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn dead_letters(&mut self, queue: &str) -> Vec<pb::DeadLetter> {
        let request = pb::ListDeadLettersRequest { queue: queue.into(), ..Default::default() };
        self.queues.list_dead_letters(request).await.unwrap().into_inner().dead_letters
    }

    pub async fn consume(
        &mut self,
        queue: &str,
        max_in_flight: u32,
        rest: impl Stream<Item = pb::ConsumeRequest> + Send + 'static,
    ) -> Streaming<pb::ConsumeResponse> {
        use futures::StreamExt as _;
        let open = pb::ConsumeOpen {
            queue: queue.into(),
            max_in_flight: Some(max_in_flight),
            lease: None,
        };
        let open = pb::ConsumeRequest { message: Some(pb::consume_request::Message::Open(open)) };
        let requests = futures::stream::iter([open]).chain(rest);
        self.mq.consume(requests).await.unwrap().into_inner()
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        tokio::time::timeout(LIMIT, self.ended).await.unwrap().unwrap().unwrap();
    }
}

/// One replica and its Redis.
pub async fn start() -> (PrivateRedis, Replica) {
    let redis = PrivateRedis::start();
    let replica = Replica::start(&redis, &[]).await;
    (redis, replica)
}

/// The next delivery of a stream.
pub async fn delivery(stream: &mut Streaming<pb::ConsumeResponse>) -> pb::Delivery {
    loop {
        let response = tokio::time::timeout(LIMIT, stream.message()).await.unwrap();
        match response.unwrap().unwrap().message.unwrap() {
            pb::consume_response::Message::Delivery(delivery) => return delivery,
            pb::consume_response::Message::Heartbeat(_) => {}
            pb::consume_response::Message::Outcome(outcome) => panic!("{outcome:?}"),
        }
    }
}

/// The next outcome of a stream.
pub async fn outcome(stream: &mut Streaming<pb::ConsumeResponse>) -> pb::Outcome {
    loop {
        let response = tokio::time::timeout(LIMIT, stream.message()).await.unwrap();
        match response.unwrap().unwrap().message.unwrap() {
            pb::consume_response::Message::Outcome(outcome) => return outcome,
            pb::consume_response::Message::Heartbeat(_) => {}
            pb::consume_response::Message::Delivery(delivery) => panic!("{delivery:?}"),
        }
    }
}

pub fn ack_of(receipts: &[&str]) -> pb::ConsumeRequest {
    let receipts = receipts.iter().map(ToString::to_string).collect();
    let ack = pb::ConsumeAck { receipts };
    pb::ConsumeRequest { message: Some(pb::consume_request::Message::Ack(ack)) }
}

#[allow(clippy::unnecessary_wraps, reason = "fields of messages are options")]
pub fn ms(ms: u64) -> Option<prost_types::Duration> {
    Some(Duration::from_millis(ms).try_into().unwrap())
}

pub fn message(text: &str) -> pb::Message {
    pb::Message {
        r#type: "test".into(),
        body: Some(Body::TextBody(text.into())),
        ..Default::default()
    }
}

pub fn outgoing(text: &str) -> pb::OutgoingMessage {
    pb::OutgoingMessage { message: Some(message(text)), ..Default::default() }
}

/// The texts of deliveries.
pub fn texts(deliveries: &[pb::Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| text(delivery.message.as_ref().unwrap())).collect()
}

pub fn text(message: &pb::Message) -> &str {
    match &message.body {
        Some(Body::TextBody(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// The reason of each outcome that is an error.
pub fn reasons(outcomes: Vec<pb::Outcome>) -> Vec<Option<String>> {
    let reason = |outcome: pb::Outcome| {
        outcome.error.map(|error| ErrorFacts::of_item(&error).unwrap().reason)
    };
    outcomes.into_iter().map(reason).collect()
}

pub fn reason(status: &Status) -> String {
    ErrorFacts::of(status).unwrap_or_else(|| panic!("no facts: {status:?}")).reason
}

pub fn reply_text(text: &str) -> pb::ReplyContent {
    let body = pb::ReplyBody {
        content_type: None,
        body: Some(pb::reply_body::Body::TextBody(text.into())),
    };
    pb::ReplyContent { result: Some(reply_content::Result::Body(body)) }
}
