//! Clients that keep writing through outages, and keep account of what was answered.
//!
//! Each write has an id of its own and is repeated with that id until it is answered: what the
//! services promise about repeating is then shown by what is found at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::eventstore::v1::{self as eventstore, event_store_client::EventStoreClient};
use proto::messagequeue::v1::{self as messagequeue, message_queue_client::MessageQueueClient};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::Channel;

use crate::clients::{Clients, append, event, outgoing, send};
use crate::failure::Failure;
use crate::watch;

/// Between a failed try and the next.
const PAUSE: Duration = Duration::from_millis(20);

/// What came of the writes so far.
#[derive(Debug, Default)]
pub struct Account {
    /// Ids that were answered.
    pub acked: BTreeSet<String>,
    /// Failures that the documents allow while Redis is away.
    pub outages: usize,
    /// Failures that they don't.
    pub others: Vec<Failure>,
    /// When the last write was answered.
    pub last_ack: Option<Instant>,
}

/// What was promised, beside what came of it.
#[derive(Debug)]
pub struct Verdict {
    /// How many writes were answered.
    pub acked: usize,
    /// Those of them that are not there.
    pub lost: Vec<String>,
    /// What is there more than once.
    pub twice: Vec<String>,
    /// Failures that the documents allow while Redis is away.
    pub outages: usize,
    /// Failures that they don't.
    pub others: Vec<Failure>,
}

impl Verdict {
    /// Whether all that was answered is there, once, and nothing failed otherwise than documented.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.lost.is_empty() && self.twice.is_empty() && self.others.is_empty()
    }
}

/// What was answered and is not there, and what is there more than once.
#[must_use]
pub fn lost_and_twice(answered: &BTreeSet<String>, found: &[String]) -> (Vec<String>, Vec<String>) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for id in found {
        *times.entry(id).or_default() += 1;
    }
    let lost = answered.iter().filter(|id| !times.contains_key(id.as_str())).cloned().collect();
    let twice = times.iter().filter(|(_, times)| **times > 1);
    (lost, twice.map(|(id, _)| (*id).to_owned()).collect())
}

/// A shared account.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Account>>);

impl Ledger {
    /// Looks into it.
    pub fn look<T>(&self, look: impl FnOnce(&mut Account) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many writes were answered.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.look(|account| account.acked.len())
    }

    /// Holds it against what is there at the end.
    #[must_use]
    pub fn held_against(&self, found: &[String]) -> Verdict {
        self.look(|account| {
            let (lost, twice) = lost_and_twice(&account.acked, found);
            Verdict {
                acked: account.acked.len(),
                lost,
                twice,
                outages: account.outages,
                others: std::mem::take(&mut account.others),
            }
        })
    }

    fn book(&self, id: &str, outcome: Result<(), Status>) -> bool {
        self.look(|account| match outcome {
            Ok(()) => {
                account.acked.insert(id.to_owned());
                account.last_ack = Some(Instant::now());
                true
            }
            Err(status) => {
                let failure = Failure::from(&status);
                if failure.is_outage() {
                    account.outages += 1;
                } else {
                    account.others.push(failure);
                }
                false
            }
        })
    }
}

/// Writers at work. They stop when dropped.
#[derive(Debug)]
pub struct Writers {
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// `count` writers append to `topic`.
    #[must_use]
    pub fn appending(clients: &Clients, topic: &str, count: usize) -> Self {
        let (client, topic) = (clients.store.clone(), topic.to_owned());
        Self::start(count, move |id| {
            append_one(client.clone(), topic.clone(), id, eventstore::Durability::Unspecified)
        })
    }

    /// `count` writers send to `queue`.
    #[must_use]
    pub fn sending(clients: &Clients, queue: &str, count: usize) -> Self {
        let (client, queue) = (clients.queue.clone(), queue.to_owned());
        Self::start(count, move |id| {
            send_one(client.clone(), queue.clone(), id, messagequeue::Durability::Unspecified)
        })
    }

    /// `count` writers make writes of an id with `one`.
    #[must_use]
    pub fn start<Fut>(count: usize, one: impl Fn(String) -> Fut + Clone + Send + 'static) -> Self
    where
        Fut: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (ledger, stop) = (Ledger::default(), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for writer in 0..count {
            let (ledger, over, one) = (ledger.clone(), stop.clone(), one.clone());
            tasks.spawn(write(ledger, over, format!("w{writer}"), one));
        }
        Self { ledger, stop, tasks }
    }

    /// What came of it so far.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Waits until so many more writes were answered.
    ///
    /// # Errors
    /// When they were not within `limit`.
    pub async fn acked_more(&self, more: usize, limit: Duration) -> anyhow::Result<()> {
        let goal = self.ledger.acked() + more;
        watch::until("more acknowledged writes", limit, || async {
            let now = self.ledger.acked();
            anyhow::ensure!(now >= goal, "{now} of {goal}");
            Ok(())
        })
        .await
    }

    /// Lets each finish the write that it is at.
    pub async fn finish(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.ledger
    }
}

async fn write<Fut>(
    ledger: Ledger,
    over: Arc<AtomicBool>,
    name: String,
    one: impl Fn(String) -> Fut + Send,
) where
    Fut: Future<Output = Result<(), Status>>,
{
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let id = format!("{name}-{number}");
        while !ledger.book(&id, one(id.clone()).await) {
            sleep(PAUSE).await;
        }
        number += 1;
    }
}

/// Appends an event that is nothing but its id.
///
/// # Errors
/// What the service answers.
pub async fn append_one(
    mut client: EventStoreClient<Channel>,
    topic: String,
    id: String,
    durability: eventstore::Durability,
) -> Result<(), Status> {
    let mut request = append(&topic, vec![event(&id, "written", &id)]);
    request.durability = durability.into();
    client.append(request).await.map(drop)
}

/// Sends a message that is nothing but its id.
///
/// # Errors
/// What the service answers.
pub async fn send_one(
    mut client: MessageQueueClient<Channel>,
    queue: String,
    id: String,
    durability: messagequeue::Durability,
) -> Result<(), Status> {
    let mut message = outgoing("written", &id);
    message.dedup_key = Some(id);
    let mut request = send(&queue, vec![message]);
    request.durability = durability.into();
    client.send(request).await.map(drop)
}
