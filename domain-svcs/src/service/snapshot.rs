//! Snapshots of projections, so that a service that starts need not read every
//! topic from its beginning. Kept in the event store by `SaveSnapshot`, in a topic
//! of their own (`<service>.snapshots`).
//!
//! A snapshot is a list of items, packed into parts that fit an event's data, and
//! a manifest that names the parts, their digests and where each topic stood. The
//! manifest is saved last: until then the one before counts, whose parts are in
//! other subjects (two sets take turns). Whatever does not fit together (a digest,
//! a version, a part that a later snapshot replaced) is no snapshot, and the
//! projection is made anew from the events.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use proto::eventstore::v1 as es;
use serde::{Deserialize, Serialize};
use svc_runtime::rpc_error::ErrorFacts;
use svc_runtime::shutdown::Shutdown;
use tonic::{Code, Status};
use uuid::Uuid;

use super::clients::Channel;
use super::event_log::patiently;
use super::position::Position;
use super::projection::Projection;
use super::setup;

/// What a part weighs at most, unless a single item is heavier: half of what fits.
const PART_BYTES: usize = 512 << 10;
/// Parts that one append can announce, beside the manifest.
const MAX_PARTS: usize = 999;
/// Parts that are read or written at once.
const AT_ONCE: usize = 4;
/// Announcements that are kept; nothing reads them.
const MAX_EVENTS: u64 = 10_000;
/// The form of the manifest.
const FORM: u32 = 1;
const MANIFEST: &str = "manifest";
const DIGEST: Uuid = Uuid::from_u128(0x6f72_6465_7273_686f_7000_0000_0000_0002);

/// A projection whose state can be kept and taken up again.
pub trait Snapshots: Projection {
    /// The form of the items. To be changed whenever what was kept before would be
    /// misread, or lacks something: then it is made anew from the events.
    const VERSION: u32;

    /// Puts everything that there is into `items`.
    fn save(&self, items: &mut Items);

    /// Takes in one item that [`Snapshots::save`] put.
    ///
    /// # Errors
    /// When it is none.
    fn restore(&mut self, item: &[u8]) -> Result<(), serde_json::Error>;
}

/// What a snapshot is made of.
#[derive(Debug, Default)]
pub struct Items {
    parts: Vec<Vec<u8>>,
    count: u64,
    failed: Option<serde_json::Error>,
}

impl Items {
    /// Adds an item: as JSON in a line.
    pub fn put(&mut self, item: &impl Serialize) {
        let line = match serde_json::to_vec(item) {
            Ok(line) => line,
            Err(error) => {
                self.failed.get_or_insert(error);
                return;
            }
        };
        self.count += 1;
        match self.parts.last_mut() {
            Some(part) if part.len() + line.len() < PART_BYTES => {
                part.push(b'\n');
                part.extend(line);
            }
            _ => self.parts.push(line),
        }
    }

    /// How many items there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// How far a topic was read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Mark {
    pub(super) position: Position,
    pub(super) sequence: u64,
}

/// How far each topic was read.
pub(super) type Marks = BTreeMap<String, Mark>;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Manifest {
    form: u32,
    version: u32,
    items: u64,
    marks: Marks,
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Part {
    subject: String,
    revision: u64,
    digest: String,
}

/// What was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) marks: Marks,
    pub(super) items: u64,
    parts: Vec<Vec<u8>>,
}

impl Kept {
    /// The items, as they were put.
    pub(super) fn items(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().flat_map(|part| part.split(|byte| *byte == b'\n'))
    }
}

/// Where the snapshots of one projection are kept.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    store: es::event_store_client::EventStoreClient<Channel>,
    channel: Channel,
    topic: String,
    version: u32,
}

impl Shelf {
    pub(super) fn new(service: &str, version: u32, event_store: Channel) -> Self {
        Self {
            store: es::event_store_client::EventStoreClient::new(event_store.clone()),
            channel: event_store,
            topic: format!("{service}.snapshots"),
            version,
        }
    }

