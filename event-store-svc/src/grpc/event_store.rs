//! `eventstore.v1.EventStore`.

use std::time::Duration;

use futures::stream::{BoxStream, FuturesOrdered, StreamExt as _};
use proto::server::eventstore::v1 as pb;
use proto::server::eventstore::v1::event_store_server::EventStore;
use svc_runtime::rpc_error::RpcError;
use svc_security::Right;
use tonic::{Request, Response, Status, Streaming};

use super::allow::{Allowed as _, asked};
use super::check::{self, EventChecks as _};
use super::{Handlers, convert, status, subscribe};
use crate::error::StoreError;
use crate::model::{Append, AppendOrder};
use crate::store::{Read, Snapshot, Store, SubjectItem};

/// Appends of one stream that may be under way; then it stops reading its client.
const PIPELINED: usize = 1_024;

/// What happened on a stream of appends.
enum AppendStep {
    Answer(Result<pb::AppendStreamResponse, StoreError>),
    Request(Option<Result<pb::AppendRequest, Status>>),
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
                        let request = request.map_err(status::unread)?;
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
        let mut checks = check::begin();
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
        let counters = self.figures.of_topic(&topic);
        let answers = async_stream::try_stream! {
            let mut page = first;
            while let Some(events) = page {
                caller.may(Right::Read, &topic)?;
                counters.read.add(events.len() as u64);
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
        let mut checks = check::begin();
        let topics = subscribe::topics(&mut checks, request.topics);
        let filter = checks.filter(request.filter);
        let heartbeat = checks.duration(
            "heartbeat_interval",
            request.heartbeat_interval,
            subscribe::HEARTBEATS,
        );
        let topics = checks.done(Some(topics))?;
        topics.iter().try_for_each(|(topic, _)| caller.may(Right::Read, topic))?;
        let heartbeat = heartbeat.unwrap_or(subscribe::DEFAULT_HEARTBEAT);
        Ok(Response::new(self.follow(caller, topics, filter, heartbeat).boxed()))
    }

    async fn save_snapshot(
        &self,
        request: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<pb::SaveSnapshotResponse>, Status> {
        let (caller, request) = asked(request)?;
        let mut checks = check::begin();
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
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let subject = checks.subject("subject", &request.subject);
        let (topic, subject) = checks.done(topic.zip(subject))?;
        caller.may(Right::Read, &topic)?;
        let mut items = Box::pin(self.store.load_subject(topic.clone(), subject.clone()));
        let first = items.next().await.transpose()?;
        let counters = self.figures.of_topic(&topic);
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
                        counters.read.add(events.len() as u64);
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
        let mut checks = check::begin();
        let topic = checks.name("topic", &request.topic);
        let subject = checks.subject("subject", &request.subject);
        let (topic, subject) = checks.done(topic.zip(subject))?;
        caller.may(Right::Append, &topic)?;
        self.store.delete_snapshot(&topic, &subject).await?;
        Ok(Response::new(pb::DeleteSnapshotResponse {}))
    }
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
                    Err(error) => Answer::Error(status::of(&error).into()),
                },
                Err(refused) => Answer::Error(refused.into()),
            };
            Ok(pb::AppendStreamResponse { result: Some(result) })
        }
    }
}
