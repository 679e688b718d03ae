//! One call, one event or message.

use std::sync::Arc;

use bytes::Bytes;
use proto::eventstore::v1::{AppendRequest, Event, event};
use proto::messagequeue::v1::{Message, OutgoingMessage, SendRequest, message};

use super::Effort;
use crate::bench::echo::v1::Payload;
use crate::bench::load::{Measured, closed_loop};
use crate::bench::world::World;
use crate::bench::{PAYLOAD, raw};

/// What is sent.
pub const BYTES: Bytes = Bytes::from_static(&[b'x'; PAYLOAD]);

pub async fn echo(world: Arc<World>, in_flight: usize, effort: Effort) -> anyhow::Result<Measured> {
    closed_loop(in_flight, effort.time, move |worker| {
        let mut client = world.echo(worker);
        async move {
            client.unary(Payload { data: BYTES, ..Payload::default() }).await?;
            Ok(())
        }
    })
    .await
}

pub async fn raw_xadd(
    world: Arc<World>,
    in_flight: usize,
    effort: Effort,
) -> anyhow::Result<Measured> {
    raw::xadd(&world.raw, in_flight, effort.time).await
}

pub async fn append(
    world: Arc<World>,
    in_flight: usize,
    effort: Effort,
) -> anyhow::Result<Measured> {
    closed_loop(in_flight, effort.time, move |worker| {
        let mut client = world.store(worker);
        async move {
            client.append(one_event(&format!("unary-{in_flight}"))).await?;
            Ok(())
        }
    })
    .await
}

pub async fn send(world: Arc<World>, in_flight: usize, effort: Effort) -> anyhow::Result<Measured> {
    closed_loop(in_flight, effort.time, move |worker| {
        let mut client = world.queue(worker);
        async move {
            client.send(one_message(&format!("unary-{in_flight}"))).await?;
            Ok(())
        }
    })
    .await
}

/// An append of one event of the usual size, without id or subject.
pub fn one_event(topic: &str) -> AppendRequest {
    AppendRequest {
        topic: topic.to_owned(),
        events: vec![plain_event()],
        ..AppendRequest::default()
    }
}

/// An event of the usual size, without id or subject.
pub fn plain_event() -> Event {
    Event {
        r#type: "measured".to_owned(),
        data: Some(event::Data::BinaryData(BYTES)),
        ..Event::default()
    }
}

/// A send of one message of the usual size.
pub fn one_message(queue: &str) -> SendRequest {
    SendRequest {
        queue: queue.to_owned(),
        messages: vec![OutgoingMessage {
            message: Some(plain_message()),
            ..OutgoingMessage::default()
        }],
        ..SendRequest::default()
    }
}

/// A message of the usual size.
pub fn plain_message() -> Message {
    Message {
        r#type: "measured".to_owned(),
        body: Some(message::Body::BinaryBody(BYTES)),
        ..Message::default()
    }
}
