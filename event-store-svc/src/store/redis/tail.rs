//! Tailing: one reader per topic, however many subscribers. The bell says that there is more, one
//! XRANGE reads it, and the same encoded bytes go to all through a bounded ring.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use redis_link::values::Items;
use redis_link::{Bell, LinkError, pipe};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::entry::entries;
use super::state::{STATE_FIELDS, TopicState};
use super::{RedisStore, error};
use crate::error::StoreError;
use crate::model::{Name, Position};
use crate::store::{Result, SharedEvent};

/// Pages that a subscriber may be behind before it has to read for itself.
const RING: usize = 64;
/// How long a tail outlives its last subscriber.
const LINGER: Duration = Duration::from_secs(10);
/// How long Redis may be gone before subscribers are sent elsewhere.
const PATIENCE: Duration = Duration::from_secs(4);
/// A lost bell is made good after this long, or more where there are very many topics.
const SWEEP: Duration = Duration::from_secs(1);
const SWEEP_PER_TOPIC: Duration = Duration::from_millis(2);
/// Events in a page of the ring: enough to share a round trip, and soon delivered.
const PAGE_EVENTS: u64 = 500;

/// Events, in order, for everybody.
pub type Shared = Arc<[SharedEvent]>;

/// The tails of this replica.
#[derive(Debug, Default)]
pub struct Tails {
    tails: DashMap<Name, Arc<Tail>>,
}

/// What subscribers of a topic share.
#[derive(Debug)]
pub struct Tail {
    ring: broadcast::Sender<Shared>,
    progress: watch::Sender<Progress>,
}

/// How far a tail got.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It does not know yet where the topic ends.
    Starting,
    /// Everything up to here is in the ring, or was there before the ring.
    At(Position),
    /// It is over.
    Ended(StoreError),
}

/// A place in the ring.
#[derive(Debug)]
pub struct Subscription {
    /// Everything after the head at the time of the subscription.
    pub live: broadcast::Receiver<Shared>,
    /// How far the tail got.
    pub progress: watch::Receiver<Progress>,
    /// Weak, so that `live` closes when the tail is over.
    ring: broadcast::WeakSender<Shared>,
}

impl Subscription {
    /// Where the topic ended at some moment after this subscription began: what comes later is in
    /// `live`.
    pub async fn head(&mut self) -> Result<Position> {
        let known =
            self.progress.wait_for(|progress| !matches!(progress, Progress::Starting)).await;
        match known.as_deref() {
            Ok(Progress::At(head)) => Ok(*head),
            Ok(Progress::Ended(error)) => Err(error.clone()),
            Ok(Progress::Starting) | Err(_) => Err(StoreError::StorageUnavailable),
        }
    }

    /// Why there is no more.
    pub fn end(&self) -> StoreError {
        match &*self.progress.borrow() {
            Progress::Ended(error) => error.clone(),
            Progress::Starting | Progress::At(_) => StoreError::StorageUnavailable,
        }
    }

    /// Takes a new place, at the end of the ring; when the tail is over, `live` says so later.
    pub fn renew(&mut self) {
        if let Some(ring) = self.ring.upgrade() {
            self.live = ring.subscribe();
        }
    }
}

impl RedisStore {
    /// A place in the ring of a topic, which need not exist yet.
    pub(super) fn subscribe(&self, topic: &Name) -> Subscription {
        let subscription = |tail: &Arc<Tail>| Subscription {
            live: tail.ring.subscribe(),
            progress: tail.progress.subscribe(),
            ring: tail.ring.downgrade(),
        };
        let mut tail =
            self.tails.tails.entry(topic.clone()).or_insert_with(|| self.start_tail(topic));
        if matches!(*tail.progress.borrow(), Progress::Ended(_)) {
            *tail = self.start_tail(topic);
        }
        subscription(&tail)
    }

    /// The newest position that the tail of a topic knows.
    pub(super) fn tail_head(&self, topic: &Name) -> Option<Position> {
        match *self.tails.tails.get(topic)?.progress.borrow() {
            Progress::At(head) if head > Position::ZERO => Some(head),
            _ => None,
        }
    }

