//! What traces cost: Append and Send with traces off, on with nothing recorded, and on with a tenth
//! recorded and taken by a collector in this process. Each service is there three times, and they
//! take turns: while one is measured the others do nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use tonic::transport::Channel;

use super::growth::{Batch, Found};
use super::unary::{one_event, one_message};
use super::{Effort, Spec};
use crate::bench::instance::Instance;
use crate::bench::load::{Measured, closed_loop};
use crate::otlp::Collector;
use crate::topology::{EVENT_STORE, MESSAGE_QUEUE};

const IN_FLIGHT: usize = 64;
/// As for other unary calls.
const CONNECTIONS: usize = 4;
/// Turns that each side has; what counts is the one in the middle.
const ROUNDS: u32 = 5;
/// `--trace-sample` of the sides; the first has no endpoint.
const SAMPLES: [Option<&str>; 3] = [None, Some("0.0"), Some("0.1")];
/// How near to the rate with traces off it is to be; rates differ by some percent from run to run,
/// what the processor does by less.
const NONE_RECORDED: f64 = 0.9;
/// The same, where spans are made and sent.
const TENTH_RECORDED: f64 = 0.85;

pub fn rows() -> Vec<Spec> {
    let appends = Batch::new(|_, effort| Box::pin(costs(EVENT_STORE, effort)));
    let sends = Batch::new(|_, effort| Box::pin(costs(MESSAGE_QUEUE, effort)));
    let mut rows = of(
        &appends,
        [
            "traces: Append, off",
            "traces: Append, none recorded",
            "traces: Append, a tenth recorded",
        ],
        [
            "traces: processor for Append, off",
            "traces: processor for Append, none recorded",
            "traces: processor for Append, a tenth",
        ],
    );
    rows.extend(of(
        &sends,
        ["traces: Send, off", "traces: Send, none recorded", "traces: Send, a tenth recorded"],
        [
            "traces: processor for Send, off",
            "traces: processor for Send, none recorded",
            "traces: processor for Send, a tenth",
        ],
    ));
    rows
}

/// The rows of one service, in the order in which [`costs`] answers.
fn of(batch: &Arc<Batch>, rates: [&'static str; 3], figures: [&'static str; 3]) -> Vec<Spec> {
    let row = |name| Spec { in_flight: IN_FLIGHT, ..batch.row(name) };
    let [off, none, tenth] = rates;
    let mut rows = vec![
        row(off),
        row(none).rate(NONE_RECORDED, off, IN_FLIGHT),
        row(tenth).rate(TENTH_RECORDED, off, IN_FLIGHT),
    ];
    rows.extend(figures.map(row));
    rows
}

/// One of three, and what its turns found.
struct Side {
    instance: Arc<Instance>,
    rounds: Vec<Measured>,
    calls: Arc<AtomicU64>,
    seconds: f64,
}

async fn costs(service: &'static str, effort: Effort) -> anyhow::Result<Found> {
    let collector = Collector::start().await?;
    let mut sides = Vec::new();
    for sample in SAMPLES {
        let on =
            sample.map(|sample| ["--otlp-endpoint", collector.url(), "--trace-sample", sample]);
        let arguments = on.as_ref().map_or(&[][..], |on| &on[..]);
        let instance = Instance::start_front(service, CONNECTIONS, arguments).await?;
        instance.freeze()?;
        sides.push(Side {
            instance: Arc::new(instance),
            rounds: Vec::new(),
            calls: Arc::default(),
            seconds: 0.0,
        });
    }
    for round in 0..ROUNDS as usize {
        for turn in 0..sides.len() {
            // Each is as often first as last.
            let side = (turn + round) % sides.len();
            sides[side].turn(service, effort).await?;
        }
    }
    anyhow::ensure!(collector.count() > 0, "nothing was recorded");
    let mut found: Found = sides.iter_mut().map(Side::middle).collect();
    found.extend(sides.iter().map(Side::processor));
    Ok(found)
}

impl Side {
    async fn turn(&mut self, service: &'static str, effort: Effort) -> anyhow::Result<()> {
        self.instance.thaw()?;
        let before = self.instance.cpu_seconds()?;
        let (instance, calls) = (self.instance.clone(), self.calls.clone());
        let round = closed_loop(IN_FLIGHT, effort.time / ROUNDS, move |worker| {
            let (channel, calls) = (instance.channel(worker), calls.clone());
            async move {
                call(service, channel).await?;
                calls.fetch_add(1, Relaxed);
                Ok(())
            }
        });
        self.rounds.push(round.await?);
        self.seconds += self.instance.cpu_seconds()? - before;
        self.instance.freeze()
    }

    /// The round that half of the others were slower than.
    fn middle(&mut self) -> Measured {
        self.rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        self.rounds[self.rounds.len() / 2].clone()
    }

    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn processor(&self) -> Measured {
        let nanos = self.seconds * 1e9 / self.calls.load(Relaxed) as f64;
        Measured::figure(nanos, "ns a call")
    }
}

async fn call(service: &str, channel: Channel) -> anyhow::Result<()> {
    match service {
        EVENT_STORE => {
            EventStoreClient::new(channel).append(one_event("traced")).await?;
        }
        _ => {
            MessageQueueClient::new(channel).send(one_message("traced")).await?;
        }
    }
    Ok(())
}
