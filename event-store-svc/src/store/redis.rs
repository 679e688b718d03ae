//! The engine on Redis: one stream a topic, scripts for whatever must be atomic.
//!
//! `append`, `read`, `tail` and `subscribe` are the log; `subject` its entities; `topics` and
//! `retention` its administration; `groups` the shared consumption; `collect` their gauges. `keys`
//! names every key.

mod append;
mod collect;
mod durability;
pub(crate) mod entry;
mod error;
mod groups;
mod keys;
mod read;
mod retention;
pub mod rights;
mod scripts;
mod shape;
mod state;
mod subject;
mod subscribe;
mod tail;
mod topics;

use std::future::Future;
use std::hash::RandomState;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::BoxStream;
use redis_link::{Link, cmd};
use svc_runtime::lane::{LaneError, LaneOptions, Lanes};
use tokio_stream::wrappers::ReceiverStream;

use self::append::AppendWork;
use self::durability::DurabilityGate;
use self::groups::{Fetchers, GroupMember, Runners, SettleWork};
use self::keys::TopicKeys;
use self::scripts::Scripts;
use self::tail::Tails;
use super::{
    GroupChange, Groups, Log, Page, Read, Result, Settled, Snapshot, SubjectItem, Sweep, TailItem,
    Topics, Truncate,
};
use crate::error::StoreError;
use crate::figures::Figures;
use crate::model::{
    Append, Appended, Delivery, Group, GroupSettings, Name, ParkedEvent, ParkedSelection, Position,
    Receipt, Settle, Start, StoredEvent, Subject, Topic, TopicSettings,
};

/// When a caller that met a full lane may come again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

/// What all clones share.
#[derive(Debug)]
pub struct Inner {
    link: Link,
    scripts: Arc<Scripts>,
    figures: Figures,
    auto_create: bool,
    appends: Lanes<AppendWork>,
    settles: Lanes<SettleWork>,
    tails: Arc<Tails>,
    runners: Runners,
    fetchers: Fetchers,
}

impl Deref for RedisStore {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl RedisStore {
    /// A store over these connections, counting here. With `auto_create`, a topic is made by its
    /// first append.
    #[must_use]
    pub fn new(link: Link, auto_create: bool, figures: Figures) -> Self {
        let scripts = Arc::new(Scripts::default());
        let tails = Arc::<Tails>::default();
        let appends = AppendWork {
            link: link.clone(),
            scripts: scripts.clone(),
            durability: Arc::new(DurabilityGate::new(&link)),
            tails: tails.clone(),
            figures: figures.clone(),
            auto_create,
            hasher: RandomState::new(),
        };
        let settles =
            SettleWork { link: link.clone(), scripts: scripts.clone(), figures: figures.clone() };
        Self {
            inner: Arc::new(Inner {
                link,
                scripts,
                figures,
                auto_create,
                appends: Lanes::new(
                    appends,
                    LaneOptions {
                        name: "append",
                        depth: 1,
                        overlap: true,
                        ..LaneOptions::default()
                    },
                ),
                settles: Lanes::new(
                    settles,
                    LaneOptions { name: "settle", ..LaneOptions::default() },
                ),
                tails,
                runners: Runners::default(),
                fetchers: Fetchers::default(),
            }),
        }
    }

    #[allow(clippy::unused_self, reason = "reads as a property of the store")]
    fn keys(&self, topic: &Name) -> TopicKeys {
        TopicKeys::new(topic)
    }

    /// Redis' clock.
    async fn now(&self) -> Result<Duration> {
        self.link.query(&cmd("TIME")).await.and_then(topics::time).map_err(|e| error::of_read(&e))
    }
}

fn of_lane(error: LaneError) -> StoreError {
    match error {
        LaneError::Full => StoreError::RateLimited { retry_after: RETRY_AFTER },
        LaneError::Lost => StoreError::OutcomeUnknown,
    }
}

impl Log for RedisStore {
    async fn append(&self, append: Append) -> Result<Appended> {
        let key = (append.topic.clone(), append.durability);
        self.appends.run(&key, append).await.map_err(of_lane)?
    }

    async fn append_ordered(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended>> + Send + 'static {
        let key = (append.topic.clone(), append.durability);
        let pending = self.appends.submit(&key, append).await;
        async move { pending.answer().await.map_err(of_lane)? }
    }

    fn read(&self, read: Read) -> impl Stream<Item = Result<Vec<StoredEvent>>> + Send + 'static {
        ReceiverStream::new(self.start_read(read))
    }

