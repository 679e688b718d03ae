//! The one reader of a topic at this replica: takes what was handed to it, reads what it does not
//! have, and puts both into the ring.

use std::sync::Arc;
use std::time::Duration;

use redis_link::values::Items;
use redis_link::{Bell, LinkError, Value, pipe};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::entry::entries;
use super::super::state::{STATE_FIELDS, TopicState, page};
use super::super::{RedisStore, error};
use super::{Progress, Tail};
use crate::error::StoreError;
use crate::model::{Name, Position, StoredEvent};
use crate::store::{Result, SharedEvent};

/// How long a tail outlives its last subscriber.
const LINGER: Duration = Duration::from_secs(10);
/// How long Redis may be gone before subscribers are sent elsewhere.
const PATIENCE: Duration = Duration::from_secs(4);
/// A lost bell is made good after this long, or more where there are very many topics.
const SWEEP: Duration = Duration::from_secs(1);
const SWEEP_PER_TOPIC: Duration = Duration::from_millis(2);
/// Events in a page of the ring: enough to share a round trip, and soon delivered.
const PAGE_EVENTS: u64 = 500;
/// The bell of an append may be heard before its answer: so long it is waited for.
const ANSWER: Duration = Duration::from_millis(5);

pub(super) struct Reader {
    store: RedisStore,
    topic: Name,
    tail: Arc<Tail>,
    /// How far it got; none: it has not begun.
    head: Option<Position>,
    /// When the topic was created that it reads; none: there was no such topic.
    created: Option<u64>,
    /// The connection of what was handed over that it has read behind: what comes over it follows.
    connection: Option<u64>,
    largest: u64,
    /// Whether there may be something that was not handed over.
    must_read: bool,
    /// How far the topic goes, as the bell says.
    rung: Position,
}

impl Reader {
    pub(super) fn new(store: RedisStore, topic: Name, tail: Arc<Tail>) -> Self {
        Self {
            store,
            topic,
            tail,
            head: None,
            created: None,
            connection: None,
            largest: 0,
            must_read: true,
            rung: Position::ZERO,
        }
    }

    pub(super) async fn run(mut self, mut bell: Bell) {
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
        let mut failing_since: Option<Instant> = None;
        let mut listened = Instant::now();
        loop {
            if self.tail.ring.receiver_count() > 0 {
                listened = Instant::now();
            } else if listened.elapsed() > LINGER {
                return Ok(());
            }
            match self.step().await {
                Ok(head) => {
                    failing_since = None;
                    if !self.must_read {
                        self.wait(bell, head).await;
                    }
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

    /// Goes as far as it can; answers how far that is.
    async fn step(&mut self) -> Result<Position> {
        let Some(head) = self.head else {
            return self.begin().await;
        };
        // What comes behind something that has to be read waits for that.
        let head = if self.must_read { head } else { self.take_handed(head) };
        if !self.must_read && self.rung <= head {
            return Ok(head);
        }
        // Until it was read.
        self.must_read = true;
        self.read(head).await
    }

    /// Waits until there may be more.
    async fn wait(&mut self, bell: &mut Bell, head: Position) {
        let topics = u32::try_from(self.store.tails.tails.len()).unwrap_or(u32::MAX);
        let sweep = SWEEP.max(SWEEP_PER_TOPIC * topics);
        let handed = &self.tail.handed;
        tokio::select! {
            biased;
            () = handed.changed() => {}
            payload = bell.recv() => {
                // Other things ring too, and what rang while nobody heard it is not known.
                let rung = payload.as_deref().and_then(position_of);
                self.must_read = rung.is_none();
                self.rung = rung.unwrap_or(self.rung);
                if self.rung > head && handed.is_expected() {
                    let _ = timeout(ANSWER, handed.changed()).await;
                }
            }
            () = sleep_until(Instant::now() + sweep) => self.must_read = true,
        }
    }

    async fn begin(&mut self) -> Result<Position> {
        let state = self.store.find_state(&self.topic).await?;
        self.created = state.map(|state| state.created);
        let state = state.unwrap_or_default();
        self.largest = state.largest;
        Ok(self.reached(state.last.unwrap_or(Position::ZERO)))
    }

    /// Puts what was handed over and follows into the ring.
    fn take_handed(&mut self, head: Position) -> Position {
        let taken = self.tail.handed.take(head, self.created, self.connection);
        if taken.gap.is_some() {
            self.must_read = true;
            self.connection = taken.gap;
        }
        let Some(last) = taken.events.last().map(|event| event.position) else {
            return head;
        };
        self.created = taken.created;
        let largest = taken.events.iter().map(|event| event.event.len() as u64).max();
        self.largest = self.largest.max(largest.unwrap_or(0));
        self.share(taken.events);
        self.reached(last)
    }

    /// Reads what follows and puts it into the ring.
    async fn read(&mut self, head: Position) -> Result<Position> {
        let keys = self.store.keys(&self.topic);
        let count = page(self.largest).min(PAGE_EVENTS);
        let mut commands = pipe();
        // First which topic it is: what is read after that is of this one, or of a later one.
        commands.cmd("HMGET").arg(keys.meta()).arg(&STATE_FIELDS);
        commands.cmd("XRANGE").arg(keys.log()).arg(head.after().to_string()).arg("+");
        commands.arg("COUNT").arg(count);
        let answers = self.store.link.pipeline(&commands).await;
        let read = |answers: Vec<Value>| -> std::result::Result<_, LinkError> {
            let mut answers = Items::of(Value::Array(answers))?;
            Ok((TopicState::of(answers.next_value()?)?, entries(answers.next_value()?)?))
        };
        let (state, events) = answers.and_then(read).map_err(|e| error::of_read(&e))?;
        let created = state.map(|state| state.created);
        let state = state.unwrap_or_default();
        let is_other = head > Position::ZERO && created != self.created;
        if is_other || state.last.unwrap_or(Position::ZERO) < head {
            // What was told to subscribers is no longer there: they must not go on as if it were.
            return Err(self.store.beyond_head(&self.topic, head, state.last));
        }
        (self.created, self.largest) = (created, state.largest);
        self.must_read = events.len() as u64 >= count;
        let Some(last) = events.last().map(|event| event.position) else {
            // The bell has said something else: it is looked for again with the next one.
            self.rung = self.rung.min(head);
            return Ok(head);
        };
        self.share(events);
        Ok(self.reached(last))
    }

    fn share(&self, events: Vec<StoredEvent>) {
        if self.tail.ring.receiver_count() > 0 {
            let share = |stored| SharedEvent::new(&self.topic, stored);
            // Nobody may listen any more.
            let _ = self.tail.ring.send(events.into_iter().map(share).collect());
        }
    }

    fn reached(&mut self, head: Position) -> Position {
        if self.head != Some(head) {
            self.head = Some(head);
            self.tail.progress.send_replace(Progress::At(head));
        }
        head
    }
}

fn position_of(payload: &[u8]) -> Option<Position> {
    std::str::from_utf8(payload).ok().and_then(Position::parse)
}
