//! Growth: what a call costs where there is much of everything, beside where there is little. Both
//! take turns of a tenth of a second, so that whatever else the machine does hits both alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::future::{BoxFuture, try_join_all};
use proto::eventstore::v1::append_stream_response::Result as Answer;
use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::{AppendRequest, ReadRequest, Start, start};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::event_stream::{FILLED, fill};
use super::subscribe::from_now;
use super::unary::{one_event, plain_event};
use super::{Effort, Spec};
use crate::bench::instance::{Instance, Twins};
use crate::bench::load::{Measured, histogram, measured, micros};
use crate::bench::report::Bound;
use crate::bench::world::World;

/// Events in the topic that little is in.
const FEW: u64 = 1_000;
/// Events of a page that is read.
const PAGE: u64 = 100;
/// Topics that are subscribed.
const SUBSCRIBED: usize = 1_000;
const SUBSCRIBED_LIMIT: Duration = Duration::from_secs(20);
/// Streams that make topics.
const MAKERS: usize = 4;
/// Connections that subscribers are spread over: one carries a thousand streams at most.
const CONNECTIONS: usize = 16;
/// How many times the small case it may cost.
pub const MOST: f64 = 1.3;
const TURN: Duration = Duration::from_millis(100);
/// Calls at the beginning of a turn that are not counted.
const WARM_UP: usize = 10;

pub fn rows() -> Vec<Spec> {
    let events = Batch::new(|world, effort| Box::pin(by_events(world, effort)));
    let topics = Batch::new(|_, effort| Box::pin(by_topics(effort)));
    let subscribers = Batch::new(|_, effort| Box::pin(by_subscribers(effort)));
    let pair =
        |batch: &Arc<Batch>, few, many| [batch.row(few), batch.row(many).median(MOST, few, 1)];
    let mut rows = Vec::new();
    rows.extend(pair(
        &events,
        "growth: Append, topic of few events",
        "growth: Append, topic of many events",
    ));
    rows.extend(pair(
        &events,
        "growth: Read 100, topic of few events",
        "growth: Read 100, topic of many events",
    ));
    rows.push(topics.row("growth: topics made, by AppendStream"));
    rows.extend(pair(&topics, "growth: Append, one topic", "growth: Append, many topics"));
    rows.extend(pair(&topics, "growth: Read 100, one topic", "growth: Read 100, many topics"));
    rows.push(subscribers.row("growth: subscriptions begun"));
    rows.extend(pair(
        &subscribers,
        "growth: Append, no subscribers",
        "growth: Append, many idle subscribers",
    ));
    rows.extend(pair(
        &subscribers,
        "growth: Read 100, no subscribers",
        "growth: Read 100, many idle subscribers",
    ));
    rows.push(
        subscribers.row("growth: memory of an idle subscriber").reaching(Bound::Most(20_000.0)),
    );
    rows.push(subscribers.row("growth: connections to Redis").reaching(Bound::Most(32.0)));
    rows
}

/// What a batch of rows found, in their order.
pub type Found = Vec<Measured>;
type Run = fn(Arc<World>, Effort) -> BoxFuture<'static, anyhow::Result<Found>>;

/// Rows that are measured together, when the first of them is asked for.
pub struct Batch {
    run: Run,
    rows: AtomicUsize,
    found: Mutex<Option<Result<Found, String>>>,
}

impl Batch {
    pub fn new(run: Run) -> Arc<Self> {
        Arc::new(Self { run, rows: AtomicUsize::new(0), found: Mutex::new(None) })
    }

    /// The next row, in the order in which `run` answers them.
    pub fn row(self: &Arc<Self>, name: &'static str) -> Spec {
        let index = self.rows.fetch_add(1, Relaxed);
        let batch = self.clone();
        Spec::new(name, 1, move |world, effort| {
            let batch = batch.clone();
            async move {
                let mut found = batch.found.lock().await;
                if found.is_none() {
                    let run = (batch.run)(world, effort).await;
                    *found = Some(run.map_err(|error| format!("{error:#}")));
                }
                match found.as_ref().context("measured above")? {
                    Ok(found) => Ok(found[index].clone()),
                    Err(error) => bail!("{error}"),
                }
            }
        })
    }
}

