//! Appends: the lane of a topic makes one script call of whatever is waiting.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use redis_link::values::{Items, array};
use redis_link::{Call, Link, LinkError, Value, cmd};
use svc_runtime::lane::LaneWork;

use super::durability::DurabilityGate;
use super::entry::{number, optional_number, position};
use super::error;
use super::keys::{TOPICS, TopicKeys};
use super::scripts::Scripts;
use crate::error::StoreError;
use crate::model::{Append, Appended, Durability, Expected, Name};
use crate::store::Result;

/// Appends batches.
#[derive(Debug)]
pub struct AppendWork {
    pub link: Link,
    pub scripts: Arc<Scripts>,
    pub durability: Arc<DurabilityGate>,
    pub auto_create: bool,
    pub hasher: RandomState,
}

impl LaneWork for AppendWork {
    /// Durable appends have lanes of their own: others need not wait for their disk.
    type Key = (Name, Durability);
    type Item = Append;
    type Answer = Result<Appended>;

    async fn run(&self, (topic, durability): &Self::Key, items: Vec<Append>) -> Vec<Self::Answer> {
        match self.append(topic, *durability, &items).await {
            Ok(replies) if replies.len() == items.len() => {
                let reached = self.durability.reached(*durability);
                let answer = |(item, reply)| answer(item, reply, reached);
                items.iter().zip(replies).map(answer).collect()
            }
            Ok(_) => {
                let error =
                    error::of_write(&LinkError::Protocol("a reply for each request was expected"));
                vec![Err(error); items.len()]
            }
            Err(error) => vec![Err(error); items.len()],
        }
    }

    fn count(item: &Append) -> usize {
        item.events.len().max(item.expectations.len())
    }

    fn bytes(item: &Append) -> usize {
        item.events.iter().map(|event| event.encoded.len()).sum()
    }
}

impl AppendWork {
    async fn append(
        &self,
        topic: &Name,
        durability: Durability,
        items: &[Append],
    ) -> Result<Vec<Value>> {
        let mut reply = self.call(topic, durability, items, false).await?;
        if reply == Value::Nil {
            if !self.auto_create {
                return Err(StoreError::TopicNotFound(topic.clone()));
            }
            // Registered first: a registry may name a topic that is empty, but never miss one.
            register(&self.link, topic).await?;
            reply = self.call(topic, durability, items, true).await?;
        }
        match reply {
            Value::Int(_) => Err(StoreError::TopicDeleting(topic.clone())),
            replies => array(replies).map_err(|e| error::of_write(&e)),
        }
    }

    async fn call(
        &self,
        topic: &Name,
        durability: Durability,
        items: &[Append],
        create: bool,
    ) -> Result<Value> {
        let call = self.build(topic, items, create);
        if durability == Durability::Memory {
            let lane = self.hasher.hash_one(topic);
            return self.link.invoke_on(lane, &call).await.map_err(|e| error::of_write(&e));
        }
        self.durability.write(&self.link, durability, &call).await
    }

    fn build(&self, topic: &Name, items: &[Append], create: bool) -> Call<'_> {
        let subjects = Subjects::of(items);
        let names = TopicKeys::new(topic);
        let mut keys = Vec::with_capacity(5 + subjects.names.len());
        keys.extend([names.log(), names.meta(), names.rev(), names.ids(0), names.ids(1)]);
        keys.extend(subjects.names.iter().map(|subject| names.subject(subject)));

