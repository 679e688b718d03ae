//! The runner of a group feeds its members at this replica: one call delivers to several, and is
//! made when the bell rings, when something is due, or when a member has room again.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use redis_link::Bell;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::deliver::Caller;
use crate::error::StoreError;
use crate::model::{Delivery, Name};
use crate::store::redis::RedisStore;
use crate::store::{Member, Result};

/// Members that one call serves, and events for each of them.
const MEMBERS: usize = 8;
const EVENTS_EACH: u32 = 125;
/// A lost bell, or a due time that another replica set, is made good after this long.
const SWEEP: Duration = Duration::from_secs(2);
/// How long a runner outlives its last member.
const LINGER: Duration = Duration::from_secs(5);
/// How long Redis may be gone before members are sent elsewhere.
const PATIENCE: Duration = Duration::from_secs(4);
/// Consumers that hold nothing are forgotten after this long.
const UNSEEN: Duration = Duration::from_secs(600);
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Topic and group.
pub type Key = (Name, Name);

/// The runners of this replica.
#[derive(Debug, Default)]
pub struct Runners {
    inputs: Arc<DashMap<Key, mpsc::UnboundedSender<Command>>>,
}

#[derive(Debug)]
enum Command {
    Join(Seat),
    Credit { id: u64, events: u32 },
    Leave { id: u64 },
}

#[derive(Debug)]
struct Seat {
    id: u64,
    consumer: Name,
    credit: u32,
    deliveries: mpsc::UnboundedSender<Result<Vec<Delivery>>>,
}

/// A member at this replica; see [`crate::store::Groups::Member`].
pub struct GroupMember {
    id: u64,
    store: RedisStore,
    key: Key,
    input: mpsc::UnboundedSender<Command>,
    deliveries: mpsc::UnboundedReceiver<Result<Vec<Delivery>>>,
}

impl std::fmt::Debug for GroupMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupMember").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Member for GroupMember {
    fn add_credit(&self, events: u32) {
        // A runner that ended said why on the other channel.
        let _ = self.input.send(Command::Credit { id: self.id, events });
    }

    async fn next(&mut self) -> Result<Vec<Delivery>> {
        self.deliveries.recv().await.unwrap_or(Err(StoreError::StorageUnavailable))
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        let _ = self.input.send(Command::Leave { id: self.id });
        self.deliveries.close();
        let mut unused = Vec::new();
        while let Ok(deliveries) = self.deliveries.try_recv() {
            unused.extend(deliveries.into_iter().flatten());
        }
        self.store.return_unseen(&self.key, &unused);
    }
}

impl RedisStore {
    /// Takes a seat in a group that exists.
    pub(in crate::store::redis) fn sit_down(
        &self,
        topic: &Name,
        group: &Name,
        consumer: &Name,
    ) -> GroupMember {
        let key = (topic.clone(), group.clone());
        let id = rand::random();
        let (sender, deliveries) = mpsc::unbounded_channel();
        let mut join =
            Command::Join(Seat { id, consumer: consumer.clone(), credit: 0, deliveries: sender });
        loop {
            let input = self.runner(&key);
            match input.send(join) {
                Ok(()) => {
                    return GroupMember { id, store: self.clone(), key, input, deliveries };
                }
                Err(mpsc::error::SendError(back)) => join = back,
            }
        }
    }

    fn runner(&self, key: &Key) -> mpsc::UnboundedSender<Command> {
        let mut input =
            self.runners.inputs.entry(key.clone()).or_insert_with(|| self.start_runner(key));
        if input.is_closed() {
            *input = self.start_runner(key);
        }
        input.clone()
    }

    fn start_runner(&self, key: &Key) -> mpsc::UnboundedSender<Command> {
        let (input, commands) = mpsc::unbounded_channel();
        let bell = self.link.bells().subscribe(&self.keys(&key.0).bell());
        let runner = Runner {
            store: self.clone(),
            key: key.clone(),
            commands,
            seats: Vec::new(),
            failing_since: None,
            caller: Caller::default(),
            asked: Instant::now(),
        };
        let inputs = self.runners.inputs.clone();
        let key = key.clone();
        tokio::spawn(async move {
            runner.run(bell).await;
            inputs.remove_if(&key, |_, input| input.is_closed());
        });
        input
    }
}

