//! Consumers: half of them by long poll, half of them by stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::{self as pb, consume_request, consume_response};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

use crate::account::{Account, Sent};

/// Messages of a poll, and that a stream may hold.
const AT_ONCE: u32 = 20;
/// Short, so that what a killed replica held comes back soon.
const LEASE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// A consumer, and how many deliveries it had.
#[derive(Clone)]
pub struct Consumer {
    pub number: usize,
    pub channels: Arc<[Channel]>,
    pub account: Arc<Account>,
    pub got: Arc<AtomicUsize>,
}

impl Consumer {
    pub async fn consume(self) {
        let Self { number, channels, account, got } = self;
        for turn in number / 2.. {
            let client = MessageQueueClient::new(channels[turn % channels.len()].clone());
            let session = account.begin_session();
            if number % 2 == 0 {
                poll(client, &channels, turn, session, &account, &got).await;
            } else {
                stream(client, session, &account, &got).await;
                account.end_session(session);
            }
        }
    }
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

/// Receives once, and acks what came until it is known what became of it.
async fn poll(
    mut client: MessageQueueClient<Channel>,
    channels: &[Channel],
    turn: usize,
    session: u64,
    account: &Account,
    got: &AtomicUsize,
) {
    let request = pb::ReceiveRequest {
        queue: "q".into(),
        max_messages: Some(AT_ONCE),
        wait: duration(Duration::from_millis(500)),
        lease: duration(LEASE),
    };
    let deliveries = match client.receive(request).await {
        Ok(received) => received.into_inner().deliveries,
        Err(status) => {
            account.failed(&status);
            return sleep(PAUSE).await;
        }
    };
    if deliveries.is_empty() {
        return;
    }
    got.fetch_add(deliveries.len(), Relaxed);
    let sent: Vec<_> = deliveries.iter().map(|delivery| account.begin(session, delivery)).collect();
    sent.iter().for_each(|sent| account.end(*sent));
    let receipts: Vec<_> = deliveries.into_iter().map(|delivery| delivery.receipt).collect();
    for turn in turn.. {
        let mut client = MessageQueueClient::new(channels[turn % channels.len()].clone());
        let request = pb::AckRequest { queue: "q".into(), receipts: receipts.clone() };
        match client.ack(request).await {
            Ok(answer) => {
                for (sent, outcome) in sent.iter().zip(answer.into_inner().outcomes) {
                    account.settled(*sent, &outcome);
                }
                return;
            }
            Err(status) => account.failed(&status),
        }
        sleep(PAUSE).await;
    }
}

/// Consumes until the stream breaks off.
async fn stream(
    mut client: MessageQueueClient<Channel>,
    session: u64,
    account: &Account,
    got: &AtomicUsize,
) {
    let (say, said) = mpsc::unbounded_channel();
    let open =
        pb::ConsumeOpen { queue: "q".into(), max_in_flight: Some(AT_ONCE), lease: duration(LEASE) };
    say.send(request(consume_request::Message::Open(open))).unwrap();
    let mut stream = match client.consume(UnboundedReceiverStream::new(said)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => {
            account.failed(&status);
            return sleep(PAUSE).await;
        }
    };
    let mut held = HashMap::<String, Sent>::new();
    loop {
        let response = match stream.message().await {
            Ok(response) => {
                response.expect("a stream that is not ended by its client has a status")
            }
            Err(status) => return account.failed(&status),
        };
        match response.message.unwrap() {
            consume_response::Message::Delivery(delivery) => {
                got.fetch_add(1, Relaxed);
                let sent = account.begin(session, &delivery);
                account.end(sent);
                held.insert(delivery.receipt.clone(), sent);
                let ack = pb::ConsumeAck { receipts: vec![delivery.receipt] };
                // A stream that broke off says so on the other side.
                let _ = say.send(request(consume_request::Message::Ack(ack)));
            }
            consume_response::Message::Outcome(outcome) => {
                if account.settled(held[&outcome.receipt], &outcome) {
                    held.remove(&outcome.receipt);
                } else {
                    sleep(PAUSE).await;
                    let ack = pb::ConsumeAck { receipts: vec![outcome.receipt] };
                    let _ = say.send(request(consume_request::Message::Ack(ack)));
                }
            }
            consume_response::Message::Heartbeat(_) => {}
        }
    }
}

fn request(message: consume_request::Message) -> pb::ConsumeRequest {
    pb::ConsumeRequest { message: Some(message) }
}
