//! The rows of the bare service: what the same work takes without anything to rely on.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures::future::join;
use tokio::task::JoinHandle;

use super::latency::Timing;
use super::unary::BYTES;
use super::{Effort, Spec};
use crate::bench::echo::v1::Payload;
use crate::bench::load::{Measured, closed_loop};
use crate::bench::world::World;

/// A write.
pub const PUT: &str = "limit: bare service over Redis, write";
/// From a write until the one who watches has it.
pub const DELIVERY: &str = "limit: bare service, write to delivery";
/// What is asked, answered by the one who watches.
pub const ASK: &str = "limit: bare service, ask and answer";
/// The same by the scripts of a Call.
pub const ASK_KEPT: &str = "limit: bare service, the scripts of a Call";

pub fn puts(in_flight: usize) -> Spec {
    Spec::new(PUT, in_flight, move |world, effort| put(world, in_flight, effort)).with_processor()
}

pub fn delivery() -> Spec {
    Spec::new(DELIVERY, 1, put_to_delivery)
}

pub fn asks(in_flight: usize) -> Spec {
    Spec::new(ASK, in_flight, move |world, effort| ask(world, in_flight, payload(), effort))
        .with_processor()
}

pub fn kept_asks() -> Spec {
    let kept = Payload { kept: true, ..payload() };
    Spec::new(ASK_KEPT, 1, move |world, effort| ask(world, 1, kept.clone(), effort))
        .with_processor()
}

fn payload() -> Payload {
    Payload { data: BYTES, ..Payload::default() }
}

async fn put(world: Arc<World>, in_flight: usize, effort: Effort) -> anyhow::Result<Measured> {
    closed_loop(in_flight, effort.time, move |worker| {
        let mut client = world.bare(worker);
        async move {
            client.put(payload()).await?;
            Ok(())
        }
    })
    .await
}

async fn put_to_delivery(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    let (mut writer, mut reader) = (world.bare(0), world.bare(1));
    let mut stream = reader.watch(payload()).await?.into_inner();
    let mut timing = Timing::new(effort)?;
    while timing.goes_on() {
        let written = Instant::now();
        let delivered = async {
            stream.message().await?.context("the watching ended")?;
            timing.record(written);
            anyhow::Ok(())
        };
        let (put, delivered) = join(writer.put(payload()), delivered).await;
        put?;
        delivered?;
    }
    Ok(timing.measured())
}

async fn ask(
    world: Arc<World>,
    in_flight: usize,
    payload: Payload,
    effort: Effort,
) -> anyhow::Result<Measured> {
    let worker = worker(&world).await?;
    let outcome = closed_loop(in_flight, effort.time, move |n| {
        let (mut client, payload) = (world.bare(n), payload.clone());
        async move {
            let answer = client.ask(payload).await?.into_inner();
            anyhow::ensure!(answer.data.len() == BYTES.len());
            Ok(())
        }
    })
    .await;
    worker.abort();
    outcome
}

async fn worker(world: &World) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let (mut watcher, replier) = (world.bare(2), world.bare(3));
    let mut stream = watcher.watch(payload()).await?.into_inner();
    Ok(tokio::spawn(async move {
        loop {
            let asked = stream.message().await?.context("the watching ended")?;
            let mut replier = replier.clone();
            let answer = Payload { number: asked.number, ..payload() };
            tokio::spawn(async move { replier.answer(answer).await });
        }
    }))
}
