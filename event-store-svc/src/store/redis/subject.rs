//! Subjects: their events by revision, and their snapshots.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use redis_link::values::{Items, array, optional_bytes};
use redis_link::{LinkError, Value, cmd};
use tokio::sync::mpsc;

use super::entry::{entry, optional_number};
use super::{RedisStore, error};
use crate::error::StoreError;
use crate::model::{Direction, Name, StoredEvent, Subject};
use crate::store::{Result, Snapshot, SubjectItem};

const PAGE_EVENTS: u64 = 500;
const PAGE_BYTES: u64 = 4 << 20;

/// A page of a subject's events.
#[derive(Debug)]
pub(super) struct SubjectPage {
    /// The revisions that are kept; none: the subject never had an event.
    pub bounds: Option<Bounds>,
    /// Where the next page begins; none: before the first revision.
    pub next: Option<u64>,
    /// The events.
    pub events: Vec<StoredEvent>,
}

/// The revisions that are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The oldest; one more than `last` when none is left.
    pub first: u64,
    /// The newest there ever was.
    pub last: u64,
}

impl SubjectPage {
    fn of(value: Value) -> std::result::Result<Self, LinkError> {
        let mut items = Items::of(value)?;
        let first = optional_number(&items.next_value()?)?;
        let last = optional_number(&items.next_value()?)?;
        let next = match items.next_value()? {
            Value::Int(next) => u64::try_from(next).ok(),
            _ => None,
        };
        let bounds = first.zip(last).map(|(first, last)| Bounds { first, last });
        Ok(Self { bounds, next, events: items.map(entry).collect::<std::result::Result<_, _>>()? })
    }
}

impl RedisStore {
    /// Reads events of a subject from a revision on.
    pub(super) async fn subject_page(
        &self,
        topic: &Name,
        subject: &Subject,
        revision: Option<u64>,
        direction: Direction,
        limit: Option<u64>,
    ) -> Result<SubjectPage> {
        let keys = self.keys(topic);
        let call_keys = [keys.log(), keys.meta(), keys.rev(), keys.subject(subject.as_str())];
        let mut call = self.scripts.read_subject.call(&call_keys);
        call.arg(subject.as_str());
        call.arg(revision.map(|revision| revision.to_string()).unwrap_or_default());
        call.arg(u8::from(direction == Direction::Backward));
        call.arg(limit.map_or(PAGE_EVENTS, |limit| limit.min(PAGE_EVENTS))).arg(PAGE_BYTES);
        match self.link.invoke(&call).await.map_err(|e| error::of_read(&e))? {
            Value::Nil => Err(StoreError::TopicNotFound(topic.clone())),
            page => SubjectPage::of(page).map_err(|e| error::of_read(&e)),
        }
    }

