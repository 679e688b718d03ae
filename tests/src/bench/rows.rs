//! What is measured, in the order it is: limits first, then what is held against them.

mod bare;
mod call;
mod event_stream;
mod group;
mod growth;
mod latency;
mod queue;
mod queue_growth;
mod queue_idle;
mod queue_limit;
mod queue_stream;
mod rest;
mod subscribe;
mod traces;
mod unary;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join};

use super::load::Measured;
use super::processor;
use super::report::{Bound, Expected};
use super::world::World;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How long a row is measured, after its warm-up.
    pub time: Duration,
    /// Events in the topic that is read and consumed from end to end.
    pub events: u64,
    /// Topics where there are many.
    pub topics: usize,
    /// Idle subscribers where there are many.
    pub subscribers: usize,
    /// Messages in a queue where there are many.
    pub messages: usize,
}

type Measuring = BoxFuture<'static, anyhow::Result<Measured>>;
type Unary = fn(Arc<World>, usize, Effort) -> Measuring;
type Run = Box<dyn Fn(Arc<World>, Effort) -> Measuring>;

/// A row that can be measured.
#[allow(missing_debug_implementations, reason = "holds a closure")]
pub struct Spec {
    /// What is measured.
    pub name: &'static str,
    /// Calls in flight, or streams.
    pub in_flight: usize,
    /// What it is held against.
    pub expected: Option<Expected>,
    /// Whether it is told what it takes of the processor: of rows that do nothing but the same for
    /// their whole time.
    with_processor: bool,
    run: Run,
}

impl Spec {
    fn new<F, Fut>(name: &'static str, in_flight: usize, run: F) -> Self
    where
        F: Fn(Arc<World>, Effort) -> Fut + 'static,
        Fut: Future<Output = anyhow::Result<Measured>> + Send + 'static,
    {
        Self {
            name,
            in_flight,
            expected: None,
            with_processor: false,
            run: Box::new(move |world, effort| Box::pin(run(world, effort))),
        }
    }

    /// At least `ratio` times the rate of the row `limit`.
    fn rate(self, ratio: f64, limit: &str, in_flight: usize) -> Self {
        self.against(Bound::Rate(ratio), limit, in_flight)
    }

    /// At most `ratio` times the median latency of the row `limit`.
    fn median(self, ratio: f64, limit: &str, in_flight: usize) -> Self {
        self.against(Bound::Median(ratio), limit, in_flight)
    }

    fn against(mut self, bound: Bound, limit: &str, in_flight: usize) -> Self {
        self.expected =
            Some(Expected { limit: Some((limit.to_owned(), in_flight)), bound, beside: None });
        self
    }

    /// Compared with this row as well.
    fn beside(mut self, row: &str) -> Self {
        if let Some(expected) = &mut self.expected {
            expected.beside = Some(row.to_owned());
        }
        self
    }

    fn with_processor(mut self) -> Self {
        self.with_processor = true;
        self
    }

    /// By itself, whatever the limits are.
    fn reaching(mut self, bound: Bound) -> Self {
        self.expected = Some(Expected { limit: None, bound, beside: None });
        self
    }

    /// Measures it, on a worker of the runtime: what is measured on another thread waits for one more
    /// change of thread each time that something comes.
    ///
    /// # Errors
    /// When it can't be measured.
    pub async fn measure(&self, world: &Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
        let measuring = tokio::spawn((self.run)(world.clone(), effort));
        if !self.with_processor {
            return measuring.await?;
        }
        let (measured, used) = join(measuring, processor::used(world, effort.time)).await;
        Ok(Measured { processor: Some(used?), ..measured?? })
    }
}

/// Name of the row that is the limit of unary calls.
const ECHO: &str = "limit: tonic unary echo";
/// Name of the row that is the limit of streams.
const ECHO_BIDI: &str = "limit: tonic bidi echo, messages";
/// Name of the row that is the limit of writing to Redis.
const RAW_XADD: &str = "limit: raw XADD, one connection";
/// Name of the row that is the limit of reading from Redis.
const RAW_XRANGE: &str = "limit: raw XRANGE COUNT 1000, entries";

fn delivery() -> Spec {
    Spec::new("append to delivery, quiet", 1, latency::append_to_delivery)
        .median(3.0, ECHO, 1)
        .beside(bare::DELIVERY)
}

/// All rows.
#[must_use]
pub fn all() -> Vec<Spec> {
    let mut rows = Vec::new();
    for in_flight in [1, 64, 512] {
        let row = |name, measure: Unary| {
            Spec::new(name, in_flight, move |world, effort| measure(world, in_flight, effort))
                .with_processor()
        };
        rows.push(row(ECHO, |world, n, effort| Box::pin(unary::echo(world, n, effort))));
        rows.push(row(RAW_XADD, |world, n, effort| Box::pin(unary::raw_xadd(world, n, effort))));
        rows.push(bare::puts(in_flight));
        // 0.7 is asked for where it matters, 0.6 everywhere.
        let ratio = if in_flight == 64 { 0.7 } else { 0.6 };
        let append = row("Append", |world, n, effort| Box::pin(unary::append(world, n, effort)));
        rows.push(append.rate(ratio, ECHO, in_flight).beside(bare::PUT));
        let send = row("Send", |world, n, effort| Box::pin(unary::send(world, n, effort)));
        rows.push(send.rate(ratio, ECHO, in_flight).beside(bare::PUT));
        // Next to their limits: what the machine does changes by the minute.
        match in_flight {
            1 => {
                rows.extend([bare::delivery(), delivery(), queue::delivery()]);
                rows.extend([bare::asks(1), queue::call_scripts(), bare::kept_asks()]);
                rows.push(queue::calls(1));
            }
            64 => rows.extend([bare::asks(64), queue::calls(64)]),
            _ => {}
        }
    }
    rows.push(Spec::new(ECHO_BIDI, 4, event_stream::echo));
    rows.extend([
        Spec::new("AppendStream, no ids", 4, event_stream::plain).rate(0.7, RAW_XADD, 512),
        Spec::new("AppendStream, ids and subjects", 4, event_stream::full)
            .rate(0.35, RAW_XADD, 512),
        Spec::new(RAW_XRANGE, 1, event_stream::raw_xrange),
        Spec::new("Read, events", 1, event_stream::read).rate(0.6, RAW_XRANGE, 1),
        Spec::new("Subscribe, 100 subscribers, deliveries", 100, subscribe::fan_out)
            .rate(0.35, ECHO_BIDI, 4),
        Spec::new("group Consume and ack, events", 4, group::consume_and_ack)
            .rate(0.4, RAW_XADD, 512),
    ]);
    rows.extend(queue::rows());
    rows.extend(growth::rows());
    rows.extend(queue_growth::rows());
    rows.extend(queue_idle::rows());
    rows.extend(rest::rows());
    rows.extend(traces::rows());
    rows
}
