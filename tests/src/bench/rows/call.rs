//! Request and reply over a queue, answered by one worker that consumes by stream.

use std::sync::Arc;

use anyhow::Context as _;
use proto::messagequeue::v1::consume_request::Message as Said;
use proto::messagequeue::v1::consume_response::Message as Heard;
use proto::messagequeue::v1::{
    CallRequest, ConsumeOpen, ConsumeRequest, ReplyBody, ReplyContent, ReplyRequest, reply_body,
    reply_content,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::Effort;
use super::unary::plain_message;
use crate::bench::PAYLOAD;
use crate::bench::load::{Measured, closed_loop};
use crate::bench::world::World;

pub async fn calls(
    world: Arc<World>,
    in_flight: usize,
    effort: Effort,
) -> anyhow::Result<Measured> {
    let queue = format!("calls-{in_flight}");
    let worker = worker(&world, &queue);
    let outcome = closed_loop(in_flight, effort.time, move |n| {
        let mut client = world.queue(n);
        let request = CallRequest {
            queue: queue.clone(),
            message: Some(plain_message()),
            timeout: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        };
        async move {
            let answer = client.call(request).await?.into_inner();
            let result = answer.reply.and_then(|reply| reply.result);
            anyhow::ensure!(matches!(result, Some(reply_content::Result::Body(_))));
            Ok(())
        }
    })
    .await;
    worker.abort();
    outcome
}

fn worker(world: &World, queue: &str) -> JoinHandle<anyhow::Result<()>> {
    let (mut consumer, replier) = (world.queue(2), world.queue(3));
    let queue = queue.to_owned();
    tokio::spawn(async move {
        let (says, said) = mpsc::channel(1);
        let open = ConsumeOpen { queue: queue.clone(), ..ConsumeOpen::default() };
        let message = Some(Said::Open(open));
        says.send(ConsumeRequest { message }).await?;
        let requests = ReceiverStream::new(said);
        let mut stream = consumer.consume(requests).await?.into_inner();
        loop {
            let answer = stream.message().await?.context("the consuming ended")?;
            let Some(Heard::Delivery(delivery)) = answer.message else {
                continue;
            };
            let mut replier = replier.clone();
            let request = reply(&queue, delivery.receipt);
            tokio::spawn(async move { replier.reply(request).await });
        }
    })
}

fn reply(queue: &str, receipt: String) -> ReplyRequest {
    let body = reply_body::Body::BinaryBody(bytes::Bytes::from_static(&[b'y'; PAYLOAD]));
    ReplyRequest {
        queue: queue.to_owned(),
        receipt,
        reply: Some(ReplyContent {
            result: Some(reply_content::Result::Body(ReplyBody {
                body: Some(body),
                ..ReplyBody::default()
            })),
        }),
    }
}
