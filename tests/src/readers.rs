//! Reading everything back: a topic from its start, a queue until it is empty.

use anyhow::{Context as _, ensure};
use proto::eventstore::v1::subscribe_response::Message;
use proto::eventstore::v1::{
    ReadRequest, RecordedEvent, Start, SubscribeRequest, TopicStart, event, start,
};
use proto::messagequeue::v1::{AckRequest, ReceiveRequest, message};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::clients::Clients;

/// The text of every event of a topic, in order, with the proof that none is missing.
///
/// # Errors
/// When a sequence is missing or twice, a position goes back, or the read fails.
pub async fn whole_topic(clients: &Clients, topic: &str) -> anyhow::Result<Vec<String>> {
    let request = ReadRequest { topic: topic.to_owned(), ..ReadRequest::default() };
    let mut stream = clients.store.clone().read(request).await?.into_inner();
    let mut texts = Vec::new();
    let mut position = None;
    while let Some(answer) = stream.message().await? {
        let recorded = answer.event.context("an empty answer")?;
        let expected = u64::try_from(texts.len())? + 1;
        ensure!(
            recorded.sequence == expected,
            "sequence {} where {expected} is next",
            recorded.sequence
        );
        let now = parse(&recorded.position)?;
        ensure!(position < Some(now), "{position:?} is followed by {now:?}");
        position = Some(now);
        texts.push(text(&recorded)?);
    }
    Ok(texts)
}

/// A position as the two integers that it is compared by.
fn parse(position: &str) -> anyhow::Result<(u64, u64)> {
    let (ms, n) = position.split_once('-').context("a position is <ms>-<n>")?;
    Ok((ms.parse()?, n.parse()?))
}

fn text(recorded: &RecordedEvent) -> anyhow::Result<String> {
    let event = recorded.event.as_ref().context("no event")?;
    match &event.data {
        Some(event::Data::TextData(text)) => Ok(text.clone()),
        other => anyhow::bail!("no text but {other:?}"),
    }
}

/// Takes everything out of a queue, acks it, and answers the texts.
///
/// # Errors
/// When a call fails or an ack is refused.
pub async fn whole_queue(clients: &Clients, queue: &str) -> anyhow::Result<Vec<String>> {
    let mut client = clients.queue.clone();
    let mut texts = Vec::new();
    loop {
        let request = ReceiveRequest {
            queue: queue.to_owned(),
            max_messages: Some(1_000),
            ..ReceiveRequest::default()
        };
        let deliveries = client.receive(request).await?.into_inner().deliveries;
        if deliveries.is_empty() {
            return Ok(texts);
        }
        let mut receipts = Vec::new();
        for delivery in deliveries {
            let body = delivery.message.context("no message")?.body;
            let Some(message::Body::TextBody(text)) = body else {
                anyhow::bail!("no text but {body:?}");
            };
            texts.push(text);
            receipts.push(delivery.receipt);
        }
        let queue = queue.to_owned();
        let acks = client.ack(AckRequest { queue, receipts }).await?;
        let refused = acks.into_inner().outcomes.into_iter().find(|ack| ack.error.is_some());
        ensure!(refused.is_none(), "an ack was refused: {refused:?}");
    }
}

/// Follows a topic from its beginning and resumes where it was whenever the stream ends as the
/// documents allow. Tells the last sequence; fails at a hole, a repeat or another end.
#[must_use]
pub fn follow(
    clients: &Clients,
    topic: &str,
) -> (JoinHandle<anyhow::Result<()>>, watch::Receiver<u64>) {
    let (client, topic) = (clients.store.clone(), topic.to_owned());
    let (seen, watched) = watch::channel(0);
    let task = tokio::spawn(async move {
        let mut after: Option<String> = None;
        loop {
            let at = after.clone().map(start::At::AfterPosition);
            let request = SubscribeRequest {
                topics: vec![TopicStart {
                    topic: topic.clone(),
                    start: at.map(|at| Start { at: Some(at) }),
                }],
                ..SubscribeRequest::default()
            };
            let ended = match client.clone().subscribe(request).await {
                Ok(stream) => receive(stream.into_inner(), &seen, &mut after).await?,
                Err(status) => status,
            };
            ensure!(
                matches!(ended.code(), Code::Unavailable | Code::Unknown),
                "the subscription ended with {ended:?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    (task, watched)
}

async fn receive(
    mut stream: tonic::Streaming<proto::eventstore::v1::SubscribeResponse>,
    seen: &watch::Sender<u64>,
    after: &mut Option<String>,
) -> anyhow::Result<tonic::Status> {
    loop {
        match stream.message().await {
            Ok(Some(answer)) => {
                if let Some(Message::Event(event)) = answer.message {
                    let next = *seen.borrow() + 1;
                    ensure!(event.sequence == next, "{} where {next} is next", event.sequence);
                    *after = Some(event.position);
                    seen.send_replace(event.sequence);
                }
            }
            Ok(None) => anyhow::bail!("the subscription ended without a status"),
            Err(status) => return Ok(status),
        }
    }
}