    pub(super) async fn prepare(&self, shutdown: &Shutdown) {
        let retention = es::Retention { max_events: Some(MAX_EVENTS), ..es::Retention::default() };
        let settings =
            es::TopicSettings { retention: Some(retention), ..es::TopicSettings::default() };
        setup::topic_with(&self.channel, &self.topic, settings, shutdown).await;
    }

    /// The newest snapshot; none if there is none that fits.
    pub(super) async fn load(&self) -> Result<Option<Kept>, Status> {
        let Some(found) = self.read(MANIFEST).await? else {
            return Ok(None);
        };
        let manifest: Manifest = match serde_json::from_slice(&found.data) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(self.unfit(&format!("its manifest cannot be read: {error}"))),
        };
        if (manifest.form, manifest.version) != (FORM, self.version) {
            return Ok(self.unfit("it is of another version"));
        }
        let reads: Vec<_> = manifest.parts.iter().map(|part| self.read_part(part)).collect();
        let parts: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let parts: Option<Vec<_>> =
            parts.into_iter().map(|part| part.map(|part| part.data.into())).collect();
        let Some(parts) = parts else {
            return Ok(self.unfit("a part of it is missing or damaged"));
        };
        Ok(Some(Kept { marks: manifest.marks, items: manifest.items, parts }))
    }

    pub(super) fn unfit<T>(&self, why: &str) -> Option<T> {
        tracing::warn!(topic = self.topic, why, "the snapshot is of no use: reading all events");
        None
    }

    async fn read_part(&self, part: &Part) -> Result<Option<es::Snapshot>, Status> {
        let found = self.read(&part.subject).await?;
        Ok(found
            .filter(|found| found.revision == part.revision && digest(&found.data) == part.digest))
    }

    async fn read(&self, subject: &str) -> Result<Option<es::Snapshot>, Status> {
        let request =
            es::LoadSubjectRequest { topic: self.topic.clone(), subject: subject.to_owned() };
        let mut items = match self.store.clone().load_subject(request).await {
            Ok(items) => items.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(status),
        };
        match items.message().await {
            Ok(Some(es::LoadSubjectResponse {
                item: Some(es::load_subject_response::Item::Snapshot(snapshot)),
            })) => Ok(Some(snapshot)),
            Ok(_) => Ok(None),
            // Announcements after the snapshot were trimmed.
            Err(status) if status.code() == Code::OutOfRange => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Keeps items as of `marks`. False if another replica is doing that.
    pub(super) async fn save(&self, items: Items, marks: Marks) -> Result<bool, Status> {
        if let Some(error) = items.failed {
            return Err(Status::invalid_argument(format!("an item cannot be kept: {error}")));
        }
        if items.parts.len() > MAX_PARTS {
            let message = format!("{} parts are more than {MAX_PARTS}", items.parts.len());
            return Err(Status::invalid_argument(message));
        }
        let Some((revision, revisions)) = self.announce(items.parts.len()).await? else {
            return Ok(false);
        };
        let mut parts = Vec::with_capacity(items.parts.len());
        for (index, data) in items.parts.iter().enumerate() {
            let subject = part(revision, index);
            let revision = revisions.get(&subject).copied().unwrap_or_default();
            parts.push(Part { subject, revision, digest: digest(data) });
        }
        let keeps: Vec<_> = std::iter::zip(&parts, items.parts)
            .map(|(part, data)| self.keep(&part.subject, part.revision, data))
            .collect();
        stream::iter(keeps).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let manifest =
            Manifest { form: FORM, version: self.version, items: items.count, marks, parts };
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|error| Status::internal(format!("the manifest: {error}")))?;
        self.keep(MANIFEST, revision, manifest).await?;
        Ok(true)
    }

    /// Appends an event to each subject that is about to be saved: a snapshot is as
    /// of a revision, and by that one that is late cannot replace a newer one.
    async fn announce(&self, parts: usize) -> Result<Option<(u64, BTreeMap<String, u64>)>, Status> {
        let last = self.revision().await?;
        let revision = last.map_or(0, |last| last + 1);
        let take = Uuid::now_v7().to_string();
        let subjects =
            std::iter::once(MANIFEST.to_owned()).chain((0..parts).map(|i| part(revision, i)));
        let events = subjects.map(|subject| es::Event {
            id: Some(format!("{take}/{subject}")),
            r#type: "snapshot_begun".to_owned(),
            subject: Some(subject),
            ..es::Event::default()
        });
        let expected = match last {
            None => es::expectation::Expected::NoEvents(()),
            Some(last) => es::expectation::Expected::Revision(last),
        };
        let request = es::AppendRequest {
            topic: self.topic.clone(),
            events: events.collect(),
            expectations: vec![es::Expectation {
                subject: MANIFEST.to_owned(),
                expected: Some(expected),
            }],
            ..es::AppendRequest::default()
        };
        let appended = patiently(|| {
            let (mut store, request) = (self.store.clone(), request.clone());
            async move {
                match store.append(request).await {
                    Ok(answer) => Ok(Some(answer.into_inner().subject_revisions)),
                    Err(status) if is_conflict(&status) => Ok(None),
                    Err(status) => Err(status),
                }
            }
        });
        Ok(appended.await?.map(|revisions| (revision, revisions)))
    }

    async fn revision(&self) -> Result<Option<u64>, Status> {
        let request = es::ReadRequest {
            topic: self.topic.clone(),
            subject: Some(MANIFEST.to_owned()),
            direction: es::Direction::Backward.into(),
            limit: Some(1),
            ..es::ReadRequest::default()
        };
        let read = patiently(|| {
            let (mut store, request) = (self.store.clone(), request.clone());
            async move { store.read(request).await?.into_inner().message().await }
        });
        match read.await {
            Ok(answer) => {
                Ok(answer.and_then(|answer| answer.event).and_then(|event| event.subject_revision))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn keep(&self, subject: &str, revision: u64, data: Vec<u8>) -> Result<(), Status> {
        let request = es::SaveSnapshotRequest {
            topic: self.topic.clone(),
            subject: subject.to_owned(),
            revision,
            content_type: Some("application/x-ndjson".to_owned()),
            data: data.into(),
        };
        let save = patiently(|| {
            let (mut store, request) = (self.store.clone(), request.clone());
            async move { store.save_snapshot(request).await }
        });
        save.await.map(|_| ())
    }
}

fn part(revision: u64, index: usize) -> String {
    format!("part-{}-{index}", revision % 2)
}

fn digest(data: &[u8]) -> String {
    Uuid::new_v5(&DIGEST, data).to_string()
}

fn is_conflict(status: &Status) -> bool {
    ErrorFacts::of(status).is_some_and(|facts| facts.reason == "REVISION_CONFLICT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_packed_into_parts_that_fit() {
        let mut items = Items::default();
        let item = "x".repeat(1000);
        for _ in 0..2000 {
            items.put(&item);
        }
        items.put(&"y".repeat(PART_BYTES + 1));
        assert!(items.parts.len() > 4);
        let heavy = items.parts.iter().filter(|part| part.len() > PART_BYTES).count();
        assert_eq!(heavy, 1);
        let (count, parts) = (items.count(), items.parts);
        let kept = Kept { marks: Marks::new(), items: count, parts };
        let lines: Vec<String> =
            kept.items().map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!(u64::try_from(lines.len()).unwrap(), count);
        assert!(lines[..2000].iter().all(|line| *line == item));
    }

    #[test]
    fn two_sets_of_parts_take_turns() {
        assert_ne!(part(1, 0), part(2, 0));
        assert_eq!(part(1, 3), part(3, 3));
    }
}
