//! Growth of queues: what sending, receiving and acking cost where there is much of everything,
//! beside a small queue of the same service and Redis, in turns.

use std::sync::Arc;

use anyhow::Context as _;
use futures::future::{BoxFuture, try_join_all};
use proto::messagequeue::v1::send_stream_response::Result as Answer;
use proto::messagequeue::v1::{
    AckRequest, CreateQueueRequest, OutgoingMessage, ReceiveRequest, SendRequest, outgoing_message,
};

use super::growth::{Batch, Found, MOST, in_turns};
use super::unary::plain_message;
use super::{Effort, Spec};
use crate::bench::queue_instance::QueueInstance;

/// Messages of a call that is measured.
const ITEMS: usize = 10;
/// Messages of a call that fills.
const FILL: usize = 1_000;
/// Streams that fill, and that make queues.
const STREAMS: usize = 4;
/// Of a million messages so many are leased in the case of leases, and as many queues there are.
const LEASED_OF: usize = 10;
const QUEUES_OF: usize = 100;
/// Longer than anything here takes.
const HOUR: prost_types::Duration = prost_types::Duration { seconds: 3_600, nanos: 0 };
const SMALL: &str = "small";

pub fn rows() -> Vec<Spec> {
    let pair = |fill: Fill, few, many| {
        let batch = Batch::new(fill);
        [batch.row(few), batch.row(many).median(MOST, few, 1)]
    };
    [
        pair(
            |_, effort| Box::pin(beside(Kind::Ready, effort)),
            "growth: cycle of 10, a small queue (ready)",
            "growth: cycle of 10, many ready",
        ),
        pair(
            |_, effort| Box::pin(beside(Kind::Leased, effort)),
            "growth: cycle of 10, a small queue (leased)",
            "growth: cycle of 10, many leased",
        ),
        pair(
            |_, effort| Box::pin(beside(Kind::Delayed, effort)),
            "growth: cycle of 10, a small queue (delayed)",
            "growth: cycle of 10, many delayed",
        ),
        pair(
            |_, effort| Box::pin(beside(Kind::Queues, effort)),
            "growth: cycle of 10, one queue",
            "growth: cycle of 10, many queues",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

type Fill =
    fn(Arc<crate::bench::world::World>, Effort) -> BoxFuture<'static, anyhow::Result<Found>>;

/// Of what there is much.
#[derive(Clone, Copy)]
enum Kind {
    Ready,
    Leased,
    Delayed,
    Queues,
}

/// A small queue beside a large one, or beside many.
async fn beside(kind: Kind, effort: Effort) -> anyhow::Result<Found> {
    let service = QueueInstance::start(STREAMS).await?;
    create(&service, SMALL).await?;
    let large = match kind {
        Kind::Ready => vec![fill(&service, "ready", effort.messages, None).await?],
        Kind::Delayed => vec![fill(&service, "delayed", effort.messages, Some(HOUR)).await?],
        Kind::Leased => {
            let count = effort.messages / LEASED_OF;
            let name = fill(&service, "leased", count, None).await?;
            for _ in 0..count / FILL {
                receive(&service, &name, FILL).await?;
            }
            vec![name]
        }
        Kind::Queues => {
            let names: Vec<_> =
                (0..effort.messages / QUEUES_OF).map(|n| format!("queue-{n}")).collect();
            create_all(&service, &names).await?;
            names
        }
    };
    let service = &service;
    let cycles = in_turns(
        effort,
        |_| Ok(()),
        |side| {
            let name = if side == 0 { SMALL } else { &large[rand::random_range(0..large.len())] };
            cycle(service, name)
        },
    );
    Ok(cycles.await?.to_vec())
}

/// Creates queues, several at a time.
pub async fn create_all(service: &QueueInstance, names: &[String]) -> anyhow::Result<()> {
    let makers = (0..STREAMS).map(|maker| async move {
        for name in names.iter().skip(maker).step_by(STREAMS) {
            create(service, name).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(makers).await?;
    Ok(())
}

async fn create(service: &QueueInstance, queue: &str) -> anyhow::Result<()> {
    let request = CreateQueueRequest { queue: queue.to_owned(), settings: None };
    service.queues().create_queue(request).await?;
    Ok(())
}

fn send_request(queue: &str, count: usize, delay: Option<prost_types::Duration>) -> SendRequest {
    let due = delay.map(outgoing_message::Due::Delay);
    let message = OutgoingMessage { message: Some(plain_message()), due, ..Default::default() };
    SendRequest { queue: queue.to_owned(), messages: vec![message; count], durability: 0 }
}

/// Sends so many messages over a few streams; answers the queue's name.
async fn fill(
    service: &QueueInstance,
    queue: &str,
    count: usize,
    delay: Option<prost_types::Duration>,
) -> anyhow::Result<String> {
    create(service, queue).await?;
    let streams = (0..STREAMS).map(|n| {
        let requests = (n * FILL..count).step_by(STREAMS * FILL);
        let request = send_request(queue, FILL, delay);
        let requests = tokio_stream::iter(requests.map(move |_| request.clone()));
        async move {
            let mut answers = service.queue(n).send_stream(requests).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                if let Answer::Error(error) = answer.result.context("an empty answer")? {
                    anyhow::bail!("refused: {}", error.message);
                }
            }
            Ok(())
        }
    });
    try_join_all(streams).await?;
    Ok(queue.to_owned())
}

async fn receive(
    service: &QueueInstance,
    queue: &str,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let request = ReceiveRequest {
        queue: queue.to_owned(),
        max_messages: Some(u32::try_from(count)?),
        wait: None,
        lease: Some(HOUR),
    };
    let got = service.queue(0).receive(request).await?.into_inner().deliveries;
    anyhow::ensure!(got.len() == count, "{} of {count} messages", got.len());
    Ok(got.into_iter().map(|delivery| delivery.receipt).collect())
}

/// Sends, receives and acks.
async fn cycle(service: &QueueInstance, queue: &str) -> anyhow::Result<()> {
    service.queue(0).send(send_request(queue, ITEMS, None)).await?;
    let receipts = receive(service, queue, ITEMS).await?;
    let request = AckRequest { queue: queue.to_owned(), receipts };
    let outcomes = service.queue(0).ack(request).await?.into_inner().outcomes;
    anyhow::ensure!(outcomes.iter().all(|outcome| outcome.error.is_none()), "an ack was refused");
    Ok(())
}