    fn tail(&self, topic: Name, start: Start) -> BoxStream<'static, Result<TailItem>> {
        self.follow(topic, start)
    }

    fn head(&self, topic: &Name) -> Option<Position> {
        self.tail_head(topic)
    }

    async fn save_snapshot(
        &self,
        topic: &Name,
        subject: &Subject,
        snapshot: Snapshot,
    ) -> Result<()> {
        self.keep_snapshot(topic, subject, snapshot).await
    }

    fn load_subject(
        &self,
        topic: Name,
        subject: Subject,
    ) -> impl Stream<Item = Result<SubjectItem>> + Send + 'static {
        ReceiverStream::new(self.start_load(topic, subject))
    }

    async fn delete_snapshot(&self, topic: &Name, subject: &Subject) -> Result<()> {
        self.remove_snapshot(topic, subject).await
    }
}

impl Topics for RedisStore {
    async fn create_topic(&self, topic: &Name, settings: TopicSettings) -> Result<Topic> {
        self.make_topic(topic, settings).await
    }

    async fn update_topic(&self, topic: &Name, settings: TopicSettings) -> Result<Topic> {
        self.change_topic(topic, settings).await
    }

    async fn get_topic(&self, topic: &Name) -> Result<Topic> {
        self.describe_topic(topic).await
    }

    async fn list_topics(
        &self,
        after: Option<&str>,
        limit: usize,
        known: impl Fn(&Name) -> bool + Send,
    ) -> Result<Page<Topic>> {
        self.page_of_topics(after, limit, known).await
    }

    async fn truncate_topic(&self, topic: &Name, truncate: Truncate) -> Result<u64> {
        self.truncate(topic, truncate.before).await
    }

    async fn delete_topic(&self, topic: &Name) -> Result<()> {
        self.remove_topic(topic).await
    }

    async fn list_subjects(
        &self,
        topic: &Name,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, u64)>> {
        self.state(topic).await?;
        self.scan_subjects(topic, cursor.unwrap_or("0"), limit as u64).await
    }
}

impl Groups for RedisStore {
    type Member = GroupMember;

    async fn create_group(
        &self,
        topic: &Name,
        group: &Name,
        settings: GroupSettings,
    ) -> Result<Group> {
        self.make_group(topic, group, settings).await
    }

    async fn update_group(&self, topic: &Name, group: &Name, change: GroupChange) -> Result<Group> {
        self.change_group(topic, group, &change).await
    }

    async fn get_group(&self, topic: &Name, group: &Name) -> Result<Group> {
        self.describe_group(topic, group).await
    }

    async fn list_groups(
        &self,
        topic: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Group>> {
        self.page_of_groups(topic, after, limit).await
    }

    async fn delete_group(&self, topic: &Name, group: &Name) -> Result<()> {
        self.must_exist(topic, group).await?;
        self.drop_group(topic, group).await.map(drop)
    }

    async fn reset_group(&self, topic: &Name, group: &Name, start: Start) -> Result<Group> {
        self.set_group(topic, group, start).await
    }

    async fn join(&self, topic: &Name, group: &Name, consumer: &Name) -> Result<GroupMember> {
        self.must_exist(topic, group).await?;
        Ok(self.sit_down(topic, group, consumer))
    }

    async fn fetch(
        &self,
        topic: &Name,
        group: &Name,
        consumer: &Name,
        max_events: u32,
    ) -> Result<Vec<Delivery>> {
        self.deliver_once(topic, group, consumer, max_events).await
    }

    async fn settle(
        &self,
        topic: &Name,
        group: &Name,
        items: Vec<(Receipt, Settle)>,
    ) -> Result<Vec<Settled>> {
        let key = (topic.clone(), group.clone());
        self.settles.submit(&key, items).await.answer().await.map_err(of_lane)?
    }

    fn give_back(&self, topic: &Name, group: &Name, unused: Vec<Receipt>) {
        self.return_leases(&(topic.clone(), group.clone()), unused);
    }

    async fn list_parked(
        &self,
        topic: &Name,
        group: &Name,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ParkedEvent>> {
        self.page_of_parked(topic, group, after, limit).await
    }

    async fn unpark(
        &self,
        topic: &Name,
        group: &Name,
        selection: ParkedSelection,
        replay: bool,
    ) -> Result<u32> {
        self.take_parked(topic, group, &selection, replay).await
    }
}

impl Sweep for RedisStore {
    async fn sweep(&self) -> Result<()> {
        self.sweep_topics().await
    }
}
