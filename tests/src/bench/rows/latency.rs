//! From writing to delivery, on a quiet system: one at a time.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures::future::join;
use proto::eventstore::v1::subscribe_response::Message;
use proto::messagequeue::v1::consume_request::Message as Said;
use proto::messagequeue::v1::consume_response::Message as Heard;
use proto::messagequeue::v1::{ConsumeAck, ConsumeOpen, ConsumeRequest, ConsumeResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Effort;
use super::subscribe::from_now;
use super::unary::{one_event, one_message};
use crate::bench::load::{Measured, WARM_UP, histogram, measured, micros};
use crate::bench::world::World;

pub async fn append_to_delivery(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    const TOPIC: &str = "quiet";
    let (mut writer, mut reader) = (world.store(0), world.store(1));
    writer.append(one_event(TOPIC)).await?;
    let mut stream = reader.subscribe(from_now(TOPIC)).await?.into_inner();
    loop {
        let message = stream.message().await?.context("the subscription ended")?;
        if matches!(message.message, Some(Message::CaughtUp(_))) {
            break;
        }
    }
    let mut timing = Timing::new(effort)?;
    while timing.goes_on() {
        let written = Instant::now();
        let delivered = async {
            loop {
                let message = stream.message().await?.context("the subscription ended")?;
                if matches!(message.message, Some(Message::Event(_))) {
                    break;
                }
            }
            timing.record(written);
            anyhow::Ok(())
        };
        let (appended, delivered) = join(writer.append(one_event(TOPIC)), delivered).await;
        appended?;
        delivered?;
    }
    Ok(timing.measured())
}

pub async fn send_to_delivery(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    const QUEUE: &str = "quiet";
    let (mut writer, mut reader) = (world.queue(0), world.queue(1));
    let (says, said) = mpsc::channel(16);
    let open = Said::Open(ConsumeOpen { queue: QUEUE.to_owned(), ..ConsumeOpen::default() });
    says.send(request(open)).await?;
    let mut stream = reader.consume(ReceiverStream::new(said)).await?.into_inner();
    let mut timing = Timing::new(effort)?;
    while timing.goes_on() {
        let written = Instant::now();
        let delivered = async {
            let receipt = loop {
                if let Heard::Delivery(delivery) = heard(&mut stream).await? {
                    break delivery.receipt;
                }
            };
            timing.record(written);
            anyhow::Ok(receipt)
        };
        let (sent, delivered) = join(writer.send(one_message(QUEUE)), delivered).await;
        sent?;
        let ack = ConsumeAck { receipts: vec![delivered?] };
        says.send(request(Said::Ack(ack))).await?;
        // Acked before the next is sent: nothing else is under way then.
        loop {
            if let Heard::Outcome(outcome) = heard(&mut stream).await? {
                anyhow::ensure!(outcome.error.is_none(), "an ack was refused: {:?}", outcome.error);
                break;
            }
        }
    }
    Ok(timing.measured())
}

async fn heard(stream: &mut Streaming<ConsumeResponse>) -> anyhow::Result<Heard> {
    let message = stream.message().await?.context("the consuming ended")?.message;
    message.context("an empty answer")
}

fn request(message: Said) -> ConsumeRequest {
    ConsumeRequest { message: Some(message) }
}

/// One thing after the other, timed after the warm-up.
pub struct Timing {
    counted: Instant,
    end: Instant,
    latencies: hdrhistogram::Histogram<u64>,
}

impl Timing {
    pub fn new(effort: Effort) -> anyhow::Result<Self> {
        let counted = Instant::now() + WARM_UP;
        Ok(Self { counted, end: counted + effort.time, latencies: histogram()? })
    }

    pub fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    pub fn record(&mut self, start: Instant) {
        if start >= self.counted {
            self.latencies.saturating_record(micros(start.elapsed()));
        }
    }

    pub fn measured(&self) -> Measured {
        let done = self.latencies.len();
        measured(&self.latencies, done, self.counted.elapsed(), 0)
    }
}
