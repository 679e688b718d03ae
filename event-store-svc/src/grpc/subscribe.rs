//! Subscriptions: several topics in one stream.

use std::time::Duration;

use futures::stream::StreamExt as _;
use proto::server::eventstore::v1 as pb;
use svc_runtime::checks::Checks;
use svc_security::{Caller, Right};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_stream::StreamMap;
use tonic::Status;

use super::Handlers;
use super::allow::Allowed as _;
use super::check::EventChecks as _;
use crate::error::StoreError;
use crate::model::{EventFilter, Name, Position, Start};
use crate::store::{SharedEvent, Store, TailItem};

const MAX_TOPICS: usize = 100;
/// Where the client does not say.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(10);
/// What the client may say.
pub const HEARTBEATS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(300);

/// What happened on a subscription.
enum TailStep {
    Item(usize, crate::store::Result<TailItem>),
    Heartbeat,
    Shutdown,
}

/// Checks which topics are wanted, and from where on.
pub fn topics(checks: &mut Checks, topics: Vec<pb::TopicStart>) -> Vec<(Name, Start)> {
    checks.length("topics", topics.len(), MAX_TOPICS);
    let mut checked: Vec<(Name, Start)> = Vec::with_capacity(topics.len());
    for (index, entry) in topics.into_iter().enumerate().take(MAX_TOPICS) {
        let field = format!("topics[{index}]");
        let start = checks.start(&format!("{field}.start"), entry.start, false);
        let Some(topic) = checks.name(&format!("{field}.topic"), &entry.topic) else {
            continue;
        };
        if checked.iter().any(|(other, _)| *other == topic) {
            checks.wrong(format!("{field}.topic"), "must not be named twice");
        }
        checked.push((topic, start.unwrap_or_default()));
    }
    checked
}

impl<S: Store> Handlers<S> {
    /// Several topics in one stream: each in order, heartbeats in between.
    pub(super) fn follow(
        &self,
        caller: Caller,
        topics: Vec<(Name, Start)>,
        filter: EventFilter,
        heartbeat: Duration,
    ) -> impl futures::Stream<Item = Result<pb::SubscribeResponse, Status>> + Send + 'static {
        use pb::subscribe_response::Message;
        let store = self.store.clone();
        let shutdown = self.shutdown.clone();
        let figures = self.figures.clone();
        let subscriber = figures.subscriber();
        async_stream::try_stream! {
            let _open = subscriber;
            let mut progress: Vec<(Name, Option<Position>)> = Vec::new();
            let mut counters = Vec::new();
            let mut tails = StreamMap::new();
            for (index, (topic, start)) in topics.into_iter().enumerate() {
                tails.insert(index, store.tail(topic.clone(), start));
                counters.push(figures.of_topic(&topic));
                progress.push((topic, None));
            }
            let mut heartbeats = interval_at(Instant::now() + heartbeat, heartbeat);
            heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let step = tokio::select! {
                    biased;
                    () = shutdown.triggered() => TailStep::Shutdown,
                    _ = heartbeats.tick() => TailStep::Heartbeat,
                    Some((index, item)) = tails.next() => TailStep::Item(index, item),
                };
                let (index, item) = match step {
                    TailStep::Item(index, item) => (index, item?),
                    TailStep::Shutdown => Err(StoreError::ShuttingDown)?,
                    TailStep::Heartbeat => {
                        for (topic, _) in &progress {
                            caller.may(Right::Read, topic)?;
                        }
                        let topics = progress.iter().map(|(topic, position)| pb::TopicProgress {
                            topic: topic.to_string(),
                            position: position.map(|position| position.to_string()),
                            head_position: store.head(topic).map(|head| head.to_string()),
                        });
                        let message = Message::Heartbeat(pb::Heartbeat { topics: topics.collect() });
                        yield pb::SubscribeResponse { message: Some(message) };
                        continue;
                    }
                };
                let (topic, position) = &mut progress[index];
                caller.may(Right::Read, topic)?;
                let message = match item {
                    TailItem::Events(events) => {
                        let wanted = |event: &&SharedEvent| {
                            filter.is_empty() || filter.matches(&event.stored.view())
                        };
                        let wanted = events.iter().filter(wanted);
                        let wanted: Vec<_> = wanted.map(|event| event.recorded.clone()).collect();
                        counters[index].read.add(wanted.len() as u64);
                        for event in wanted {
                            let message = Some(Message::Event(event));
                            yield pb::SubscribeResponse { message };
                        }
                        *position = events.last().map(|last| last.stored.position).or(*position);
                        continue;
                    }
                    TailItem::CaughtUp => Message::CaughtUp(pb::CaughtUp { topic: topic.to_string() }),
                    TailItem::FellBehind => {
                        Message::FellBehind(pb::FellBehind { topic: topic.to_string() })
                    }
                };
                yield pb::SubscribeResponse { message: Some(message) };
            }
        }
    }
}
