//! The engine: what a message queue does, whatever it is kept in.
//!
//! [`QueueEngine`] is the contract; `redis` keeps it.

pub mod leases;
pub mod redis;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::error::QueueError;
use crate::model::{
    Durability, MessageId, Outgoing, QueueName, QueueSettings, Receipt, SettingsChange,
};
pub use leases::{Consumer, Credit, GiveBack, Lease, Leases, Return};

/// What most operations answer with.
pub type QueueResult<T> = Result<T, QueueError>;

/// What became of one message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendOutcome {
    /// Its id, or that of the message that it repeats.
    pub message_id: String,
    /// Whether it repeats another.
    pub deduplicated: bool,
}

/// The outcome of a send that is under way.
pub type Submitted = Pin<Box<dyn Future<Output = QueueResult<Vec<SendOutcome>>> + Send>>;

/// A queue and its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueInfo {
    /// Its settings.
    pub settings: QueueSettings,
    /// Messages that may be received.
    pub ready: u64,
    /// Messages that are leased.
    pub in_flight: u64,
    /// Messages that are not due.
    pub delayed: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// How long ago the oldest ready message was sent.
    pub oldest_age: Option<Duration>,
    /// Messages sent in the last minute.
    pub sent_last_minute: u64,
    /// Messages acked in the last minute.
    pub acked_last_minute: u64,
    /// Consumers that wait or hold messages.
    pub consumers: u32,
    /// Whether deliveries are stopped.
    pub paused: bool,
    /// When it was created, in ms since 1970.
    pub created_at_ms: u64,
}

/// Which messages to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeekState {
    /// Those that may be received.
    Ready,
    /// Those that are not due.
    Delayed,
    /// Those that are leased.
    InFlight,
}

/// A message that was looked at.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// The encoded Message, with its id.
    pub message: Bytes,
    /// When it was sent, in ms since 1970.
    pub sent_at_ms: u64,
    /// When it is due or its lease ends, in ms since 1970.
    pub due_at_ms: Option<u64>,
    /// Failed attempts so far.
    pub failures: u32,
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// It failed too often.
    MaxAttempts,
    /// Its time ran out.
    Expired,
    /// A consumer said so.
    Rejected,
}

/// A message set aside.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The encoded Message, with its id.
    pub message: Bytes,
    /// Why.
    pub reason: DeadReason,
    /// Failed attempts.
    pub attempts: u32,
    /// What was said last.
    pub last_error: String,
    /// When it was sent, in ms since 1970.
    pub sent_at_ms: u64,
    /// When it was set aside, in ms since 1970.
    pub dead_at_ms: u64,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadSelection {
    /// The oldest, so many at most; all that are there now.
    Oldest(Option<u64>),
    /// Those with these ids.
    Ids(Vec<MessageId>),
}