    /// Reads a subject on a task of its own, which ends when nobody takes the items.
    pub(super) fn start_load(
        &self,
        topic: Name,
        subject: Subject,
    ) -> mpsc::Receiver<Result<SubjectItem>> {
        let (items, receiver) = mpsc::channel(1);
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.load(&topic, &subject, &items).await {
                let _ = items.send(Err(error)).await;
            }
        });
        receiver
    }

    async fn load(
        &self,
        topic: &Name,
        subject: &Subject,
        items: &mpsc::Sender<Result<SubjectItem>>,
    ) -> Result<()> {
        let snapshot = self.find_snapshot(topic, subject).await?;
        let mut revision = snapshot.as_ref().map_or(0, |snapshot| snapshot.revision + 1);
        let mut page =
            self.subject_page(topic, subject, Some(revision), Direction::Forward, None).await?;
        if let Some(snapshot) = snapshot
            && items.send(Ok(SubjectItem::Snapshot(snapshot))).await.is_err()
        {
            return Ok(());
        }
        loop {
            let Some(bounds) = page.bounds else {
                return Ok(());
            };
            if bounds.first > revision {
                return Err(self.trimmed(topic, revision).await);
            }
            let next = page.next.unwrap_or(bounds.last + 1);
            if !page.events.is_empty()
                && items.send(Ok(SubjectItem::Events(page.events))).await.is_err()
            {
                return Ok(());
            }
            if next > bounds.last {
                return Ok(());
            }
            revision = next;
            page =
                self.subject_page(topic, subject, Some(revision), Direction::Forward, None).await?;
        }
    }

    async fn find_snapshot(&self, topic: &Name, subject: &Subject) -> Result<Option<Snapshot>> {
        let mut command = cmd("HGET");
        command.arg(self.keys(topic).snap()).arg(subject.as_str());
        let answer = self.link.query(&command).await.and_then(optional_bytes);
        let Some(record) = answer.map_err(|e| error::of_read(&e))? else {
            return Ok(None);
        };
        decode(&record).map(Some).ok_or_else(|| {
            tracing::error!(topic = topic.as_str(), "a stored snapshot cannot be read");
            StoreError::Corrupt
        })
    }

    pub(super) async fn keep_snapshot(
        &self,
        topic: &Name,
        subject: &Subject,
        snapshot: Snapshot,
    ) -> Result<()> {
        let keys = self.keys(topic);
        let mut call = self.scripts.save_snapshot.call(&[keys.meta(), keys.rev(), keys.snap()]);
        call.arg(subject.as_str()).arg(snapshot.revision).arg(&encode(&snapshot)[..]);
        let answer = self.link.invoke(&call).await.map_err(|e| error::of_write(&e))?;
        if answer == Value::Nil {
            return Err(StoreError::TopicNotFound(topic.clone()));
        }
        match &array(answer).map_err(|e| error::of_write(&e))?[..] {
            [Value::Int(0), last] => {
                let last = optional_number(last).map_err(|e| error::of_write(&e))?;
                Err(StoreError::SnapshotBeyondSubject { last })
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn remove_snapshot(&self, topic: &Name, subject: &Subject) -> Result<()> {
        self.state(topic).await?;
        let mut command = cmd("HDEL");
        command.arg(self.keys(topic).snap()).arg(subject.as_str());
        match self.link.query(&command).await.map_err(|e| error::of_write(&e))? {
            Value::Int(0) => Err(StoreError::SnapshotNotFound {
                topic: topic.clone(),
                subject: subject.as_str().to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// The content type's length, the content type, and the data. What the script puts in front are
/// the revision and the time, each followed by a blank.
fn encode(snapshot: &Snapshot) -> Bytes {
    let content_type = snapshot.content_type.as_deref().unwrap_or_default();
    let mut buf = BytesMut::with_capacity(2 + content_type.len() + snapshot.data.len());
    // At most 256 bytes; one more than its length, as 0 means that there is none.
    let marker = snapshot.content_type.as_ref().map_or(0, |text| text.len() + 1);
    buf.put_u16(u16::try_from(marker).unwrap_or(0));
    buf.put_slice(content_type.as_bytes());
    buf.put_slice(&snapshot.data);
    buf.freeze()
}

fn decode(record: &Bytes) -> Option<Snapshot> {
    let mut rest = record.clone();
    let mut number = || {
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let digits = rest.split_to(end);
        let _blank = rest.split_to(1);
        std::str::from_utf8(&digits).ok()?.parse::<u64>().ok()
    };
    let (revision, saved_at) = (number()?, number()?);
    let marker = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    let _marker = rest.split_to(2);
    let content_type = match marker.checked_sub(1) {
        None => None,
        Some(length) if length <= rest.len() => {
            Some(String::from_utf8(rest.split_to(length).to_vec()).ok()?)
        }
        Some(_) => return None,
    };
    let saved_at = Duration::from_millis(saved_at);
    Some(Snapshot { revision, content_type, data: rest, saved_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_back_as_it_was() {
        for content_type in [None, Some(String::new()), Some("application/json".to_owned())] {
            let snapshot = Snapshot {
                revision: 7,
                content_type,
                data: Bytes::from_static(b"\x00 state "),
                saved_at: Duration::ZERO,
            };
            let record = [b"7 1700000000000 ", &encode(&snapshot)[..]].concat();
            let decoded = decode(&record.into()).unwrap();
            assert_eq!(decoded.revision, 7);
            assert_eq!(decoded.content_type, snapshot.content_type);
            assert_eq!(decoded.data, snapshot.data);
            assert_eq!(decoded.saved_at, Duration::from_millis(1_700_000_000_000));
        }
        assert!(decode(&Bytes::from_static(b"7 x")).is_none());
        assert!(decode(&Bytes::from_static(b"7 1 \x00\x09a")).is_none());
    }
}
