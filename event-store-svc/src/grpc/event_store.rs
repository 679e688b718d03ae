//! `eventstore.v1.EventStore`.

use std::time::Duration;

use futures::stream::{BoxStream, FuturesOrdered, StreamExt as _};
use proto::server::eventstore::v1 as pb;
use proto::server::eventstore::v1::event_store_server::EventStore;
use svc_runtime::rpc_error::RpcError;
use svc_security::{Caller, Right};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_stream::StreamMap;
use tonic::{Request, Response, Status, Streaming};

use super::allow::{Allowed as _, asked};
use super::check::{self, Checks};
use super::{Handlers, convert, malformed};
use crate::error::StoreError;
use crate::model::{Append, AppendOrder, EventFilter, Name, Position, Start};
use crate::store::{Read, SharedEvent, Snapshot, Store, SubjectItem, TailItem};

/// Appends of one stream that may be under way; then it stops reading its client.
const PIPELINED: usize = 1_024;
const MAX_TOPICS: usize = 100;
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(10);
const HEARTBEATS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(300);

/// What happened on a stream of appends.
enum AppendStep {
    Answer(Result<pb::AppendStreamResponse, StoreError>),
    Request(Option<Result<pb::AppendRequest, Status>>),
    Shutdown,
}

/// What happened on a subscription.
enum TailStep {
    Item(usize, crate::store::Result<TailItem>),
    Heartbeat,
    Shutdown,
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl<S: Store> EventStore for Handlers<S> {
    async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        let (caller, request) = asked(request)?;
        let append = caller.may_append(check::append(request, self.limits)?)?;
        Ok(Response::new(convert::appended(self.store.append(append).await?)))
    }

    type AppendStreamStream = Answers<pb::AppendStreamResponse>;

    async fn append_stream(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let handlers = self.clone();
        let (caller, mut requests) = asked(request)?;
        let answers = async_stream::try_stream! {
            let mut under_way = FuturesOrdered::new();
            let order = AppendOrder::default();
            let mut durability = 0;
            let mut open = true;
            // The first request was counted as the call.
            let mut counts = 0;
            while open || !under_way.is_empty() {
                let step = tokio::select! {
                    biased;
                    Some(answer) = under_way.next() => AppendStep::Answer(answer),
                    request = requests.next(), if open && under_way.len() < PIPELINED => {
                        AppendStep::Request(request)
                    }
                    () = handlers.shutdown.triggered(), if open => AppendStep::Shutdown,
                };
                match step {
                    AppendStep::Answer(answer) => yield answer?,
                    AppendStep::Request(Some(request)) => {
                        let request = request.map_err(malformed::explain)?;
                        if request.durability != durability {
                            // Those of another durability do not wait for each other by themselves.
                            while let Some(answer) = under_way.next().await {
                                yield answer?;
                            }
                            durability = request.durability;
                        }
                        let counted = caller.charge(std::mem::replace(&mut counts, 1));
                        let checked = counted
                            .and_then(|()| check::append(request, handlers.limits))
                            .and_then(|append| caller.may_append(append));
                        under_way.push_back(handlers.append_one(checked, &order).await);
                    }
                    AppendStep::Request(None) => open = false,
                    AppendStep::Shutdown => {
                        // What was taken is answered; the client sends the rest elsewhere.
                        while let Some(answer) = under_way.next().await {
                            yield answer?;
                        }
                        Err(StoreError::ShuttingDown)?;
                    }
                }
            }
        };
        Ok(Response::new(answers.boxed()))
    }

    type ReadStream = Answers<pb::ReadResponse>;

    async fn read(
        &self,
        request: Request<pb::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = Checks::default();
        let topic = checks.name("topic", &request.topic);
        let subject = request.subject.as_deref().map(|text| checks.subject("subject", text));
        let direction = check::direction(&mut checks, request.direction);
        let start = checks.start("start", request.start, subject.is_some());
        let end = request.end_position.as_deref().map(|text| checks.position("end_position", text));
        if request.limit == Some(0) {
            checks.wrong("limit", "must be at least 1, or absent");
        }
        let filter = checks.filter(request.filter);
        let read = topic.zip(direction).map(|(topic, direction)| Read {
            topic,
            subject: subject.flatten(),
            direction,
            start,
            end: end.flatten(),
            limit: request.limit,
            filter,
        });
        let read = checks.done(read)?;
        let topic = read.topic.clone();
        caller.may(Right::Read, &topic)?;
        let mut pages = Box::pin(self.store.read(read));
        // The first page tells whether there is such a topic, before the stream begins.
        let first = pages.next().await.transpose()?;
        let answers = async_stream::try_stream! {
            let mut page = first;
            while let Some(events) = page {
                caller.may(Right::Read, &topic)?;
                for event in &events {
                    yield pb::ReadResponse { event: event.to_recorded(&topic) };
                }
                page = pages.next().await.transpose()?;
            }
        };
        Ok(Response::new(answers.boxed()))
    }

