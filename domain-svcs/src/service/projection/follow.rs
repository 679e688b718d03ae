//! The task that keeps a projection up to date.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use proto::eventstore::v1 as es;
use svc_runtime::backoff::Backoff;
use svc_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::keeper::Keeper;
use super::{From, Progress, Projection, Reader};
use crate::service::clients::Channel;
use crate::service::event::head;
use crate::service::position::Position;
use crate::service::snapshot::{Mark, Marks};
use crate::service::up::Up;

/// How often the event store says how far it got: how soon a quiet topic is
/// known to be caught up with.
const HEARTBEAT: prost_types::Duration = prost_types::Duration { seconds: 1, nanos: 0 };

pub(super) struct Follower<P> {
    store: es::event_store_client::EventStoreClient<Channel>,
    topics: Vec<&'static str>,
    from: From,
    state: Arc<RwLock<P>>,
    progress: watch::Sender<Progress>,
    marks: Marks,
    keeper: Option<Keeper<P>>,
    up: Up,
    shutdown: Shutdown,
}

impl<P: Projection> Follower<P> {
    pub(super) fn new(
        event_store: Channel,
        topics: Vec<&'static str>,
        from: From,
        projection: P,
        keeper: Option<Keeper<P>>,
        up: Up,
        shutdown: Shutdown,
    ) -> (Reader<P>, Self) {
        let (progress, watched) = watch::channel(Progress::default());
        let reader = Reader { state: Arc::new(RwLock::new(projection)), progress: watched };
        let follower = Self {
            store: es::event_store_client::EventStoreClient::new(event_store),
            topics,
            from,
            state: reader.state.clone(),
            progress,
            marks: Marks::new(),
            keeper,
            up,
            shutdown,
        };
        (reader, follower)
    }

    pub(super) async fn run(mut self) {
        if let Some(keeper) = &mut self.keeper
            && let Some((marks, items)) = keeper.restore(&self.state, &self.shutdown).await
        {
            self.progress.send_modify(|progress| {
                progress.restored_items = items;
                let positions = marks.iter().map(|(topic, mark)| (topic.clone(), mark.position));
                progress.positions = positions.collect();
            });
            self.marks = marks;
        }
        self.until_shutdown().await;
        self.up.set(false);
        if let Some(keeper) = &mut self.keeper {
            keeper.farewell(&self.state, self.marks).await;
        }
    }

    async fn until_shutdown(&mut self) {
        let mut backoff = Backoff::reconnect();
        let mut told = false;
        while !self.shutdown.is_triggered() {
            let shutdown = self.shutdown.clone();
            let ended = tokio::select! {
                () = shutdown.triggered() => return,
                ended = self.follow(&mut backoff, &mut told) => ended,
            };
            self.up.set(false);
            let (code, error) = (ended.code(), ended.message());
            if code == Code::OutOfRange {
                // What it followed is no longer there: only a new start is right.
                tracing::warn!(error, "topics went back, projecting them anew");
                self.state.write().unwrap_or_else(PoisonError::into_inner).reset();
                self.marks.clear();
                self.progress.send_modify(|progress| progress.positions.clear());
            } else if !std::mem::replace(&mut told, true) {
                tracing::warn!(?code, error, "cannot follow the topics for now");
            }
            if !backoff.wait(&self.shutdown).await {
                return;
            }
        }
    }

    /// Subscribes where it stopped and applies what comes, until that ends.
    async fn follow(&mut self, backoff: &mut Backoff, told: &mut bool) -> Status {
        let topics: Vec<_> = {
            let seen = &self.progress.borrow().positions;
            self.topics.iter().map(|topic| start(topic, seen.get(*topic), self.from)).collect()
        };
        let request =
            es::SubscribeRequest { topics, filter: None, heartbeat_interval: Some(HEARTBEAT) };
        let mut stream = match self.store.subscribe(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return status,
        };
        let mut behind: BTreeSet<&str> = self.topics.iter().copied().collect();
        loop {
            let message = match stream.next().await {
                Some(Ok(response)) => response.message,
                Some(Err(status)) => return status,
                None => return Status::unavailable("the subscription ended"),
            };
            match message {
                Some(es::subscribe_response::Message::Event(event)) => {
                    if let Err(gap) = self.apply(event).await {
                        return gap;
                    }
                }
                Some(es::subscribe_response::Message::CaughtUp(caught_up)) => {
                    behind.remove(caught_up.topic.as_str());
                }
                Some(es::subscribe_response::Message::Heartbeat(beat)) => {
                    for topic in beat.topics {
                        if topic.position == topic.head_position {
                            // Also a topic without events: nothing to catch up with.
                            behind.remove(topic.topic.as_str());
                        }
                        self.reached(topic.topic, topic.position.and_then(|at| at.parse().ok()));
                    }
                }
                Some(es::subscribe_response::Message::FellBehind(_)) | None => {}
            }
            if std::mem::take(told) {
                tracing::info!("following the topics again");
            }
            backoff.reset();
            self.up.set(behind.is_empty());
        }
    }

    async fn apply(&mut self, recorded: es::RecordedEvent) -> Result<(), Status> {
        let event = head(recorded);
        let (topic, sequence) = (event.recorded.topic.clone(), event.recorded.sequence);
        if let Some(mark) = self.marks.get(&topic)
            && sequence != mark.sequence + 1
        {
            // The event store lost what was read here, and went on otherwise.
            let message = format!("{topic} goes on with {sequence} after {}", mark.sequence);
            return Err(Status::out_of_range(message));
        }
        self.state.write().unwrap_or_else(PoisonError::into_inner).apply(&event);
        if let Some(position) = event.position {
            self.marks.insert(topic.clone(), Mark { position, sequence });
        }
        self.progress.send_modify(|progress| {
            progress.applied_events += 1;
            progress.positions.extend(event.position.map(|position| (topic, position)));
        });
        if let Some(keeper) = &mut self.keeper {
            if keeper.ended().await == Some(true) {
                self.progress.send_modify(|progress| progress.snapshots_saved += 1);
            }
            if keeper.is_due() {
                keeper.keep(&self.state, self.marks.clone()).await;
            }
        }
        Ok(())
    }

    fn reached(&self, topic: String, position: Option<Position>) {
        if let Some(position) = position {
            self.progress.send_if_modified(|progress| {
                progress.positions.insert(topic, position) != Some(position)
            });
        }
    }
}

fn start(topic: &str, seen: Option<&Position>, from: From) -> es::TopicStart {
    let at = match (seen, from) {
        (Some(position), _) => es::start::At::AfterPosition(position.to_string()),
        (None, From::Beginning) => es::start::At::Beginning(()),
        (None, From::End) => es::start::At::End(()),
    };
    es::TopicStart { topic: topic.to_owned(), start: Some(es::Start { at: Some(at) }) }
}