/// Measures calls to side 0 and side 1, one at a time, in turns.
pub async fn in_turns<F, Fut>(
    effort: Effort,
    turn: impl Fn(usize) -> anyhow::Result<()>,
    call: F,
) -> anyhow::Result<[Measured; 2]>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut latencies = [histogram()?, histogram()?];
    let mut took = [Duration::ZERO; 2];
    while took[0] < effort.time {
        for side in [0, 1] {
            turn(side)?;
            for _ in 0..WARM_UP {
                call(side).await?;
            }
            let began = Instant::now();
            while began.elapsed() < TURN {
                let start = Instant::now();
                call(side).await?;
                latencies[side].saturating_record(micros(start.elapsed()));
            }
            took[side] += began.elapsed();
        }
    }
    let of = |side: usize| measured(&latencies[side], latencies[side].len(), took[side], 0);
    Ok([of(0), of(1)])
}

/// What is read: a page in the middle of a topic.
async fn middle(
    store: &mut EventStoreClient<Channel>,
    topic: &str,
    events: u64,
) -> anyhow::Result<ReadRequest> {
    let at = Some(start::At::FromSequence(events / 2));
    let request = ReadRequest {
        topic: topic.to_owned(),
        start: Some(Start { at }),
        limit: Some(1),
        ..ReadRequest::default()
    };
    let answer = store.read(request.clone()).await?.into_inner().message().await?;
    let event = answer.and_then(|answer| answer.event).context("an event in the middle")?;
    let at = Some(start::At::AfterPosition(event.position));
    Ok(ReadRequest { start: Some(Start { at }), limit: Some(PAGE), ..request })
}

async fn read(mut store: EventStoreClient<Channel>, request: ReadRequest) -> anyhow::Result<()> {
    let mut answers = store.read(request).await?.into_inner();
    let mut seen = 0;
    while answers.message().await?.is_some() {
        seen += 1;
    }
    anyhow::ensure!(seen == PAGE, "a page of {seen}");
    Ok(())
}

async fn append(mut store: EventStoreClient<Channel>, topic: String) -> anyhow::Result<()> {
    store.append(one_event(&topic)).await?;
    Ok(())
}

/// A topic of [`FEW`] events, by one append.
async fn fill_few(store: &mut EventStoreClient<Channel>, topic: &str) -> anyhow::Result<()> {
    let events = (0..FEW).map(|_| plain_event()).collect();
    let request = AppendRequest { topic: topic.to_owned(), events, ..AppendRequest::default() };
    store.append(request).await?;
    Ok(())
}

/// A topic of few events beside one of many.
async fn by_events(world: Arc<World>, effort: Effort) -> anyhow::Result<Found> {
    fill(&world, effort.events).await?;
    let mut store = world.store(0);
    let few = |number: usize| format!("few-{number}");
    // A new one for each turn, or it would not stay small.
    let turns = usize::try_from(effort.time.as_millis().div_ceil(TURN.as_millis()))? + 1;
    for number in 0..turns {
        fill_few(&mut store, &few(number)).await?;
    }
    let turn = AtomicUsize::new(0);
    let next = |side| {
        turn.fetch_add(side, Relaxed);
        Ok(())
    };
    let appends = in_turns(effort, next, |side| {
        let topic = if side == 0 { few(turn.load(Relaxed)) } else { FILLED.to_owned() };
        append(store.clone(), topic)
    });
    let appends = appends.await?;
    let pages = [
        middle(&mut store.clone(), &few(turns - 1), FEW).await?,
        middle(&mut store.clone(), FILLED, effort.events).await?,
    ];
    let reads = in_turns(effort, |_| Ok(()), |side| read(store.clone(), pages[side].clone()));
    Ok([appends, reads.await?].concat())
}

/// One topic beside very many.
async fn by_topics(effort: Effort) -> anyhow::Result<Found> {
    let twins = Twins([Instance::start(MAKERS).await?, Instance::start(MAKERS).await?]);
    let name = |number: usize| format!("topic-{number}");
    let began = Instant::now();
    let makers = (0..MAKERS).map(|maker| {
        let topics = (maker..effort.topics).step_by(MAKERS).map(name).collect();
        make(twins.0[1].store(maker), topics)
    });
    try_join_all(makers).await?;
    let made = measured(&histogram()?, effort.topics as u64, began.elapsed(), 0);
    make(twins.0[0].store(0), vec![name(0)]).await?;
    let appends = in_turns(
        effort,
        |side| twins.turn(side),
        |side| {
            let number = if side == 0 { 0 } else { rand::random_range(0..effort.topics) };
            append(twins.0[side].store(0), name(number))
        },
    );
    let appends = appends.await?;
    Ok([vec![made], appends.to_vec(), reads(&twins, effort).await?.to_vec()].concat())
}

