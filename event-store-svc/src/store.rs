//! The engine as the handlers see it. [`redis`](self::redis) is the one there is.
//!
//! Everything here has been checked before (see [`crate::model`]); what is refused is refused
//! because of the state of the store. An operation that fails has changed nothing, unless it fails
//! with [`StoreError::OutcomeUnknown`].

pub mod redis;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;

use crate::error::StoreError;
use crate::model::{
    Append, Appended, Delivery, Direction, EventFilter, Group, GroupSettings, Name, ParkedEvent,
    ParkedSelection, Position, Receipt, Settle, Start, StoredEvent, Subject, Topic, TopicSettings,
};

/// The result of an operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A read of what is there.
#[derive(Clone, Debug)]
pub struct Read {
    /// The topic.
    pub topic: Name,
    /// Only events of this subject.
    pub subject: Option<Subject>,
    /// Which way.
    pub direction: Direction,
    /// Where to start; absent is the beginning of the reading.
    pub start: Option<Start>,
    /// Where to end, inclusive.
    pub end: Option<Position>,
    /// How many events at most.
    pub limit: Option<u64>,
    /// Which events.
    pub filter: EventFilter,
}

/// A subject's state as of one of its events.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision of the last event in it.
    pub revision: u64,
    /// The media type of the state.
    pub content_type: Option<String>,
    /// The state.
    pub data: Bytes,
    /// When it was saved, since 1970.
    pub saved_at: Duration,
}

/// What a load of a subject yields.
#[derive(Debug)]
pub enum SubjectItem {
    /// Its newest snapshot, at most once and first.
    Snapshot(Snapshot),
    /// Events after it, in order.
    Events(Vec<StoredEvent>),
}

/// An event that goes to many subscribers: encoded once.
#[derive(Clone, Debug)]
pub struct SharedEvent {
    /// The event.
    pub stored: StoredEvent,
    /// The encoded `RecordedEvent`.
    pub recorded: Bytes,
}

impl SharedEvent {
    /// Encodes an event of this topic.
    #[must_use]
    pub fn new(topic: &Name, mut stored: StoredEvent) -> Self {
        let recorded = stored.to_recorded(topic);
        // The event ends it: kept once, and not with the request or answer that it came by.
        stored.event = recorded.slice(recorded.len() - stored.event.len()..);
        Self { stored, recorded }
    }
}

/// What happens on one topic of a subscription.
#[derive(Clone, Debug)]
pub enum TailItem {
    /// Events in order, before any filter.
    Events(Arc<[SharedEvent]>),
    /// Everything that was there has been delivered.
    CaughtUp,
    /// The subscriber is slower than the topic; what it missed follows.
    FellBehind,
}

/// Appends and reads events.
pub trait Log: Send + Sync + 'static {
    /// Appends events, all or nothing, and waits for the answer. Refused with
    /// [`StoreError::RateLimited`] at once when too much is waiting.
    fn append(&self, append: Append) -> impl Future<Output = Result<Appended>> + Send;

    /// Waits for room and hands the append over; the answer is the inner future's. Appends handed
    /// over one after the other, to one topic and with one durability, are made in that order. Once
    /// one of an [`AppendOrder`](crate::model::AppendOrder) failed with an error that
    /// [passes](StoreError::is_passing), none behind it is made: the order has ended.
    fn append_ordered(
        &self,
        append: Append,
    ) -> impl Future<Output = impl Future<Output = Result<Appended>> + Send + 'static> + Send;

    /// Reads pages of events. Memory is bounded by two pages, and nothing is read ahead of a
    /// reader that has stopped by more than one.
    fn read(&self, read: Read) -> impl Stream<Item = Result<Vec<StoredEvent>>> + Send + 'static;

    /// Reads from a start on and goes on with what is appended. Ends only with an error.
    fn tail(&self, topic: Name, start: Start) -> BoxStream<'static, Result<TailItem>>;

    /// Position of the newest event as far as this replica knows.
    fn head(&self, topic: &Name) -> Option<Position>;

    /// Keeps a snapshot, unless a newer one is there.
    fn save_snapshot(
        &self,
        topic: &Name,
        subject: &Subject,
        snapshot: Snapshot,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Reads the newest snapshot and every event after it.
    fn load_subject(
        &self,
        topic: Name,
        subject: Subject,
    ) -> impl Stream<Item = Result<SubjectItem>> + Send + 'static;

    /// Removes a snapshot.
    fn delete_snapshot(
        &self,
        topic: &Name,
        subject: &Subject,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// A page of things with a name.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last.
    pub next: Option<String>,
}

/// How far a topic is to be truncated.
#[derive(Clone, Copy, Debug)]
pub struct Truncate {
    /// Every event before this position goes.
    pub before: Position,
}

/// Administers topics.
pub trait Topics: Send + Sync + 'static {
    /// Creates a topic; one with the same settings is fine.
    fn create_topic(
        &self,
        topic: &Name,
        settings: TopicSettings,
    ) -> impl Future<Output = Result<Topic>> + Send;

    /// Changes what is given.
    fn update_topic(
        &self,
        topic: &Name,
        settings: TopicSettings,
    ) -> impl Future<Output = Result<Topic>> + Send;

    /// Tells settings and figures.
    fn get_topic(&self, topic: &Name) -> impl Future<Output = Result<Topic>> + Send;

    /// Lists topics by name, after `after`: those that `known` says. A page may be short, and even
    /// empty, with others behind it, where there are very many that it does not say.
    fn list_topics(
        &self,
        after: Option<&str>,
        limit: usize,
        known: impl Fn(&Name) -> bool + Send,
    ) -> impl Future<Output = Result<Page<Topic>>> + Send;

    /// Removes events; answers how many.
    fn truncate_topic(
        &self,
        topic: &Name,
        truncate: Truncate,
    ) -> impl Future<Output = Result<u64>> + Send;

    /// Removes a topic with all that belongs to it.
    fn delete_topic(&self, topic: &Name) -> impl Future<Output = Result<()>> + Send;

    /// Lists subjects and their last revisions; `cursor` is the `next` of the page before.
    fn list_subjects(
        &self,
        topic: &Name,
        cursor: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<(String, u64)>>> + Send;
}

/// What to change of a group; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// See [`GroupSettings::ack_timeout`].
    pub ack_timeout: Option<Duration>,
    /// See [`GroupSettings::max_deliveries`].
    pub max_deliveries: Option<u32>,
    /// See [`GroupSettings::backoff_initial`].
    pub backoff_initial: Option<Duration>,
    /// See [`GroupSettings::backoff_max`].
    pub backoff_max: Option<Duration>,
    /// See [`GroupSettings::backoff_multiplier`].
    pub backoff_multiplier: Option<f64>,
    /// See [`GroupSettings::ordering`].
    pub ordering: Option<crate::model::Ordering>,
    /// See [`GroupSettings::max_in_flight`].
    pub max_in_flight: Option<u32>,
}

