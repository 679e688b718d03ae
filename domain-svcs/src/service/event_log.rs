//! The event store as a domain service uses it: the state of a subject, and
//! appends that are decided on that state and safe to repeat.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use proto::eventstore::v1 as es;
use serde::de::DeserializeOwned;
use serde_json::Value;
use svc_runtime::backoff::Backoff;
use svc_runtime::rpc_error::{ErrorFacts, RpcError};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::cause::Cause;
use super::clients::{Channel, Clients};
use super::event::{Appended, Expect, Head, NewEvent, expectation, head};
use super::failure::{DOMAIN, Failure, is_transient};
use super::position::Position;
use super::trace::{Through, sending};

/// How long a call is tried again before its caller hears of it: longer than a
/// restart takes, shorter than a handler may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many of a subject's last events are looked through for one that is known.
const KNOWN: u64 = 100;
/// How often is decided anew because somebody else was faster.
const MAX_CONFLICTS: usize = 100;

/// The event store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventLog {
    store: es::event_store_client::EventStoreClient<Channel>,
    topics: es::topics_client::TopicsClient<Channel>,
    source: Arc<str>,
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

    /// The same for one that has to have events, also if the last is its deletion.
    ///
    /// # Errors
    /// As [`EventLog::head`]; and a refusal if it has none.
    pub async fn known(&self, topic: &str, subject: &str) -> Result<Head, Failure> {
        self.head(topic, subject).await?.ok_or_else(|| Failure::not_found(topic, subject))
    }

    /// The state of an entity, unless it is not there (any more).
    ///
    /// # Errors
    /// As [`EventLog::head`].
    pub async fn live(&self, topic: &str, subject: &str) -> Result<Option<Value>, Failure> {
        let head = self.head(topic, subject).await?;
        Ok(head.and_then(|head| head.live().cloned()))
    }

    /// The same as what it is, for instance a struct.
    ///
    /// # Errors
    /// As [`EventLog::head`]; and a refusal if the stored state is something else,
    /// which somebody needs to look at.
    pub async fn load<T: DeserializeOwned>(
        &self,
        topic: &str,
        subject: &str,
    ) -> Result<Option<T>, Failure> {
        let state = self.live(topic, subject).await?;
        state.map(|state| parse_state(topic, state)).transpose()
    }

    /// The first events of a subject, oldest first.
    ///
    /// # Errors
    /// As [`EventLog::head`].
    pub async fn first(&self, topic: &str, subject: &str, n: u64) -> Result<Vec<Head>, Failure> {
        self.read(topic, subject, es::Direction::Forward, n).await
    }

    /// The event with this id, if it is among the last hundred of a subject.
    ///
    /// # Errors
    /// As [`EventLog::head`].
    pub async fn find(
        &self,
        topic: &str,
        subject: &str,
        id: &str,
    ) -> Result<Option<Head>, Failure> {
        let events = self.read(topic, subject, es::Direction::Backward, KNOWN).await?;
        Ok(events.into_iter().find(|event| event.id == id))
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
        let kind = events.first().map(|event| event.kind.clone()).unwrap_or_default();
        let append = sending(Through::Topic, topic, &kind, async {
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
            append.await
        });
        append.await.map_err(Failure::from)
    }

    /// Appends the event that `decide` makes of a subject's last one (none: there is
    /// nothing to do), once for each `cause` and `kind`: decided anew when somebody
    /// else was faster, and not again when it was done already.
    ///
    /// # Errors
    /// As [`EventLog::append`].
    pub async fn decide(
        &self,
        topic: &str,
        subject: &str,
        cause: &Cause,
        kind: &'static str,
        decide: impl Fn(Option<&Head>) -> Option<Value> + Send,
    ) -> Result<(), Failure> {
        let id = cause.step(kind);
        for _ in 0..MAX_CONFLICTS {
            let last = self.read(topic, subject, es::Direction::Backward, KNOWN).await?;
            if last.iter().any(|event| event.id == id) {
                return Ok(());
            }
            let Some(data) = decide(last.first()) else {
                return Ok(());
            };
            let event = NewEvent::new(id.clone(), kind, subject, data);
            let expect = vec![Expect::head(subject, last.first())];
            if let Appended::Done(_) = self.append(topic, cause, vec![event], expect).await? {
                return Ok(());
            }
        }
        Err(Failure::Transient(format!("{subject} changes too quickly")))
    }

    fn encode(&self, cause: &Cause, event: NewEvent) -> es::Event {
        es::Event {
            id: Some(event.id),
            r#type: event.kind.into_owned(),
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

/// Reads stored state. What does not fit was written by something else.
pub(crate) fn parse_state<T: DeserializeOwned>(what: &str, state: Value) -> Result<T, Failure> {
    serde_json::from_value(state).map_err(|error| {
        let message = format!("a stored {what} is not one: {error}");
        Failure::Refused(Box::new(RpcError::new(
            Code::DataLoss,
            "UNREADABLE_STATE",
            DOMAIN,
            message,
        )))
    })
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