/// Nobody beside very many subscribers, to whom nothing happens.
async fn by_subscribers(effort: Effort) -> anyhow::Result<Found> {
    let twins = Twins([Instance::start(CONNECTIONS).await?, Instance::start(CONNECTIONS).await?]);
    let crowded = &twins.0[1];
    let name = |number: usize| format!("topic-{number}");
    make(crowded.store(0), (0..SUBSCRIBED).map(name).collect()).await?;
    let mut crowd = Crowd::new();
    // Some first, so that connections and what is made only once are there already.
    crowd.grow(crowded, CONNECTIONS, name).await?;
    let (before, began) = (crowded.memory()?, Instant::now());
    crowd.grow(crowded, effort.subscribers, name).await?;
    let begun = measured(&histogram()?, effort.subscribers as u64, began.elapsed(), 0);
    let memory = crowded.memory()?.saturating_sub(before) as f64 / effort.subscribers as f64;
    let appends = in_turns(
        effort,
        |side| twins.turn(side),
        |side| append(twins.0[side].store(0), "quiet".to_owned()),
    );
    let appends = appends.await?;
    let reads = reads(&twins, effort).await?;
    let connections = crowded.redis_connections()? as f64;
    anyhow::ensure!(crowd.subscribers.try_join_next().is_none(), "a subscription ended");
    let figures = [Measured::figure(memory, "bytes"), Measured::figure(connections, "connections")];
    Ok([vec![begun], appends.to_vec(), reads.to_vec(), figures.to_vec()].concat())
}

/// Reads a page of a topic of few events at both.
async fn reads(twins: &Twins, effort: Effort) -> anyhow::Result<[Measured; 2]> {
    twins.thaw()?;
    let mut pages = Vec::new();
    for twin in &twins.0 {
        fill_few(&mut twin.store(0), "page").await?;
        pages.push(middle(&mut twin.store(0), "page", FEW).await?);
    }
    let reads = in_turns(
        effort,
        |side| twins.turn(side),
        |side| read(twins.0[side].store(0), pages[side].clone()),
    );
    let reads = reads.await?;
    twins.thaw()?;
    Ok(reads)
}

/// Makes topics of one event each, over one stream.
async fn make(mut store: EventStoreClient<Channel>, topics: Vec<String>) -> anyhow::Result<()> {
    let wanted = topics.len();
    let requests = tokio_stream::iter(topics.into_iter().map(|topic| one_event(&topic)));
    let mut answers = store.append_stream(requests).await?.into_inner();
    let mut made = 0;
    while let Some(answer) = answers.message().await? {
        match answer.result.context("an empty answer")? {
            Answer::Appended(_) => made += 1,
            Answer::Error(status) => bail!("refused: {}", status.message),
        }
    }
    anyhow::ensure!(made == wanted, "{made} of {wanted} topics were made");
    Ok(())
}

/// Subscribers that wait for what comes.
struct Crowd {
    subscribers: JoinSet<anyhow::Result<()>>,
    caught_up: (mpsc::UnboundedSender<()>, mpsc::UnboundedReceiver<()>),
}

impl Crowd {
    fn new() -> Self {
        Self { subscribers: JoinSet::new(), caught_up: mpsc::unbounded_channel() }
    }

    /// Adds so many, and waits until each has caught up.
    async fn grow(
        &mut self,
        at: &Instance,
        more: usize,
        topic: impl Fn(usize) -> String,
    ) -> anyhow::Result<()> {
        for n in 0..more {
            let (mut store, request) = (at.store(n), from_now(&topic(n % SUBSCRIBED)));
            let caught_up = self.caught_up.0.clone();
            self.subscribers.spawn(async move {
                let mut stream = store.subscribe(request).await?.into_inner();
                while let Some(answer) = stream.message().await? {
                    match answer.message {
                        Some(Message::CaughtUp(_)) => caught_up.send(())?,
                        Some(Message::Heartbeat(_)) => {}
                        other => bail!("nothing was to happen, not {other:?}"),
                    }
                }
                bail!("a subscription ended")
            });
        }
        for _ in 0..more {
            tokio::select! {
                _ = self.caught_up.1.recv() => {}
                Some(ended) = self.subscribers.join_next() => ended??,
                () = tokio::time::sleep(SUBSCRIBED_LIMIT) => bail!("no caught_up in time"),
            }
        }
        Ok(())
    }
}
