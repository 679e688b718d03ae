//! A replica in this process.

use std::time::Duration;

use clap::Parser as _;
use message_queue_svc::config::Config;
use proto::messagequeue::v1::queues_client::QueuesClient;
use proto::messagequeue::v1::{self as pb, message_queue_client::MessageQueueClient};
use svc_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tonic::transport::Channel;

/// Ends with the test.
pub struct Service {
    pub url: String,
    channel: Channel,
}

impl Service {
    /// Starts it over the Redis at this address, and waits until it answers.
    pub async fn start(redis: &str) -> Self {
        let config =
            Config::try_parse_from(["mq", "--redis-url", redis, "--admin-listen", "off"]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(svc_front::run(config, listener, Shutdown::new()));
        let channel = svc_runtime::client::channel(&url, 1).unwrap();
        let service = Self { url, channel };
        service.answers().await;
        service
    }

    /// Waits until it can reach Redis.
    pub async fn answers(&self) {
        let ready = async {
            let request = pb::ListQueuesRequest::default;
            while self.queues().list_queues(request()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ready).await.expect("the service answers");
    }

    pub fn mq(&self) -> MessageQueueClient<Channel> {
        MessageQueueClient::new(self.channel.clone())
    }

    pub fn queues(&self) -> QueuesClient<Channel> {
        QueuesClient::new(self.channel.clone())
    }
}
