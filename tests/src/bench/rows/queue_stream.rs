//! Full cycles through queues: sent by stream, consumed, acked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail};
use proto::messagequeue::v1::consume_request::Message as Said;
use proto::messagequeue::v1::consume_response::Message as Heard;
use proto::messagequeue::v1::send_stream_response::Result as Answer;
use proto::messagequeue::v1::{ConsumeAck, ConsumeOpen, ConsumeRequest};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::Effort;
use super::event_stream::feed;
use super::unary::one_message;
use crate::bench::flow::{Count, of_tasks};
use crate::bench::load::Measured;
use crate::bench::world::World;

/// Streams that send, and streams that consume: of these one a queue at least.
const STREAMS: usize = 4;
/// Messages of one sender that are not acked by a consumer yet: the queues stay short.
const WINDOW: usize = 1_000;
/// Receipts that are acked together.
const ACKS: usize = 50;

/// Full cycles through so many queues; each sender sends to all of them in turn.
pub async fn cycles(world: Arc<World>, queues: usize, effort: Effort) -> anyhow::Result<Measured> {
    let cycles = Count::default();
    let window = Arc::new(Semaphore::new(STREAMS * WINDOW));
    let name = move |n: usize| format!("cycles-{queues}-{}", n % queues);
    let senders = (0..STREAMS).map(|n| sender(&world, n, name, window.clone()));
    let consumer = |n| consumer(&world, n, name(n), cycles.clone(), window.clone());
    let consumers = (0..STREAMS.max(queues)).map(consumer);
    of_tasks(senders.chain(consumers).collect(), &cycles, effort.time).await
}

fn sender(
    world: &World,
    n: usize,
    queue: impl Fn(usize) -> String + Send + 'static,
    window: Arc<Semaphore>,
) -> JoinHandle<anyhow::Result<()>> {
    let mut client = world.queue(n);
    tokio::spawn(async move {
        let (sender, requests) = mpsc::channel(WINDOW);
        let turn = AtomicUsize::new(n);
        let make = move || one_message(&queue(turn.fetch_add(1, Ordering::Relaxed)));
        let sending = feed(sender, window, make);
        let requests = ReceiverStream::new(requests);
        let mut answers = client.send_stream(requests).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if let Answer::Error(status) = answer.result.context("an empty answer")? {
                bail!("refused: {}", status.message);
            }
        }
        drop(sending);
        Ok(())
    })
}

fn consumer(
    world: &World,
    n: usize,
    queue: String,
    cycles: Count,
    window: Arc<Semaphore>,
) -> JoinHandle<anyhow::Result<()>> {
    let mut client = world.queue(n);
    tokio::spawn(async move {
        let (says, said) = mpsc::channel(64);
        let open = ConsumeOpen { queue, max_in_flight: Some(1_000), ..ConsumeOpen::default() };
        says.send(request(Said::Open(open))).await?;
        let mut stream = client.consume(ReceiverStream::new(said)).await?.into_inner();
        let mut receipts = Vec::with_capacity(ACKS);
        while let Some(answer) = stream.message().await? {
            match answer.message {
                Some(Heard::Delivery(delivery)) => receipts.push(delivery.receipt),
                Some(Heard::Outcome(outcome)) => {
                    if let Some(error) = outcome.error {
                        bail!("an ack was refused: {}", error.message);
                    }
                    window.add_permits(1);
                    cycles.add(1);
                }
                Some(Heard::Heartbeat(_)) | None => {}
            }
            if receipts.len() >= ACKS {
                let receipts = std::mem::replace(&mut receipts, Vec::with_capacity(ACKS));
                says.send(request(Said::Ack(ConsumeAck { receipts }))).await?;
            }
        }
        Ok(())
    })
}

fn request(message: Said) -> ConsumeRequest {
    ConsumeRequest { message: Some(message) }
}
