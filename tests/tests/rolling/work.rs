//! Who writes and who works it off, over all replicas.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::eventstore::v1::{self as es, consume_request as es_ask, consume_response as es_say};
use proto::messagequeue::v1::{self as mq, consume_request as mq_ask, consume_response as mq_say};
use system_tests::balanced::Tally;
use system_tests::clients::{Clients, append, event, outgoing, send};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

pub const TOPIC: &str = "rolling";
pub const GROUP: &str = "workers";
pub const QUEUE: &str = "rolling";
/// Each is one of so many calls of its kind that are under way at most: what comes above waits.
const UNDER_WAY: usize = 512;
const TICK: Duration = Duration::from_millis(10);

/// What was handled: for each text the ids that it came under, and how often.
pub type Handled = Arc<Mutex<BTreeMap<String, BTreeMap<String, u64>>>>;

/// One kind of write, at a rate, until it is told to stop. Answers the ids of what was stored, by its
/// text.
pub async fn write<Fut>(
    rate: u64,
    stop: CancellationToken,
    one: impl Fn(String) -> Fut,
) -> BTreeMap<String, Option<String>>
where
    Fut: Future<Output = Option<String>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut calls, mut stored, mut due, mut made) = (JoinSet::new(), BTreeMap::new(), 0.0, 0_u64);
    while !stop.is_cancelled() {
        ticks.tick().await;
        #[allow(clippy::cast_precision_loss, reason = "a rate is small")]
        let per_tick = rate as f64 * TICK.as_secs_f64();
        due += per_tick;
        while due >= 1.0 {
            due -= 1.0;
            made += 1;
            let text = format!("{made:08}");
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            let call = one(text.clone());
            calls.spawn(async move {
                let id = call.await;
                drop(place);
                (text, id)
            });
        }
        while let Some(done) = calls.try_join_next() {
            let (text, id) = done.unwrap();
            stored.insert(text, id);
        }
    }
    while let Some(done) = calls.join_next().await {
        let (text, id) = done.unwrap();
        stored.insert(text, id);
    }
    stored
}

/// Appends an event with this id.
pub async fn append_one(clients: Clients, tally: Tally, id: String) -> Option<String> {
    let call = || {
        let (mut store, request) =
            (clients.store.clone(), append(TOPIC, vec![event(&id, "e", &id)]));
        async move { store.append(request).await }
    };
    let appended = tally.retried("Append", call).await?.into_inner();
    Some(appended.first_position)
}

/// Sends a message with this text and dedup key.
pub async fn send_one(clients: Clients, tally: Tally, text: String) -> Option<String> {
    let call = || {
        let mut message = outgoing("m", &text);
        message.dedup_key = Some(text.clone());
        let (mut queue, request) = (clients.queue.clone(), send(QUEUE, vec![message]));
        async move { queue.send(request).await }
    };
    let sent = tally.retried("Send", call).await?.into_inner();
    sent.results.into_iter().next().map(|result| result.message_id)
}

fn note(handled: &Handled, text: String, id: String) {
    *handled.lock().unwrap().entry(text).or_default().entry(id).or_default() += 1;
}

/// Works off the group by a stream, and by another one when that ended.
pub async fn member(
    clients: Clients,
    name: String,
    tally: Tally,
    handled: Handled,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let (say, said) = mpsc::channel(64);
        let open = es::ConsumeOpen {
            topic: TOPIC.into(),
            group: GROUP.into(),
            consumer: name.clone(),
            max_in_flight: None,
        };
        let open = es::ConsumeRequest { message: Some(es_ask::Message::Open(open)) };
        say.send(open).await.unwrap();
        let consumed = clients.groups.clone().consume(ReceiverStream::new(said)).await;
        let work = async |mut stream: Streaming<es::ConsumeResponse>| loop {
            match stream.message().await? {
                Some(es::ConsumeResponse {
                    message: Some(es_say::Message::Delivery(delivery)),
                }) => {
                    let event = delivery.event.unwrap();
                    note(&handled, event.event.unwrap().id.unwrap(), event.position);
                    let ack = es::ConsumeAck { receipts: vec![delivery.receipt] };
                    let ack = es::ConsumeRequest { message: Some(es_ask::Message::Ack(ack)) };
                    // Where it has ended, the next answer says so.
                    let _ = say.send(ack).await;
                }
                Some(_) => {}
                None => return Ok::<_, Status>(()),
            }
        };
        let ended = async { work(consumed?.into_inner()).await };
        tokio::select! {
            ended = ended => tally.ended("ConsumerGroups.Consume", ended.err()).await,
            () = stop.cancelled() => {}
        }
    }
}

/// Works off the queue by a stream, and by another one when that ended.
pub async fn consumer(clients: Clients, tally: Tally, handled: Handled, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let (say, said) = mpsc::channel(64);
        let open = mq::ConsumeOpen { queue: QUEUE.into(), ..mq::ConsumeOpen::default() };
        let open = mq::ConsumeRequest { message: Some(mq_ask::Message::Open(open)) };
        say.send(open).await.unwrap();
        let consumed = clients.queue.clone().consume(ReceiverStream::new(said)).await;
        let work = async |mut stream: Streaming<mq::ConsumeResponse>| loop {
            match stream.message().await? {
                Some(mq::ConsumeResponse {
                    message: Some(mq_say::Message::Delivery(delivery)),
                }) => {
                    note_message(&handled, delivery.message.unwrap());
                    let ack = mq::ConsumeAck { receipts: vec![delivery.receipt] };
                    let ack = mq::ConsumeRequest { message: Some(mq_ask::Message::Ack(ack)) };
                    let _ = say.send(ack).await;
                }
                Some(_) => {}
                None => return Ok::<_, Status>(()),
            }
        };
        let ended = async { work(consumed?.into_inner()).await };
        tokio::select! {
            ended = ended => tally.ended("MessageQueue.Consume", ended.err()).await,
            () = stop.cancelled() => {}
        }
    }
}

/// Works off the queue by long polls and single acks, each tried again.
pub async fn poller(clients: Clients, tally: Tally, handled: Handled, stop: CancellationToken) {
    let receive = || {
        let request = mq::ReceiveRequest {
            queue: QUEUE.into(),
            max_messages: Some(10),
            wait: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            lease: None,
        };
        let mut queue = clients.queue.clone();
        async move { queue.receive(request).await }
    };
    loop {
        let received = tokio::select! {
            received = tally.retried("Receive", receive) => received,
            () = stop.cancelled() => return,
        };
        let Some(received) = received else { return };
        let deliveries = received.into_inner().deliveries;
        let receipts: Vec<_> = deliveries.iter().map(|got| got.receipt.clone()).collect();
        for delivery in deliveries {
            note_message(&handled, delivery.message.unwrap());
        }
        if receipts.is_empty() {
            continue;
        }
        let ack = || {
            let request = mq::AckRequest { queue: QUEUE.into(), receipts: receipts.clone() };
            let mut queue = clients.queue.clone();
            async move { queue.ack(request).await }
        };
        if tally.retried("Ack", ack).await.is_none() {
            return;
        }
    }
}

fn note_message(handled: &Handled, message: mq::Message) {
    let Some(mq::message::Body::TextBody(text)) = message.body else { panic!("{message:?}") };
    note(handled, text, message.id.unwrap());
}