/// A settled delivery: when its lease ends now, for an extension.
pub type Settled = Result<Option<Duration>>;

/// Shares topics among consumers.
pub trait Groups: Send + Sync + 'static {
    /// A member of a group: deliveries come out of it as long as it has credit. Dropping it gives
    /// back what was not yet taken out of it.
    type Member: Member;

    /// Creates a group; one with the same settings is fine.
    fn create_group(
        &self,
        topic: &Name,
        group: &Name,
        settings: GroupSettings,
    ) -> impl Future<Output = Result<Group>> + Send;

    /// Changes what is given.
    fn update_group(
        &self,
        topic: &Name,
        group: &Name,
        change: GroupChange,
    ) -> impl Future<Output = Result<Group>> + Send;

    /// Tells settings and figures.
    fn get_group(&self, topic: &Name, group: &Name) -> impl Future<Output = Result<Group>> + Send;

    /// Lists groups by name, after `after`.
    fn list_groups(
        &self,
        topic: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<Group>>> + Send;

    /// Removes a group.
    fn delete_group(&self, topic: &Name, group: &Name) -> impl Future<Output = Result<()>> + Send;

    /// Sets a group's progress to another place.
    fn reset_group(
        &self,
        topic: &Name,
        group: &Name,
        start: Start,
    ) -> impl Future<Output = Result<Group>> + Send;

    /// Joins a group with no credit yet.
    fn join(
        &self,
        topic: &Name,
        group: &Name,
        consumer: &Name,
    ) -> impl Future<Output = Result<Self::Member>> + Send;

    /// Takes what is there.
    fn fetch(
        &self,
        topic: &Name,
        group: &Name,
        consumer: &Name,
        max_events: u32,
    ) -> impl Future<Output = Result<Vec<Delivery>>> + Send;

    /// Settles deliveries, each on its own; answers in their order.
    fn settle(
        &self,
        topic: &Name,
        group: &Name,
        items: Vec<(Receipt, Settle)>,
    ) -> impl Future<Output = Result<Vec<Settled>>> + Send;

    /// Gives leases back that nobody uses, behind the caller's back, and tries again while the
    /// store is unavailable.
    fn give_back(&self, topic: &Name, group: &Name, unused: Vec<Receipt>);

    /// Lists parked events, oldest first; `after` is the `next` of the page before.
    fn list_parked(
        &self,
        topic: &Name,
        group: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<ParkedEvent>>> + Send;

    /// Takes parked events off, for delivery again or for good; answers how many.
    fn unpark(
        &self,
        topic: &Name,
        group: &Name,
        selection: ParkedSelection,
        replay: bool,
    ) -> impl Future<Output = Result<u32>> + Send;
}

/// See [`Groups::Member`].
pub trait Member: Send + 'static {
    /// Allows so many more deliveries.
    fn add_credit(&self, events: u32);

    /// The next deliveries; cancel-safe. An error is the end.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Delivery>>> + Send;
}

/// Removes what retention says is to go.
pub trait Sweep: Send + Sync + 'static {
    /// One sweep over all topics.
    fn sweep(&self) -> impl Future<Output = Result<()>> + Send;
}

/// All that the service is made of.
pub trait Store: Log + Topics + Groups + Sweep {}

impl<T: Log + Topics + Groups + Sweep> Store for T {}
