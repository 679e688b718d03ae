//! Upkeep of queues that nobody looks at: expired leases, delays and messages.
//!
//! Whoever leases or sends something that will expire leaves a hint when to
//! come back. Queues of replicas that died are found by looking through the
//! registry, which one replica at a time does for all.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt as _;
use redis_link::{Value, cmd, values, values::Items};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::store::{Store, failed, shape};
use super::{keys, scripts};
use crate::model::QueueName;
use crate::queue::QueueResult;

/// The least time between two sweeps of a queue.
const LEAST: Duration = Duration::from_millis(20);
/// How often the registry is looked through, and how long a replica may do so
/// without saying that it still does.
const REGISTRY_EVERY: Duration = Duration::from_secs(10);
const LOCK: Duration = Duration::from_secs(15);
/// Queues of a page of the registry, and how many are swept at once.
const PAGE: usize = 500;
const AT_ONCE: usize = 16;
/// Items of each kind that one sweep handles.
const ITEMS: usize = 100;

/// Where hints go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hints(mpsc::UnboundedSender<(QueueName, Instant)>);

impl Hints {
    /// Says that a queue needs a sweep in a while.
    pub fn come_back(&self, queue: &QueueName, after: Duration) {
        let at = Instant::now() + after.max(LEAST);
        // The keeper ends only with the service.
        let _ = self.0.send((queue.clone(), at));
    }
}

/// Starts hearing hints; the keeper runs with what comes out.
pub fn hints() -> (Hints, mpsc::UnboundedReceiver<(QueueName, Instant)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Hints(sender), receiver)
}

/// Sweeps queues when they need it.
pub struct Keeper {
    store: Store,
    replica: String,
    due: HashMap<QueueName, Instant>,
    order: BTreeSet<(Instant, QueueName)>,
    next_registry: Instant,
}

impl Keeper {
    pub fn new(store: Store, replica: String) -> Self {
        let next_registry = Instant::now();
        Self { store, replica, due: HashMap::new(), order: BTreeSet::new(), next_registry }
    }

    /// Runs until nobody can give hints any more.
    pub async fn run(mut self, mut hints: mpsc::UnboundedReceiver<(QueueName, Instant)>) {
        loop {
            let next = self
                .order
                .first()
                .map_or(self.next_registry, |(at, _)| (*at).min(self.next_registry));
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                hint = hints.recv() => {
                    let Some((queue, at)) = hint else { return };
                    self.note(queue, at);
                    while let Ok((queue, at)) = hints.try_recv() {
                        self.note(queue, at);
                    }
                    continue;
                }
            }
            if Instant::now() >= self.next_registry {
                self.next_registry = Instant::now() + REGISTRY_EVERY;
                if let Err(error) = self.look_through_registry().await {
                    tracing::debug!(%error, "the registry was not looked through");
                }
            }
            self.sweep_due().await;
        }
    }

    fn note(&mut self, queue: QueueName, at: Instant) {
        match self.due.get(&queue) {
            Some(known) if *known <= at => return,
            Some(known) => {
                self.order.remove(&(*known, queue.clone()));
            }
            None => {}
        }
        self.due.insert(queue.clone(), at);
        self.order.insert((at, queue));
    }

    async fn sweep_due(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        while self.order.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, queue)) = self.order.pop_first() {
                self.due.remove(&queue);
                due.push(queue);
            }
        }
        self.sweep_all(due).await;
    }

    async fn sweep_all(&mut self, queues: Vec<QueueName>) {
        let store = &self.store;
        let swept = futures::stream::iter(queues)
            .map(|queue| async move {
                let next = sweep(store, &queue).await;
                (queue, next)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (queue, next) in swept {
            match next {
                Ok(Some(after)) => self.note(queue, Instant::now() + after.max(LEAST)),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%queue, %error, "a sweep failed, to be tried again");
                    self.note(queue, Instant::now() + Duration::from_secs(1));
                }
            }
        }
    }

    /// Learns of queues that nobody here gave a hint of.
    async fn look_through_registry(&mut self) -> QueueResult<()> {
        if !self.holds_lock().await? {
            return Ok(());
        }
        let mut after = String::from("-");
        loop {
            let mut page = cmd("ZRANGEBYLEX");
            page.arg(keys::REGISTRY).arg(&after).arg("+").arg("LIMIT").arg(0).arg(PAGE);
            let names = self.store.link().query(&page).await.map_err(|error| failed(&error))?;
            let names = values::array(names).map_err(shape)?;
            let names = names.into_iter().map(values::text).collect::<Result<Vec<_>, _>>();
            let names = names.map_err(shape)?;
            let Some(last) = names.last() else { return Ok(()) };
            after = format!("({last}");
            let known = &self.due;
            let new = names.iter().filter_map(|name| QueueName::parse(name));
            let new = new.filter(|queue| !known.contains_key(queue)).collect();
            self.sweep_all(new).await;
        }
    }

    async fn holds_lock(&self) -> QueueResult<bool> {
        let ms = u64::try_from(LOCK.as_millis()).unwrap_or(0);
        let link = self.store.link();
        let mut acquire = cmd("SET");
        acquire.arg(keys::KEEPER).arg(&self.replica).arg("NX").arg("PX").arg(ms);
        let acquired = link.query(&acquire).await.map_err(|error| failed(&error))?;
        if acquired != Value::Nil {
            return Ok(true);
        }
        let holder = link.query(cmd("GET").arg(keys::KEEPER)).await;
        let holder = holder.and_then(values::optional_text).map_err(|error| failed(&error))?;
        if holder.as_deref() != Some(&self.replica) {
            return Ok(false);
        }
        let renewed = link.query(cmd("PEXPIRE").arg(keys::KEEPER).arg(ms)).await;
        renewed.map(|_| true).map_err(|error| failed(&error))
    }
}

/// Sweeps a queue; answers when to come again, if there is a reason to.
async fn sweep(store: &Store, queue: &QueueName) -> QueueResult<Option<Duration>> {
    let mut call = Store::call(&scripts::SWEEP, queue, 1, 8);
    call.arg(ITEMS);
    let answer = store.read(queue, &call).await?;
    if answer == Value::Nil {
        return Ok(None);
    }
    let mut items = Items::of(answer).map_err(shape)?;
    let after = items.next_unsigned().map_err(shape)?;
    store.count_dead(queue, items.next_unsigned().map_err(shape)?);
    Ok((after > 0).then(|| Duration::from_millis(after)))
}
