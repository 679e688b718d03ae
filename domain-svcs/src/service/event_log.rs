//! The event store as a domain service uses it: the state of a subject, and
//! appends that are decided on that state and safe to repeat.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use proto::eventstore::v1 as es;
use serde_json::Value;
use svc_runtime::backoff::Backoff;
use svc_runtime::rpc_error::ErrorFacts;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::Clients;
use super::cause::{CAUSATION_ID, Cause};
use super::failure::{Failure, is_transient};
use super::position::Position;
use crate::model::EventType;

/// How long a call is tried again before its caller hears of it: longer than a
/// restart takes, shorter than a handler may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The event store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventLog {
    store: es::event_store_client::EventStoreClient<Channel>,
    topics: es::topics_client::TopicsClient<Channel>,
    source: Arc<str>,
}

/// One event of a subject.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its number within the subject.
    pub revision: u64,
    /// Where it stands in the topic.
    pub position: Option<Position>,
    /// Its id.
    pub id: String,
    /// What happened; none for a type that the shop does not know.
    pub kind: Option<EventType>,
    /// What caused it.
    pub causation_id: Option<String>,
    /// Its data.
    pub data: Value,
    /// The event as recorded.
    pub recorded: es::RecordedEvent,
}

impl Head {
    /// The state of the entity, unless it is deleted.
    #[must_use]
    pub fn live(&self) -> Option<&Value> {
        (self.kind != Some(EventType::Deleted)).then_some(&self.data)
    }
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id, derived from the cause.
    pub id: String,
    /// What happened.
    pub kind: EventType,
    /// Whom it is about.
    pub subject: String,
    /// What happened in detail.
    pub data: Value,
}

/// What a subject must look like for an append to go through.
#[derive(Clone, Debug)]
pub enum Expect {
    /// It has no events.
    Nothing(String),
    /// Its last revision is this.
    Revision(String, u64),
}

impl Expect {
    /// What was just read, and nothing since.
    #[must_use]
    pub fn head(subject: &str, head: Option<&Head>) -> Self {
        match head {
            None => Self::Nothing(subject.to_owned()),
            Some(head) => Self::Revision(subject.to_owned(), head.revision),
        }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// It is there, now or since an earlier attempt with the same ids; where its
    /// last event stands, if that is still known.
    Done(Option<Position>),
    /// The expectation does not hold: read again and decide anew.
    Conflict,
}

impl EventLog {
    pub(super) fn new(clients: &Clients) -> Self {
        Self {
            store: es::event_store_client::EventStoreClient::new(clients.event_store.clone()),
            topics: es::topics_client::TopicsClient::new(clients.event_store.clone()),
            source: Arc::from(clients.name),
        }
    }

    /// The last event of a subject, which holds its state.
    ///
    /// # Errors
    /// When the event store is away for longer than a few seconds.
    pub async fn head(&self, topic: &str, subject: &str) -> Result<Option<Head>, Failure> {
        let mut events = self.read(topic, subject, es::Direction::Backward, 1).await?;
        Ok(events.pop())
    }

    /// The state of an entity, unless it is not there (any more).
    ///
    /// # Errors
    /// As [`EventLog::head`].
    pub async fn live(&self, topic: &str, subject: &str) -> Result<Option<Value>, Failure> {
        let head = self.head(topic, subject).await?;
        Ok(head.and_then(|head| head.live().cloned()))
    }

    /// The first events of a subject, oldest first.
    ///
    /// # Errors
    /// As [`EventLog::head`].
    pub async fn first(&self, topic: &str, subject: &str, n: u64) -> Result<Vec<Head>, Failure> {
        self.read(topic, subject, es::Direction::Forward, n).await
    }

    /// Whether an event with this id is among the last hundred of a subject.
    ///
    /// # Errors
    /// As [`EventLog::head`].
    pub async fn knows(&self, topic: &str, subject: &str, id: &str) -> Result<bool, Failure> {
        let events = self.read(topic, subject, es::Direction::Backward, 100).await?;
        Ok(events.iter().any(|event| event.id == id))
    }

    async fn read(
        &self,
        topic: &str,
        subject: &str,
        direction: es::Direction,
        limit: u64,
    ) -> Result<Vec<Head>, Failure> {
        let request = es::ReadRequest {
            topic: topic.to_owned(),
            subject: Some(subject.to_owned()),
            direction: direction.into(),
            limit: Some(limit),
            ..es::ReadRequest::default()
        };
        let read = patiently(|| {
            let (mut store, request) = (self.store.clone(), request.clone());
            async move {
                let events = store.read(request).await?.into_inner();
                events.try_collect::<Vec<_>>().await
            }
        });
        match read.await {
            Ok(events) => Ok(events.into_iter().filter_map(|read| read.event).map(head).collect()),
            // A topic without events does not exist yet.
            Err(status) if status.code() == Code::NotFound => Ok(Vec::new()),
            Err(status) => Err(status.into()),
        }
    }

