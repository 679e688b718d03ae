//! Events by the stream: appended, read, and the limits of both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::{AppendRequest, Event, ReadRequest};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::Effort;
use super::unary::{one_event, plain_event};
use crate::bench::echo::v1::Payload;
use crate::bench::flow::{Count, of_tasks};
use crate::bench::load::{Measured, histogram, measured, micros};
use crate::bench::world::World;
use crate::bench::{PAYLOAD, raw};

const STREAMS: usize = 4;
/// Requests of one stream that are not answered yet.
const WINDOW: usize = 512;
/// The topic that is read and consumed from end to end.
pub const FILLED: &str = "filled";
/// Events in one request where only filling matters.
const FILL_BATCH: u64 = 500;

pub async fn echo(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    let count = Count::default();
    let tasks = (0..STREAMS).map(|stream| {
        let (mut client, count) = (world.echo(stream), count.clone());
        tokio::spawn(async move {
            let (sender, requests) = mpsc::channel(WINDOW);
            let mut answers = client.bidi(ReceiverStream::new(requests)).await?.into_inner();
            let window = Arc::new(Semaphore::new(WINDOW));
            let data = bytes::Bytes::from_static(&[b'x'; PAYLOAD]);
            let sending = feed(sender, window.clone(), move || Payload {
                data: data.clone(),
                ..Payload::default()
            });
            while answers.message().await?.is_some() {
                window.add_permits(1);
                count.add(1);
            }
            drop(sending);
            anyhow::Ok(())
        })
    });
    of_tasks(tasks.collect(), &count, effort.time).await
}

pub async fn plain(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    let count = Count::default();
    let tasks =
        (0..STREAMS).map(|stream| appender(&world, stream, &count, || one_event("stream-plain")));
    of_tasks(tasks.collect(), &count, effort.time).await
}

pub async fn full(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    const SUBJECTS: u64 = 1_000;
    let count = Count::default();
    let request = || {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let event = Event {
            id: Some(format!("event-{number}")),
            subject: Some(format!("subject-{}", number % SUBJECTS)),
            ..plain_event()
        };
        AppendRequest {
            topic: "stream-full".to_owned(),
            events: vec![event],
            ..AppendRequest::default()
        }
    };
    let tasks = (0..STREAMS).map(|stream| appender(&world, stream, &count, request));
    of_tasks(tasks.collect(), &count, effort.time).await
}

/// Appends what `request` makes for ever, with a window of unanswered requests.
pub fn appender(
    world: &World,
    stream: usize,
    count: &Count,
    request: impl Fn() -> AppendRequest + Send + 'static,
) -> JoinHandle<anyhow::Result<()>> {
    let (mut client, count) = (world.store(stream), count.clone());
    tokio::spawn(async move {
        let (sender, requests) = mpsc::channel(WINDOW);
        let stream = ReceiverStream::new(requests);
        let window = Arc::new(Semaphore::new(WINDOW));
        let sending = feed(sender, window.clone(), request);
        let mut answers = client.append_stream(stream).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            match answer.result.context("an empty answer")? {
                Answer::Appended(_) => {}
                Answer::Error(status) => bail!("refused: {}", status.message),
            }
            window.add_permits(1);
            count.add(1);
        }
        drop(sending);
        Ok(())
    })
}

/// Feeds a stream for as long as it is open and its window has room.
pub fn feed<T: Send + 'static>(
    sender: mpsc::Sender<T>,
    window: Arc<Semaphore>,
    make: impl Fn() -> T + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let Ok(permit) = window.acquire().await else {
                return;
            };
            permit.forget();
            if sender.send(make()).await.is_err() {
                return;
            }
        }
    })
}

/// Fills the topic [`FILLED`], once.
pub async fn fill(world: &World, events: u64) -> anyhow::Result<()> {
    let mut client = world.store(0);
    if client.read(read_request(Some(1))).await.is_ok() {
        return Ok(());
    }
    for _ in 0..events / FILL_BATCH {
        let batch = (0..FILL_BATCH).map(|_| plain_event()).collect();
        let request =
            AppendRequest { topic: FILLED.to_owned(), events: batch, ..AppendRequest::default() };
        client.append(request).await?;
    }
    Ok(())
}

pub async fn raw_xrange(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    fill(&world, effort.events).await?;
    raw::xrange(&world.raw, &format!("es:{{{FILLED}}}:log")).await
}

pub async fn read(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    fill(&world, effort.events).await?;
    let mut client = world.store(0);
    let start = Instant::now();
    let mut answers = client.read(read_request(None)).await?.into_inner();
    let mut seen = 0;
    let mut first = histogram()?;
    while let Some(answer) = answers.message().await? {
        if seen == 0 {
            first.saturating_record(micros(start.elapsed()));
        }
        seen += 1;
        let sequence = answer.event.map(|event| event.sequence);
        if sequence != Some(seen) {
            bail!("event {seen} came as {sequence:?}");
        }
    }
    // The latency columns tell when the first event came.
    Ok(measured(&first, seen, start.elapsed(), 0))
}

fn read_request(limit: Option<u64>) -> ReadRequest {
    ReadRequest { topic: FILLED.to_owned(), limit, ..ReadRequest::default() }
}