struct Runner {
    store: RedisStore,
    key: Key,
    commands: mpsc::UnboundedReceiver<Command>,
    seats: Vec<Seat>,
    failing_since: Option<Instant>,
    caller: Caller,
    asked: Instant,
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.store.return_owed(&self.key, std::mem::take(&mut self.caller));
    }
}

impl Runner {
    async fn run(mut self, mut bell: Bell) {
        let mut pruned = Instant::now();
        let mut empty_since = Instant::now();
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            if !self.seats.is_empty() {
                empty_since = Instant::now();
            }
            let wake = match self.deliver().await {
                Ok(None) => continue,
                Ok(Some(wait)) => Instant::now() + wait,
                Err(error) => {
                    for seat in &self.seats {
                        let _ = seat.deliveries.send(Err(error.clone()));
                    }
                    return;
                }
            };
            if pruned.elapsed() > PRUNE_EVERY {
                pruned = Instant::now();
                // Tidying up: what fails now is done next time.
                let _ = self.store.prune_consumers(&self.key.0, &self.key.1, UNSEEN).await;
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = bell.rung() => {}
                () = sleep_until(wake) => {
                    if self.seats.is_empty() && empty_since.elapsed() > LINGER {
                        // What was sent meanwhile is answered by a new runner.
                        self.commands.close();
                        if self.commands.is_empty() {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Join(seat) => self.seats.push(seat),
            Command::Credit { id, events } => {
                if let Some(seat) = self.seats.iter_mut().find(|seat| seat.id == id) {
                    seat.credit = seat.credit.saturating_add(events);
                }
            }
            Command::Leave { id } => self.seats.retain(|seat| seat.id != id),
        }
    }

    /// One round: none when there may be more at once, else how long nothing is due.
    async fn deliver(&mut self) -> Result<Option<Duration>> {
        // Those with most room first: work spreads by itself.
        self.seats.sort_by_key(|seat| std::cmp::Reverse(seat.credit));
        let hungry = self.seats.iter().take_while(|seat| seat.credit > 0).take(MEMBERS).count();
        // Those whose hands are full still want to know when the group is gone; and what an unanswered
        // call delivered must go back, even if nobody is left here.
        let idle = self.seats.is_empty() || self.asked.elapsed() < SWEEP;
        if hungry == 0 && idle && !self.caller.is_owed() {
            return Ok(Some(SWEEP));
        }
        let count = |seat: &Seat| seat.credit.min(EVENTS_EACH);
        let wanted: Vec<_> =
            self.seats[..hungry].iter().map(|seat| (&seat.consumer, count(seat))).collect();
        let (topic, group) = &self.key;
        let answer = self.store.deliver(topic, group, &mut self.caller, &wanted).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(StoreError::StorageUnavailable | StoreError::OutcomeUnknown) => {
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(StoreError::StorageUnavailable);
                }
                sleep(Duration::from_millis(50)).await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.failing_since = None;
        self.asked = Instant::now();
        if hungry == 0 {
            return Ok(Some(SWEEP));
        }
        let mut any = false;
        for (seat, deliveries) in self.seats.iter_mut().zip(answer.by_consumer) {
            if deliveries.is_empty() {
                continue;
            }
            any = true;
            seat.credit =
                seat.credit.saturating_sub(u32::try_from(deliveries.len()).unwrap_or(u32::MAX));
            if let Err(mpsc::error::SendError(Ok(unseen))) = seat.deliveries.send(Ok(deliveries)) {
                self.store.return_unseen(&self.key, &unseen);
            }
        }
        if answer.more || any {
            return Ok(None);
        }
        Ok(Some(answer.next_due.map_or(SWEEP, |due| due.min(SWEEP)).max(Duration::from_millis(1))))
    }
}
