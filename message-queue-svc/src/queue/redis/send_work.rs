//! What a lane of sends does: many requests, one script call.

use std::iter::repeat_with;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use redis_link::{Call, Value, values, values::Items};
use svc_runtime::lane::LaneWork;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::durability::Probe;
use super::feeder::{Feeders, Hand};
use super::finish::Finish;
use super::record::Prepared;
use super::scripts;
use super::store::{Store, failed, shape};
use super::take::{Direct, ORDER_ARGS, ORDER_BYTES, count_of, stored_plainly, taken};
use crate::error::QueueError;
use crate::model::{Durability, QueueName};
use crate::queue::{Lease, QueueResult, SendOutcome};

/// What a request costs besides its messages.
const REQUEST_BYTES: usize = 16;
/// Waits for the disk or for replicas that are under way at once: each has a connection.
const WAITS: usize = 8;

/// A request and how far it must get.
#[derive(Clone, Debug)]
pub struct Request {
    pub messages: Arc<Vec<Prepared>>,
    pub durability: Durability,
}

/// A request that was stored.
#[derive(Debug)]
pub struct Stored {
    pub outcomes: Vec<SendOutcome>,
    /// Completes when it got as far as asked, where that takes longer.
    pub reached: Option<Reached>,
}

/// The end of a wait that several requests share.
pub type Reached = Shared<BoxFuture<'static, QueueResult<()>>>;

type Outcomes = Vec<QueueResult<Vec<SendOutcome>>>;

/// The arguments of requests to the send script; answers how many there are for
/// each verdict of its answer.
fn arguments<'a>(
    call: &mut Call<'_>,
    requests: impl Iterator<Item = &'a [Prepared]> + Clone,
) -> Vec<usize> {
    let mut runs = Vec::new();
    let mut left = requests;
    loop {
        let run = left.clone().take_while(|request| is_one_plain(request)).count();
        if run > 0 {
            call.arg(format!("*{run}"));
            for message in left.by_ref().take(run).flatten() {
                call.arg(&message.record[..]);
            }
            runs.push(run);
            continue;
        }
        let Some(request) = left.next() else { break };
        call.arg(request.len());
        for message in request {
            call.arg(message.id.as_str()).arg(&message.record[..]).arg(&message.options[..]);
        }
        runs.push(1);
    }
    runs
}

fn is_one_plain(request: &[Prepared]) -> bool {
    matches!(request, [message] if message.is_plain)
}

/// What the script said about requests.
fn outcomes<'a>(
    queue: &QueueName,
    mut requests: impl Iterator<Item = &'a [Prepared]>,
    runs: &[usize],
    verdicts: Vec<Value>,
) -> QueueResult<Vec<QueueResult<Vec<SendOutcome>>>> {
    if verdicts.len() != runs.len() {
        return Err(QueueError::Corrupt);
    }
    let mut outcomes = Vec::with_capacity(runs.iter().sum());
    for (run, verdict) in runs.iter().zip(verdicts) {
        let mut own = requests.by_ref().take(*run).peekable();
        if !own.peek().is_some_and(|request| is_one_plain(request)) {
            let request = own.next().ok_or(QueueError::Corrupt)?;
            outcomes.push(outcome(queue, request, verdict));
            continue;
        }
        let stored = usize::try_from(values::unsigned(&verdict).map_err(shape)?).unwrap_or(0);
        outcomes.extend(own.enumerate().map(|(n, request)| {
            if n < stored {
                outcome(queue, request, Value::Int(0))
            } else {
                Err(QueueError::QueueFull(queue.clone()))
            }
        }));
    }
    Ok(outcomes)
}

/// What the script said about one request.
fn outcome(
    queue: &QueueName,
    request: &[Prepared],
    verdict: Value,
) -> QueueResult<Vec<SendOutcome>> {
    let own = |message: &Prepared| SendOutcome {
        message_id: message.id.as_str().to_owned(),
        deduplicated: false,
    };
    match verdict {
        Value::Int(_) => Ok(request.iter().map(own).collect()),
        Value::Array(before) => request
            .iter()
            .zip(before)
            .map(|(message, before)| match values::text(before).map_err(shape)? {
                first if first.is_empty() => Ok(own(message)),
                first => Ok(SendOutcome { message_id: first, deduplicated: true }),
            })
            .collect(),
        refused => {
            let refused = values::text(refused).map_err(shape)?;
            match refused.strip_prefix("REUSED ") {
                Some(index) => {
                    let index = index.parse().map_err(|_| QueueError::Corrupt)?;
                    Err(QueueError::IdReused { index })
                }
                None => Err(QueueError::QueueFull(queue.clone())),
            }
        }
    }
}

