//! A consumer group works off a topic.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use proto::eventstore::v1::consume_request::Message as Said;
use proto::eventstore::v1::consume_response::Message as Heard;
use proto::eventstore::v1::{ConsumeAck, ConsumeOpen, ConsumeRequest, CreateGroupRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Effort;
use super::event_stream::{FILLED, fill};
use crate::bench::flow::Count;
use crate::bench::load::{Measured, histogram, measured};
use crate::bench::world::World;

const GROUP: &str = "workers";
const CONSUMERS: usize = 4;
const IN_FLIGHT: u32 = 2_000;
/// Receipts that are acked together, when so many have come.
const ACKS: usize = 100;

/// Works off the filled topic once, from end to end; what counts is confirmed acks.
pub async fn consume_and_ack(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    fill(&world, effort.events).await?;
    let group = CreateGroupRequest {
        topic: FILLED.to_owned(),
        group: GROUP.to_owned(),
        ..CreateGroupRequest::default()
    };
    world.groups(0).create_group(group).await?;
    let total = effort.events / 500 * 500;
    let acked = Count::default();
    let start = Instant::now();
    let consumers = (0..CONSUMERS).map(|n| consume(&world, n, acked.clone(), total));
    try_join_all(consumers).await?;
    Ok(measured(&histogram()?, acked.get(), start.elapsed(), 0))
}

async fn consume(world: &World, n: usize, acked: Count, total: u64) -> anyhow::Result<()> {
    let (says, said) = mpsc::channel(64);
    let open = ConsumeOpen {
        topic: FILLED.to_owned(),
        group: GROUP.to_owned(),
        consumer: format!("consumer-{n}"),
        max_in_flight: Some(IN_FLIGHT),
    };
    says.send(request(Said::Open(open))).await?;
    let requests = ReceiverStream::new(said);
    let mut stream = world.groups(n).consume(requests).await?.into_inner();
    let mut receipts = Vec::with_capacity(ACKS);
    // The others may do the last of it: look again now and then.
    let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
    while acked.get() < total {
        let message = tokio::select! {
            message = stream.message() => message?.context("the consuming ended")?.message,
            _ = look.tick() => None,
        };
        match message {
            Some(Heard::Delivery(delivery)) => receipts.push(delivery.receipt),
            Some(Heard::Outcome(outcome)) if outcome.error.is_none() => acked.add(1),
            Some(Heard::Outcome(outcome)) => bail!("an ack was refused: {:?}", outcome.error),
            Some(Heard::Heartbeat(_)) | None => {}
        }
        let idle = message_is_idle(&receipts, acked.get(), total);
        if receipts.len() >= ACKS || idle {
            let receipts = std::mem::replace(&mut receipts, Vec::with_capacity(ACKS));
            says.send(request(Said::Ack(ConsumeAck { receipts }))).await?;
        }
    }
    Ok(())
}

/// Near the end fewer than a full set of acks may be left.
fn message_is_idle(receipts: &[String], acked: u64, total: u64) -> bool {
    !receipts.is_empty() && total - acked.min(total) < u64::from(IN_FLIGHT)
}

fn request(message: Said) -> ConsumeRequest {
    ConsumeRequest { message: Some(message) }
}