    fn start_tail(&self, topic: &Name) -> Arc<Tail> {
        let tail = Arc::new(Tail {
            ring: broadcast::Sender::new(RING),
            progress: watch::Sender::new(Progress::Starting),
        });
        let reader =
            Reader { store: self.clone(), topic: topic.clone(), tail: tail.clone(), largest: 0 };
        let bell = self.link.bells().subscribe(&self.keys(topic).bell());
        tokio::spawn(reader.run(bell));
        tail
    }
}

struct Reader {
    store: RedisStore,
    topic: Name,
    tail: Arc<Tail>,
    largest: u64,
}

impl Reader {
    async fn run(mut self, mut bell: Bell) {
        let end = self.follow(&mut bell).await;
        if let Err(error) = &end {
            tracing::info!(topic = self.topic.as_str(), %error, "a tail ended");
        }
        let end = end.err().unwrap_or(StoreError::StorageUnavailable);
        self.tail.progress.send_replace(Progress::Ended(end));
        self.store.tails.tails.remove_if(&self.topic, |_, tail| Arc::ptr_eq(tail, &self.tail));
    }

    /// Ends without an error when nobody has listened for a while.
    async fn follow(&mut self, bell: &mut Bell) -> Result<()> {
        let mut head: Option<Position> = None;
        let mut failing_since: Option<Instant> = None;
        let mut listened = Instant::now();
        loop {
            if self.tail.ring.receiver_count() > 0 {
                listened = Instant::now();
            } else if listened.elapsed() > LINGER {
                return Ok(());
            }
            let step = match head {
                None => self.begin().await.map(|position| (position, true)),
                Some(at) => self.read(at).await,
            };
            match step {
                Ok((position, more)) => {
                    failing_since = None;
                    if head != Some(position) {
                        self.tail.progress.send_replace(Progress::At(position));
                    }
                    head = Some(position);
                    if more {
                        continue;
                    }
                    let topics = u32::try_from(self.store.tails.tails.len()).unwrap_or(u32::MAX);
                    let sweep = SWEEP.max(SWEEP_PER_TOPIC * topics);
                    let _ = timeout(sweep, bell.rung()).await;
                }
                Err(StoreError::StorageUnavailable) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        return Err(StoreError::StorageUnavailable);
                    }
                    let mut ready = self.store.link.ready();
                    let _ =
                        timeout(Duration::from_millis(200), ready.wait_for(|ready| *ready)).await;
                    sleep_until(Instant::now() + Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn begin(&mut self) -> Result<Position> {
        let state = self.store.find_state(&self.topic).await?.unwrap_or_default();
        self.largest = state.largest;
        Ok(state.last.unwrap_or(Position::ZERO))
    }

    /// Reads what follows and puts it into the ring; answers how far it got and whether there may
    /// be more.
    async fn read(&mut self, head: Position) -> Result<(Position, bool)> {
        let keys = self.store.keys(&self.topic);
        let count = super::state::page(self.largest).min(PAGE_EVENTS);
        let mut commands = pipe();
        commands.cmd("XRANGE").arg(keys.log()).arg(head.after().to_string()).arg("+");
        commands.arg("COUNT").arg(count);
        commands.cmd("HMGET").arg(keys.meta()).arg(&STATE_FIELDS);
        let answers = self.store.link.pipeline(&commands).await;
        let read = |answers: Vec<redis_link::Value>| -> std::result::Result<_, LinkError> {
            let mut answers = Items::of(redis_link::Value::Array(answers))?;
            Ok((entries(answers.next_value()?)?, TopicState::of(answers.next_value()?)?))
        };
        let (events, state) = answers.and_then(read).map_err(|e| error::of_read(&e))?;
        let state = state.unwrap_or_default();
        self.largest = state.largest;
        if state.last.unwrap_or(Position::ZERO) < head {
            // What was told to subscribers is no longer there: they must not go on as if it were.
            return Err(self.store.beyond_head(&self.topic, head, state.last));
        }
        let more = events.len() as u64 >= count;
        let Some(last) = events.last().map(|event| event.position) else {
            return Ok((head, false));
        };
        if self.tail.ring.receiver_count() > 0 {
            let share = |stored| SharedEvent::new(&self.topic, stored);
            // Nobody may listen any more.
            let _ = self.tail.ring.send(events.into_iter().map(share).collect());
        }
        Ok((last, more))
    }
}