/// Many requests, one script call.
#[derive(Debug)]
pub struct SendWork {
    store: Store,
    feeders: Feeders,
    durability: Probe,
    waits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl SendWork {
    pub fn new(store: Store, feeders: Feeders, durability: Probe, tasks: TaskTracker) -> Self {
        Self { store, feeders, durability, waits: Arc::new(Semaphore::new(WAITS)), tasks }
    }

    /// Stores messages; where consumers wait here, leases to them what there is.
    async fn store_now(&self, queue: &QueueName, requests: Vec<Request>) -> QueueResult<Outcomes> {
        let count: usize = requests.iter().map(Self::count).sum();
        let (args, bytes) = (3 * count + requests.len(), requests.iter().map(Self::bytes).sum());
        let Some(hand) = self.feeders.lend(queue).await else {
            let mut call = Store::call(&scripts::SEND, queue, args, bytes);
            let runs = arguments(&mut call, slices(&requests));
            return match self.store.write(queue, &call).await? {
                Value::Nil => Err(QueueError::QueueNotFound(queue.clone())),
                answer => {
                    let verdicts = values::array(answer).map_err(shape)?;
                    let outcomes = outcomes(queue, slices(&requests), &runs, verdicts)?;
                    count_sent(&self.store, queue, &outcomes);
                    Ok(outcomes)
                }
            };
        };
        let (args, bytes) = (args + ORDER_ARGS + 5, bytes + ORDER_BYTES);
        let mut call = Store::call(&scripts::SEND_TAKE, queue, args, bytes);
        hand.arguments(&mut call);
        let runs = arguments(&mut call, slices(&requests));
        let (store, queue) = (self.store.clone(), queue.clone());
        // What it took has to be dealt out, whatever becomes of the senders.
        let sending = Self::send_and_take(store, queue, call, runs, requests, hand);
        Finish::new(&self.tasks, sending).await
    }

    /// Stores messages over a connection on which it is waited for them to get
    /// far enough: WAIT and WAITAOF speak of the writes of their own connection.
    async fn store_far(
        &self,
        queue: &QueueName,
        requests: &[Request],
    ) -> QueueResult<(Outcomes, Vec<(Durability, Reached)>)> {
        let place = Arc::clone(&self.waits).acquire_owned().await;
        let mut connection = self.durability.connection().await?;
        let count: usize = requests.iter().map(Self::count).sum();
        let bytes = requests.iter().map(Self::bytes).sum();
        let mut call = Store::call(&scripts::SEND, queue, 3 * count + requests.len(), bytes);
        let runs = arguments(&mut call, slices(requests));
        let answer = connection.invoke(&call).await.map_err(|error| failed(&error))?;
        if answer == Value::Nil {
            return Err(QueueError::QueueNotFound(queue.clone()));
        }
        let verdicts = values::array(answer).map_err(shape)?;
        let outcomes = outcomes(queue, slices(requests), &runs, verdicts)?;
        count_sent(&self.store, queue, &outcomes);
        let mut reached = Vec::new();
        let (mut says, mut waits) = (Vec::new(), Vec::new());
        for durability in [Durability::Fsynced, Durability::Replicated] {
            let wanted = |request: &Request| request.durability == durability;
            if requests.iter().any(wanted) && self.durability.needs_own_connection(durability) {
                let (say, said) = tokio::sync::oneshot::channel();
                let said = async { said.await.unwrap_or(Err(QueueError::OutcomeUnknown)) };
                reached.push((durability, said.boxed().shared()));
                says.push(say);
                waits.push(durability);
            }
        }
        // The next requests are stored meanwhile, over another connection.
        let probe = self.durability.clone();
        self.tasks.spawn(async move {
            for (durability, say) in waits.into_iter().zip(says) {
                // Nobody may be left who wants to know.
                let _ = say.send(probe.wait(&mut connection, durability).await);
            }
            drop(place);
        });
        Ok((outcomes, reached))
    }

    /// Stores messages, and leases what there is to consumers that wait here.
    async fn send_and_take(
        store: Store,
        queue: QueueName,
        call: Call<'static>,
        runs: Vec<usize>,
        requests: Vec<Request>,
        hand: Hand,
    ) -> QueueResult<Outcomes> {
        let answer = match store.write(&queue, &call).await {
            Ok(Value::Nil) => {
                hand.unused();
                return Err(QueueError::QueueNotFound(queue));
            }
            Ok(answer) => answer,
            Err(error) => {
                match error {
                    QueueError::StorageFull => hand.unused(),
                    _ => hand.failed(&error),
                }
                return Err(error);
            }
        };
        // Dropped from here on, the hand gives back what was taken.
        let (verdicts, mut taken, direct) = match answer {
            Value::BulkString(packed) => {
                let (stored, taken, direct) = stored_plainly(&packed)?;
                (vec![Value::Int(stored)], taken, direct)
            }
            answer => {
                let (verdicts, took) =
                    Items::of(answer).and_then(|mut items| items.next_pair()).map_err(shape)?;
                let (taken, direct) = taken(took)?;
                (values::array(verdicts).map_err(shape)?, taken, direct)
            }
        };
        let outcomes = outcomes(&queue, slices(&requests), &runs, verdicts)?;
        count_sent(&store, &queue, &outcomes);
        if direct.count > 0 {
            let mut leases = leased_directly(&requests, &outcomes, &direct)?;
            leases.append(&mut taken.leases);
            taken.leases = leases;
        }
        hand.deal(taken);
        Ok(outcomes)
    }
}

/// Counts what was stored: repeats were before.
fn count_sent(store: &Store, queue: &QueueName, outcomes: &Outcomes) {
    let sent = outcomes.iter().flatten().flatten().filter(|sent| !sent.deduplicated).count();
    if sent > 0 {
        store.counters(queue).sent.add(count_of(sent));
    }
}

fn slices(requests: &[Request]) -> impl Iterator<Item = &[Prepared]> + Clone {
    requests.iter().map(|request| request.messages.as_slice())
}

/// The leases of messages that were leased as they came: the first of those that
/// were stored and were to be next, in their order.
fn leased_directly(
    requests: &[Request],
    outcomes: &[QueueResult<Vec<SendOutcome>>],
    direct: &Direct,
) -> QueueResult<Vec<Lease>> {
    let stored = requests.iter().zip(outcomes).filter_map(|(request, outcome)| {
        let outcome = outcome.as_ref().ok()?;
        Some(request.messages.iter().zip(outcome).filter(|(_, outcome)| !outcome.deduplicated))
    });
    let next = stored.flatten().map(|(message, _)| message).filter(|message| message.is_next);
    let leases = next.take(direct.count);
    let leases = leases.map(|message| message.first_lease(direct.now_ms, direct.expires_at_ms));
    let leases = leases.collect::<QueueResult<Vec<_>>>()?;
    let last = leases.last().map(|lease| lease.receipt.entry());
    if leases.len() == direct.count && last == Some(&direct.last) {
        Ok(leases)
    } else {
        Err(QueueError::Corrupt)
    }
}

impl LaneWork for SendWork {
    type Key = QueueName;
    type Item = Request;
    type Answer = QueueResult<Stored>;