/// A message queue.
///
/// Every operation either answers or fails with a [`QueueError`] that says
/// whether something may have happened. Each may be called on any replica.
pub trait QueueEngine: Clone + Debug + Send + Sync + 'static {
    /// Sends 1 to 1,000 messages, all or nothing. Fails at once with
    /// [`QueueError::RateLimited`] when too much is waiting.
    fn send(
        &self,
        queue: &QueueName,
        messages: Vec<Outgoing>,
        durability: Durability,
    ) -> impl Future<Output = QueueResult<Vec<SendOutcome>>> + Send;

    /// As [`QueueEngine::send`], for streams: waits for room, and completes
    /// when the order is settled, with what will be the outcome.
    fn submit(
        &self,
        queue: QueueName,
        messages: Vec<Outgoing>,
        durability: Durability,
    ) -> impl Future<Output = Submitted> + Send;

    /// Leases up to `max` messages, waiting up to `wait` for the first; none
    /// is a success. `lease`: the queue's if absent.
    fn receive(
        &self,
        queue: &QueueName,
        max: usize,
        wait: Duration,
        lease: Option<Duration>,
    ) -> impl Future<Output = QueueResult<Leases>> + Send;

    /// A consumer's place at the queue, for as long as it consumes.
    fn join(&self, queue: &QueueName) -> impl Consumer + use<Self>;

    /// Says that messages are done. Repeating it with the same receipt succeeds.
    fn ack(
        &self,
        queue: &QueueName,
        receipts: Vec<Receipt>,
    ) -> impl Future<Output = QueueResult<Vec<QueueResult<()>>>> + Send;

    /// Ends leases without an ack. `reason` is kept with the message.
    fn give_back(
        &self,
        queue: &QueueName,
        receipts: Vec<Receipt>,
        how: Return,
        reason: &str,
    ) -> impl Future<Output = QueueResult<Vec<QueueResult<()>>>> + Send;

    /// Makes leases last that long from now, or as long as the queue's.
    fn extend(
        &self,
        queue: &QueueName,
        receipts: Vec<Receipt>,
        by: Option<Duration>,
    ) -> impl Future<Output = QueueResult<Vec<QueueResult<()>>>> + Send;

    /// Leases in one batch are taken back in the background.
    fn give_back_later(&self, queue: &QueueName, receipts: Vec<Receipt>);

    /// Sends a message and waits for its reply, an encoded ReplyContent. When
    /// the caller goes away, the message is withdrawn unless it was taken.
    fn call(
        &self,
        queue: &QueueName,
        message: Outgoing,
        timeout: Duration,
    ) -> impl Future<Output = QueueResult<(MessageId, Bytes)>> + Send;

    /// Answers the sender of a message and acks it.
    fn reply(
        &self,
        queue: &QueueName,
        receipt: Receipt,
        content: Bytes,
    ) -> impl Future<Output = QueueResult<()>> + Send;

    /// The reply to a message, waiting up to `wait` for it.
    fn get_reply(
        &self,
        queue: &QueueName,
        message_id: &MessageId,
        wait: Duration,
    ) -> impl Future<Output = QueueResult<Bytes>> + Send;

    /// Creates a queue; one with the same settings may exist.
    fn create(
        &self,
        queue: &QueueName,
        settings: QueueSettings,
    ) -> impl Future<Output = QueueResult<QueueInfo>> + Send;

    /// Changes settings.
    fn update(
        &self,
        queue: &QueueName,
        change: SettingsChange,
    ) -> impl Future<Output = QueueResult<QueueInfo>> + Send;

    /// Tells all about a queue.
    fn info(&self, queue: &QueueName) -> impl Future<Output = QueueResult<QueueInfo>> + Send;

    /// Lists queues by name, after a name: those that may be shown.
    fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        shown: impl Fn(&QueueName) -> bool + Send + Sync,
    ) -> impl Future<Output = QueueResult<Page<(QueueName, QueueInfo)>>> + Send;

    /// Removes a queue with all that it holds.
    fn delete(&self, queue: &QueueName) -> impl Future<Output = QueueResult<()>> + Send;

    /// Drops what is ready or delayed; answers how many.
    fn purge(&self, queue: &QueueName) -> impl Future<Output = QueueResult<u64>> + Send;

    /// Stops or resumes deliveries.
    fn pause(
        &self,
        queue: &QueueName,
        paused: bool,
    ) -> impl Future<Output = QueueResult<()>> + Send;

    /// Shows messages without taking them.
    fn peek(
        &self,
        queue: &QueueName,
        state: PeekState,
        limit: usize,
    ) -> impl Future<Output = QueueResult<Vec<Peeked>>> + Send;

    /// Lists dead letters, oldest first, after a token.
    fn dead_letters(
        &self,
        queue: &QueueName,
        after: Option<u64>,
        limit: usize,
    ) -> impl Future<Output = QueueResult<Page<DeadLetter>>> + Send;

    /// Sends dead letters again, oldest first, to this or another queue;
    /// answers how many. A crash in the middle may send one twice to another.
    fn redrive(
        &self,
        queue: &QueueName,
        limit: Option<u64>,
        to: Option<&QueueName>,
        max_rate: Option<f64>,
    ) -> impl Future<Output = QueueResult<u64>> + Send;

    /// Drops dead letters; answers how many.
    fn delete_dead_letters(
        &self,
        queue: &QueueName,
        which: DeadSelection,
    ) -> impl Future<Output = QueueResult<u64>> + Send;
}