    /// Appends events that `cause` makes happen, all or nothing.
    ///
    /// # Errors
    /// When the event store is away for longer than a few seconds, or refuses
    /// the events themselves.
    pub async fn append(
        &self,
        topic: &str,
        cause: &Cause,
        events: Vec<NewEvent>,
        expectations: Vec<Expect>,
    ) -> Result<Appended, Failure> {
        let request = es::AppendRequest {
            topic: topic.to_owned(),
            events: events.into_iter().map(|event| self.encode(cause, event)).collect(),
            expectations: expectations.into_iter().map(expectation).collect(),
            ..es::AppendRequest::default()
        };
        let append = patiently(|| {
            let (mut store, request) = (self.store.clone(), request.clone());
            async move {
                match store.append(request).await {
                    Ok(answer) => {
                        Ok(Appended::Done(answer.into_inner().last_position.parse().ok()))
                    }
                    Err(status) => outcome(status),
                }
            }
        });
        append.await.map_err(Failure::from)
    }

    fn encode(&self, cause: &Cause, event: NewEvent) -> es::Event {
        es::Event {
            id: Some(event.id),
            r#type: event.kind.name().to_owned(),
            source: Some(self.source.to_string()),
            subject: Some(event.subject),
            time: cause.time,
            content_type: Some("application/json".to_owned()),
            headers: cause.headers(),
            data: Some(es::event::Data::TextData(event.data.to_string())),
        }
    }

    /// Where the newest event of a topic stands. None: it has none.
    ///
    /// # Errors
    /// As [`EventLog::head`].
    pub async fn end(&self, topic: &str) -> Result<Option<Position>, Failure> {
        let request = es::GetTopicRequest { topic: topic.to_owned() };
        let get = patiently(|| {
            let (mut topics, request) = (self.topics.clone(), request.clone());
            async move { topics.get_topic(request).await }
        });
        match get.await {
            Ok(answer) => {
                Ok(answer.into_inner().topic.and_then(|topic| topic.last_position?.parse().ok()))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }
}

fn outcome(status: Status) -> Result<Appended, Status> {
    let reason = ErrorFacts::of(&status).map(|facts| facts.reason);
    match reason.as_deref() {
        Some("REVISION_CONFLICT") => Ok(Appended::Conflict),
        // Ids are derived from the cause and the step: whatever else the event
        // says now, the step was done for this cause before.
        Some("ID_REUSED") => Ok(Appended::Done(None)),
        _ => Err(status),
    }
}

fn expectation(expect: Expect) -> es::Expectation {
    let (subject, expected) = match expect {
        Expect::Nothing(subject) => (subject, es::expectation::Expected::NoEvents(())),
        Expect::Revision(subject, n) => (subject, es::expectation::Expected::Revision(n)),
    };
    es::Expectation { subject, expected: Some(expected) }
}

/// Reads an event; data that is not JSON is null.
pub(crate) fn head(recorded: es::RecordedEvent) -> Head {
    let event = recorded.event.as_ref();
    let data = match event.and_then(|event| event.data.as_ref()) {
        Some(es::event::Data::TextData(text)) => serde_json::from_str(text).ok(),
        Some(es::event::Data::BinaryData(bytes)) => serde_json::from_slice(bytes).ok(),
        None => None,
    };
    Head {
        revision: recorded.subject_revision.unwrap_or_default(),
        position: recorded.position.parse().ok(),
        id: event.and_then(|event| event.id.clone()).unwrap_or_default(),
        kind: event.and_then(|event| EventType::named(&event.r#type)),
        causation_id: event.and_then(|event| event.headers.get(CAUSATION_ID).cloned()),
        data: data.unwrap_or_default(),
        recorded,
    }
}

/// Makes a call until it goes well, fails for good, or patience is at its end.
pub(crate) async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let end = Instant::now() + PATIENCE;
    let mut backoff = Backoff::reconnect();
    loop {
        match call().await {
            Err(status) if is_transient(&status) && Instant::now() < end => {
                tracing::debug!(code = ?status.code(), error = status.message(), "trying again");
            }
            done => return done,
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}
