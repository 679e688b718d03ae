//! Appends: the lane of a topic makes one script call of whatever is waiting.

mod batch;
mod outcome;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use redis_link::{Link, LinkError, Value, cmd};
use svc_observe::trace::{self, Span};
use svc_runtime::lane::{Epoch, InEpoch, LaneWork};

use super::durability::DurabilityGate;
use super::error;
use super::keys::TOPICS;
use super::scripts::Scripts;
use super::tail::{self, Tails};
use crate::error::StoreError;
use crate::figures::Figures;
use crate::model::{Append, AppendOrder, Appended, Durability, Name};
use crate::store::Result;
use batch::{Batch, Topic};
use outcome::Outcome;

/// Appends batches.
#[derive(Debug)]
pub struct AppendWork {
    pub link: Link,
    pub scripts: Arc<Scripts>,
    pub durability: Arc<DurabilityGate>,
    pub tails: Arc<Tails>,
    pub figures: Figures,
    pub auto_create: bool,
    pub hasher: RandomState,
}

impl LaneWork for AppendWork {
    /// Durable appends have lanes of their own: others need not wait for their disk.
    type Key = (Name, Durability);
    type Item = Append;
    type Answer = Result<Appended>;

    async fn run(&self, key: &Self::Key, items: Vec<Append>) -> Vec<Self::Answer> {
        let done = traced(span_of(key, &items), self.append(key, &items)).await;
        self.figures.answered(&items);
        done.map_or_else(|error| vec![Err(error); items.len()], |done| done.0)
    }

    /// The epoch is when the topic was created, and the connection that this was told over. A batch
    /// is appended only to the topic that the one before it was appended to, and sent behind it, so
    /// it is not there without the one before.
    async fn run_in_epoch(
        &self,
        key: &Self::Key,
        items: Vec<Append>,
        epoch: Option<Epoch>,
    ) -> InEpoch<Self> {
        let outcome = match epoch {
            None => traced(span_of(key, &items), self.append(key, &items)).await.map(Some),
            Some([created, connection]) => {
                let to = Topic::CreatedAt(created);
                traced(span_of(key, &items), self.append_to(key, &items, to, Some(connection)))
                    .await
            }
        };
        if !matches!(outcome, Ok(None)) {
            self.figures.answered(&items);
        }
        match outcome {
            Ok(Some((answers, epoch))) => InEpoch::Ran { answers, epoch },
            Ok(None) => InEpoch::Over(items),
            Err(error) => {
                if error.is_passing() {
                    items.iter().filter_map(|item| item.stream.as_ref()).for_each(AppendOrder::end);
                }
                InEpoch::Ran { answers: vec![Err(error); items.len()], epoch: None }
            }
        }
    }

    fn is_wanted(item: &Append) -> bool {
        !item.stream.as_ref().is_some_and(AppendOrder::has_ended)
    }

    fn count(item: &Append) -> usize {
        item.events.len().max(item.expectations.len())
    }

    fn bytes(item: &Append) -> usize {
        item.events.iter().map(|event| event.encoded.len()).sum()
    }
}

/// Makes a batch, in a span of its own if there is one.
async fn traced<T>(span: Option<Span>, work: impl Future<Output = T>) -> T {
    match span {
        None => work.await,
        // Boxed: where there are no traces this need not be carried.
        Some(span) => Box::pin(span.run(work)).await,
    }
}

/// A span for a batch, linked to those that asked for it, if any of them is recorded.
fn span_of((topic, _): &(Name, Durability), items: &[Append]) -> Option<Span> {
    let mut callers = items.iter().filter_map(|item| item.trace.as_deref().cloned()).peekable();
    callers.peek()?;
    let span = trace::spans().shared("append batch", callers)?;
    span.set("topic", topic.as_str().to_owned());
    Some(span)
}

/// The answers of a batch, and its epoch.
type Done = (Vec<Result<Appended>>, Option<Epoch>);

impl AppendWork {
    async fn append(&self, key: &(Name, Durability), items: &[Append]) -> Result<Done> {
        if let Some(done) = self.append_to(key, items, Topic::Existing, None).await? {
            return Ok(done);
        }
        let (topic, _) = key;
        if !self.auto_create {
            return Err(StoreError::TopicNotFound(topic.clone()));
        }
        // Registered first: a registry may name a topic that is empty, but never miss one.
        register(&self.link, topic).await?;
        let done = self.append_to(key, items, Topic::Create, None).await?;
        done.ok_or_else(|| StoreError::TopicNotFound(topic.clone()))
    }

    /// None: there is no such topic, or no such connection any more.
    async fn append_to(
        &self,
        (topic, durability): &(Name, Durability),
        items: &[Append],
        to: Topic,
        connection: Option<u64>,
    ) -> Result<Option<Done>> {
        let batch = Batch::new(&self.scripts.append, topic, items, to);
        let mut over = None;
        let mut handing = None;
        let reply = if *durability == Durability::Memory {
            // A tail has long read what a durable append waits for.
            handing = self.tails.handing(topic);
            let any = || self.link.connection(self.hasher.hash_one(topic));
            over = connection.or_else(any);
            let connected = over.ok_or(StoreError::StorageUnavailable)?;
            match self.link.invoke_over(connected, batch.call()).await {
                Some(reply) => reply.map_err(|e| error::of_write(&e))?,
                None if connection.is_some() => return Ok(None),
                None => return Err(StoreError::StorageUnavailable),
            }
        } else {
            // Over a connection of its own: two of them could overtake each other.
            Box::pin(self.durability.write(&self.link, *durability, batch.call())).await?
        };
        match reply {
            Value::Nil => Ok(None),
            Value::Int(_) => Err(StoreError::TopicDeleting(topic.clone())),
            reply => {
                let reached = self.durability.reached(*durability);
                let outcome = Outcome::of(reply).map_err(|e| error::of_write(&e))?;
                let created = outcome.created;
                let mut appended = handing.as_ref().map(|_| Vec::new());
                let answers = batch.answers(outcome, reached, appended.as_mut());
                let answers = answers.map_err(|e| error::of_write(&e))?;
                self.figures.appended(topic, items, &answers);
                if let (Some(handing), Some(appended), Some(connection)) = (handing, appended, over)
                {
                    handing.over(tail::Epoch { created, connection }, appended);
                }
                Ok(Some((answers, over.map(|over| [created, over]))))
            }
        }
    }
}

/// Puts a topic into the registry.
pub async fn register(link: &Link, topic: &Name) -> Result<()> {
    let mut command = cmd("ZADD");
    command.arg(TOPICS).arg(0).arg(topic.as_str());
    match link.query(&command).await {
        Ok(_) => Ok(()),
        // Registering is not the write that was asked for: nothing of that happened.
        Err(LinkError::OutcomeUnknown(_)) => Err(StoreError::StorageUnavailable),
        Err(e) => Err(error::of_write(&e)),
    }
}
