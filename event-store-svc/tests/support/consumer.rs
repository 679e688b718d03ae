//! A consumer of a group, and what tests look at in one.

use std::time::Duration;

use proto::eventstore::v1::consume_request::Message as Say;
use proto::eventstore::v1::consume_response::Message;
use proto::eventstore::v1::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Service, event};

/// A consumer's stream.
pub struct ConsumerStream {
    pub say: mpsc::Sender<ConsumeRequest>,
    pub hear: Streaming<ConsumeResponse>,
}

impl ConsumerStream {
    pub async fn open(service: &Service, name: &str, max_in_flight: u32) -> Result<Self, Status> {
        let (say, requests) = mpsc::channel(64);
        let open = ConsumeOpen {
            topic: "t".into(),
            group: "g".into(),
            consumer: name.into(),
            max_in_flight: Some(max_in_flight),
        };
        say.send(ConsumeRequest { message: Some(Say::Open(open)) }).await.unwrap();
        let hear = service.groups().consume(ReceiverStream::new(requests)).await?.into_inner();
        Ok(Self { say, hear })
    }

    pub async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(10), self.hear.message());
        next.await.expect("something in time").unwrap().unwrap().message.unwrap()
    }

    pub async fn delivery(&mut self) -> Delivery {
        loop {
            if let Message::Delivery(delivery) = self.next().await {
                return delivery;
            }
        }
    }

    pub async fn ack(&mut self, delivery: &Delivery) {
        let ack = ConsumeAck { receipts: vec![delivery.receipt.clone()] };
        self.say.send(ConsumeRequest { message: Some(Say::Ack(ack)) }).await.unwrap();
    }
}

pub fn sequence(delivery: &Delivery) -> u64 {
    delivery.event.as_ref().unwrap().sequence
}

pub async fn append(service: &Service, count: usize, subject: impl Fn(usize) -> String) {
    for index in 0..count {
        service.append("t", vec![event("", &subject(index))]).await.unwrap();
    }
}

/// Waits until a group is in a state that is watched for.
pub async fn watch(service: &Service, wanted: impl Fn(&Group) -> bool) -> Group {
    let watched = async {
        loop {
            let group = service.group("t", "g").await;
            if wanted(&group) {
                return group;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), watched).await.expect("the group gets there")
}