    async fn run(&self, queue: &QueueName, requests: Vec<Request>) -> Vec<Self::Answer> {
        let callers = requests.len();
        let far = |request: &Request| self.durability.needs_own_connection(request.durability);
        let stored = if requests.iter().any(far) {
            let durabilities: Vec<_> = requests.iter().map(|request| request.durability).collect();
            // Boxed: it is rare, and larger than all the rest.
            Box::pin(self.store_far(queue, &requests)).await.map(|(outcomes, reached)| {
                let reached = durabilities.into_iter().map(|wanted| {
                    let same = reached.iter().find(|(durability, _)| *durability == wanted);
                    same.map(|(_, reached)| reached.clone())
                });
                outcomes.into_iter().zip(reached.collect::<Vec<_>>()).collect::<Vec<_>>()
            })
        } else {
            let stored = self.store_now(queue, requests).await;
            stored.map(|outcomes| outcomes.into_iter().zip(repeat_with(|| None)).collect())
        };
        match stored {
            Ok(stored) => stored
                .into_iter()
                .map(|(outcomes, reached)| Ok(Stored { outcomes: outcomes?, reached }))
                .collect(),
            Err(error) => (0..callers).map(|_| Err(error.clone())).collect(),
        }
    }

    fn count(request: &Request) -> usize {
        request.messages.len()
    }

    fn bytes(request: &Request) -> usize {
        request.messages.iter().map(Prepared::bytes).sum::<usize>() + REQUEST_BYTES
    }
}
