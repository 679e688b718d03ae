//! Producers: half of them send batches, half of them by stream; each tries again until all is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::{self as pb, send_stream_response::Result as Answer};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::account::{Account, KEYS, Sent};

/// Messages of a batch.
const BATCH: usize = 50;
/// Requests of a stream that are not answered yet: one of each key. If one fails, those behind it
/// may be stored all the same, and what has an order must not be behind it.
const AHEAD: usize = 2 * KEYS;
const PAUSE: Duration = Duration::from_millis(10);

/// A producer and what it is to do.
#[derive(Clone)]
pub struct Producer {
    pub number: usize,
    pub channels: Arc<[Channel]>,
    pub account: Arc<Account>,
    /// How many messages there are to be; less than there are now: what was begun is ended.
    pub goal: Arc<AtomicUsize>,
    /// How many are in: answered.
    pub sent: Arc<AtomicUsize>,
    /// How many were asked for.
    asked: Arc<AtomicUsize>,
}

impl Producer {
    pub fn new(
        number: usize,
        channels: Arc<[Channel]>,
        account: Arc<Account>,
        goal: Arc<AtomicUsize>,
    ) -> Self {
        Self { number, channels, account, goal, sent: Arc::default(), asked: Arc::default() }
    }

    pub async fn produce(self) {
        for turn in self.number.. {
            let sent = self.sent.load(Relaxed);
            if sent >= self.end() {
                return;
            }
            let client = MessageQueueClient::new(self.channels[turn % self.channels.len()].clone());
            if self.number.is_multiple_of(2) {
                self.batch(client, sent).await;
            } else {
                self.stream(client, sent).await;
            }
        }
    }

    fn end(&self) -> usize {
        self.goal.load(Relaxed).max(self.asked.load(Relaxed))
    }

    async fn batch(&self, mut client: MessageQueueClient<Channel>, sent: usize) {
        // The same again, if it failed before.
        let asked = self.asked.load(Relaxed);
        let end = if asked > sent { asked } else { self.end().min(sent + BATCH) };
        self.asked.store(end, Relaxed);
        let messages = (sent..end).map(|n| self.message(n)).collect();
        let request = pb::SendRequest { queue: "q".into(), messages, durability: 0 };
        match client.send(request).await {
            Ok(_) => self.sent.store(end, Relaxed),
            Err(status) => self.failed(&status).await,
        }
    }

    /// Sends by one stream, in their order, from the first that is not known to be in.
    async fn stream(&self, mut client: MessageQueueClient<Channel>, first: usize) {
        let permits = Arc::new(Semaphore::new(AHEAD));
        let (say, said) = mpsc::channel(1);
        let (producer, may) = (self.clone(), Arc::clone(&permits));
        let saying = tokio::spawn(async move {
            for n in first.. {
                may.acquire().await.unwrap().forget();
                if n >= producer.end() {
                    return;
                }
                producer.asked.fetch_max(n + 1, Relaxed);
                let messages = vec![producer.message(n)];
                let request = pb::SendRequest { queue: "q".into(), messages, durability: 0 };
                if say.send(request).await.is_err() {
                    return;
                }
            }
        });
        self.hear(client.send_stream(ReceiverStream::new(said)).await, &permits).await;
        saying.abort();
    }

    /// Counts the answers of a stream until it ends or breaks off.
    async fn hear(
        &self,
        answers: Result<tonic::Response<Streaming<pb::SendStreamResponse>>, Status>,
        permits: &Semaphore,
    ) {
        let answers = match answers {
            Ok(answers) => answers,
            Err(status) => return self.failed(&status).await,
        };
        let mut answers = answers.into_inner();
        loop {
            match answers.message().await {
                Ok(Some(answer)) => match answer.result.unwrap() {
                    Answer::Sent(_) => self.sent.fetch_add(1, Relaxed),
                    // What comes behind it must not overtake it.
                    Answer::Error(error) => {
                        self.account.item_failed(&error);
                        return sleep(PAUSE).await;
                    }
                },
                Ok(None) => return,
                Err(status) => return self.failed(&status).await,
            };
            permits.add_permits(1);
        }
    }

    async fn failed(&self, status: &Status) {
        self.account.failed(status);
        sleep(PAUSE).await;
    }

    fn message(&self, n: usize) -> pb::OutgoingMessage {
        let sent = Sent { producer: self.number, n };
        let body = pb::message::Body::TextBody(sent.to_string());
        let message = pb::Message { r#type: "t".into(), body: Some(body), ..Default::default() };
        pb::OutgoingMessage {
            message: Some(message),
            ordering_key: sent.key(),
            // A retry after an unknown outcome is safe.
            dedup_key: Some(sent.to_string()),
            ..Default::default()
        }
    }
}