    type SubscribeStream = Answers<pb::SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = Checks::default();
        let topics = topics(&mut checks, request.topics);
        let filter = checks.filter(request.filter);
        let heartbeat =
            checks.duration("heartbeat_interval", request.heartbeat_interval, HEARTBEATS);
        let topics = checks.done(Some(topics))?;
        topics.iter().try_for_each(|(topic, _)| caller.may(Right::Read, topic))?;
        let heartbeat = heartbeat.unwrap_or(DEFAULT_HEARTBEAT);
        Ok(Response::new(self.follow(caller, topics, filter, heartbeat).boxed()))
    }

    async fn save_snapshot(
        &self,
        request: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<pb::SaveSnapshotResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = Checks::default();
        let topic = checks.name("topic", &request.topic);
        let subject = checks.subject("subject", &request.subject);
        if request.content_type.as_ref().is_some_and(|text| text.len() > 256) {
            checks.wrong("content_type", "must be at most 256 bytes");
        }
        let (is, most) = (request.data.len(), self.limits.max_event_bytes);
        if is > most {
            checks.because("EVENT_TOO_LARGE", "data", format!("has {is} bytes; at most {most}"));
        }
        let (topic, subject) = checks.done(topic.zip(subject))?;
        caller.may(Right::Append, &topic)?;
        let snapshot = Snapshot {
            revision: request.revision,
            content_type: request.content_type,
            data: request.data,
            saved_at: Duration::ZERO,
        };
        self.store.save_snapshot(&topic, &subject, snapshot).await?;
        Ok(Response::new(pb::SaveSnapshotResponse {}))
    }

    type LoadSubjectStream = Answers<pb::LoadSubjectResponse>;

    async fn load_subject(
        &self,
        request: Request<pb::LoadSubjectRequest>,
    ) -> Result<Response<Self::LoadSubjectStream>, Status> {
        use pb::load_subject_response::Item;
        let (caller, request) = asked(request)?;
        let mut checks = Checks::default();
        let topic = checks.name("topic", &request.topic);
        let subject = checks.subject("subject", &request.subject);
        let (topic, subject) = checks.done(topic.zip(subject))?;
        caller.may(Right::Read, &topic)?;
        let mut items = Box::pin(self.store.load_subject(topic.clone(), subject.clone()));
        let first = items.next().await.transpose()?;
        let answers = async_stream::try_stream! {
            let mut item = first;
            while let Some(found) = item {
                caller.may(Right::Read, &topic)?;
                match found {
                    SubjectItem::Snapshot(snapshot) => yield Item::Snapshot(pb::Snapshot {
                        subject: subject.as_str().to_owned(),
                        revision: snapshot.revision,
                        content_type: snapshot.content_type,
                        data: snapshot.data,
                        saved_at: Some(convert::timestamp(snapshot.saved_at)),
                    }),
                    SubjectItem::Events(events) => {
                        for event in &events {
                            yield Item::Event(event.to_recorded(&topic));
                        }
                    }
                }
                item = items.next().await.transpose()?;
            }
        };
        let answers = answers
            .map(|item: Result<_, Status>| Ok(pb::LoadSubjectResponse { item: Some(item?) }));
        Ok(Response::new(answers.boxed()))
    }

    async fn delete_snapshot(
        &self,
        request: Request<pb::DeleteSnapshotRequest>,
    ) -> Result<Response<pb::DeleteSnapshotResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = Checks::default();
        let topic = checks.name("topic", &request.topic);
        let subject = checks.subject("subject", &request.subject);
        let (topic, subject) = checks.done(topic.zip(subject))?;
        caller.may(Right::Append, &topic)?;
        self.store.delete_snapshot(&topic, &subject).await?;
        Ok(Response::new(pb::DeleteSnapshotResponse {}))
    }
}

fn topics(checks: &mut Checks, topics: Vec<pb::TopicStart>) -> Vec<(Name, Start)> {
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
    /// Hands one append of a stream over; what comes out answers it, or ends the stream: what is
    /// not known to be there has to be repeated before what follows it.
    async fn append_one(
        &self,
        checked: Result<Append, RpcError>,
        order: &AppendOrder,
    ) -> impl Future<Output = Result<pb::AppendStreamResponse, StoreError>> + Send + 'static {
        use pb::append_stream_response::Result as Answer;
        let order = order.clone();
        let pending = match checked {
            Ok(append) => {
                let append = Append { stream: Some(order.clone()), ..append };
                Ok(self.store.append_ordered(append).await)
            }
            Err(refused) => Err(refused),
        };
        async move {
            let result = match pending {
                Ok(pending) => match pending.await {
                    Ok(appended) => Answer::Appended(convert::appended(appended)),
                    Err(error) if error.is_passing() => {
                        order.end();
                        return Err(error);
                    }
                    Err(error) => Answer::Error(super::status::of(&error).into()),
                },
                Err(refused) => Answer::Error(refused.into()),
            };
            Ok(pb::AppendStreamResponse { result: Some(result) })
        }
    }

    /// Several topics in one stream: each in order, heartbeats in between.
    fn follow(
        &self,
        caller: Caller,
        topics: Vec<(Name, Start)>,
        filter: EventFilter,
        heartbeat: Duration,
    ) -> impl futures::Stream<Item = Result<pb::SubscribeResponse, Status>> + Send + 'static {
        use pb::subscribe_response::Message;
        let store = self.store.clone();
        let shutdown = self.shutdown.clone();
        async_stream::try_stream! {
            let mut progress: Vec<(Name, Option<Position>)> = Vec::new();
            let mut tails = StreamMap::new();
            for (index, (topic, start)) in topics.into_iter().enumerate() {
                tails.insert(index, store.tail(topic.clone(), start));
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
                        for event in events.iter().filter(wanted) {
                            let message = Some(Message::Event(event.recorded.clone()));
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