        let events: usize = items.iter().map(|item| item.events.len()).sum();
        let bytes: usize = items.iter().map(Self::bytes).sum();
        let args = 2 + subjects.names.len() + items.len() * 3 + events * 3;
        let mut call = self.scripts.append.call_sized(&keys, args, bytes + events * 48);
        call.arg(names.bell()).arg(u8::from(create));
        for subject in &subjects.names {
            call.arg(*subject);
        }
        for item in items {
            call.arg(item.events.len()).arg(item.expectations.len());
            call.arg(item.fingerprint.as_ref().map_or(&[][..], |fingerprint| &fingerprint[..]));
            for expectation in &item.expectations {
                call.arg(subjects.index(expectation.subject.as_str()));
                match expectation.expected {
                    Expected::Revision(revision) => call.arg("r").arg(revision),
                    Expected::NoEvents => call.arg("n").arg(0),
                    Expected::Exists => call.arg("e").arg(0),
                };
            }
            for event in &item.events {
                call.arg(event.id.as_deref().unwrap_or_default());
                call.arg(event.subject.as_ref().map_or(0, |subject| subjects.index(text(subject))));
                call.arg(&event.encoded[..]);
            }
        }
        call
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

/// The subjects of a call, each once, numbered from 1.
struct Subjects<'a> {
    names: Vec<&'a str>,
    numbers: HashMap<&'a str, usize>,
}

impl<'a> Subjects<'a> {
    fn of(items: &'a [Append]) -> Self {
        let mut subjects = Self { names: Vec::new(), numbers: HashMap::new() };
        for item in items {
            let expected = item.expectations.iter().map(|expectation| expectation.subject.as_str());
            let events = item.events.iter().filter_map(|event| event.subject.as_ref().map(text));
            for name in expected.chain(events) {
                let next = subjects.names.len() + 1;
                if *subjects.numbers.entry(name).or_insert(next) == next {
                    subjects.names.push(name);
                }
            }
        }
        subjects
    }

    fn index(&self, name: &str) -> usize {
        self.numbers.get(name).copied().unwrap_or_default()
    }
}

/// A subject's bytes were checked to be UTF-8 when the event was.
fn text(subject: &Bytes) -> &str {
    std::str::from_utf8(subject).unwrap_or_default()
}

fn answer(item: &Append, reply: Value, durability: Durability) -> Result<Appended> {
    let read = |reply| -> std::result::Result<Result<Appended>, LinkError> {
        let mut reply = Items::of(reply)?;
        match reply.next_int()? {
            0 => Ok(Ok(Appended {
                first: position(&reply.next_value()?)?,
                last: position(&reply.next_value()?)?,
                first_sequence: reply.next_unsigned()?,
                deduplicated: reply.next_int()? == 1,
                subject_revisions: revisions(item, &mut reply)?,
                durability,
            })),
            1 => Ok(Err(conflict(item, &mut reply)?)),
            _ => Ok(Err(StoreError::IdReused(reply.next_text()?))),
        }
    };
    read(reply).map_err(|e| error::of_write(&e))?
}

/// The script answers the subjects in the order in which the request first has them.
fn revisions(
    item: &Append,
    reply: &mut Items,
) -> std::result::Result<Vec<(String, u64)>, LinkError> {
    let mut seen: Vec<&str> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for subject in item.events.iter().filter_map(|event| event.subject.as_ref()) {
        if known.insert(text(subject)) {
            seen.push(text(subject));
        }
    }
    seen.into_iter()
        .map(|subject| Ok((subject.to_owned(), number(&reply.next_value()?)?)))
        .collect()
}

fn conflict(item: &Append, reply: &mut Items) -> std::result::Result<StoreError, LinkError> {
    let index = usize::try_from(reply.next_unsigned()?).unwrap_or(usize::MAX);
    let actual = optional_number(&reply.next_value()?)?;
    let failed = item.expectations.get(index);
    let failed = failed.ok_or(LinkError::Protocol("an expectation of the request was expected"))?;
    let none = || "no_events".to_owned();
    Ok(StoreError::RevisionConflict {
        subject: failed.subject.as_str().to_owned(),
        expected: match failed.expected {
            Expected::Revision(revision) => revision.to_string(),
            Expected::NoEvents => none(),
            Expected::Exists => "exists".to_owned(),
        },
        actual: actual.map_or_else(none, |revision| revision.to_string()),
    })
}
