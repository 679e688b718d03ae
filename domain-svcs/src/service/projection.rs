//! Projections: state in memory that follows topics from their beginning. Every
//! replica of a service has its own, built anew when it starts.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use futures::StreamExt;
use proto::eventstore::v1 as es;
use svc_runtime::backoff::Backoff;
use svc_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::event_log::{Head, head};
use super::failure::Failure;
use super::position::{Position, Positions};
use super::up::Up;

/// How often the event store says how far it got: how soon a quiet topic is
/// known to be caught up with.
const HEARTBEAT: prost_types::Duration = prost_types::Duration { seconds: 1, nanos: 0 };

/// State made of events.
pub trait Projection: Send + Sync + 'static {
    /// Takes in one event. Events of a topic come in order, each once.
    fn apply(&mut self, event: &Head);

    /// Forgets everything: the events come again from the beginning.
    fn reset(&mut self);
}

/// Where a projection starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    /// At the first event of each topic.
    Beginning,
    /// At what comes next.
    End,
}

/// Reads a projection. Cheap to clone.
#[derive(Debug)]
pub struct Reader<P> {
    state: Arc<RwLock<P>>,
    seen: watch::Receiver<Positions>,
}

impl<P> Clone for Reader<P> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), seen: self.seen.clone() }
    }
}

impl<P: Projection> Reader<P> {
    /// The state as it is now. Not to be held across an await.
    pub fn state(&self) -> RwLockReadGuard<'_, P> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the events up to these positions are in.
    ///
    /// # Errors
    /// When they did not come within `patience`.
    pub async fn seen(&self, positions: &Positions, patience: Duration) -> Result<(), Failure> {
        let mut seen = self.seen.clone();
        let reached = |seen: &Positions| {
            positions.iter().all(|(topic, wanted)| seen.get(topic).is_some_and(|at| at >= wanted))
        };
        match tokio::time::timeout(patience, seen.wait_for(reached)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::refused(
                Code::Unavailable,
                "NOT_CAUGHT_UP",
                "the events to wait for did not arrive yet: try again",
            )),
        }
    }
}

/// A projection of topics, and the task that keeps it up to date.
pub fn project<P: Projection>(
    event_store: Channel,
    topics: Vec<&'static str>,
    from: From,
    projection: P,
    up: Up,
    shutdown: Shutdown,
) -> (Reader<P>, impl Future<Output = ()> + Send) {
    let (seen, watched) = watch::channel(Positions::new());
    let reader = Reader { state: Arc::new(RwLock::new(projection)), seen: watched };
    let follower = Follower {
        store: es::event_store_client::EventStoreClient::new(event_store),
        topics,
        from,
        state: reader.state.clone(),
        seen,
        up,
        shutdown,
    };
    (reader, follower.run())
}

struct Follower<P> {
    store: es::event_store_client::EventStoreClient<Channel>,
    topics: Vec<&'static str>,
    from: From,
    state: Arc<RwLock<P>>,
    seen: watch::Sender<Positions>,
    up: Up,
    shutdown: Shutdown,
}

impl<P: Projection> Follower<P> {
    async fn run(mut self) {
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
                self.seen.send_replace(Positions::new());
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
            let seen = self.seen.borrow();
            self.topics.iter().map(|topic| start(topic, seen.get(*topic), self.from)).collect()
        };
        let request =
            es::SubscribeRequest { topics, filter: None, heartbeat_interval: Some(HEARTBEAT) };
        let mut stream = match self.store.subscribe(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return status,
        };
        let mut behind: BTreeMap<&str, ()> = self.topics.iter().map(|topic| (*topic, ())).collect();
        loop {
            let message = match stream.next().await {
                Some(Ok(response)) => response.message,
                Some(Err(status)) => return status,
                None => return Status::unavailable("the subscription ended"),
            };
            match message {
                Some(es::subscribe_response::Message::Event(event)) => self.apply(head(event)),
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

    fn apply(&self, event: Head) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).apply(&event);
        self.reached(event.recorded.topic, event.position);
    }

    fn reached(&self, topic: String, position: Option<Position>) {
        if let Some(position) = position {
            self.seen.send_if_modified(|seen| seen.insert(topic, position) != Some(position));
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
