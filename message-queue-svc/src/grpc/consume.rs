//! The stream of a consumer: deliveries as credit allows, and what it says of them.
//!
//! It is a stream and no task: who sends the answers asks for the next one, and
//! all that comes at once is sent at once.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use proto::server::messagequeue::v1 as pb;
use proto::server::messagequeue::v1::consume_response::Message as Said;
use svc_runtime::checks::{Checks, MAX_ITEMS, MAX_LEASE};
use svc_runtime::malformed;
use svc_runtime::rpc_error::RpcError;
use svc_runtime::shutdown::Shutdown;
use svc_security::Caller;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::check;
use super::held::Held;
use super::message_queue::Answers;
use super::{Handlers, allow, convert, status};
use crate::error::QueueError;
use crate::model::{QueueName, Receipt};
use crate::queue::{Consumer, Credit, Lease, Leases, QueueEngine, QueueResult, Return};

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Settlings of one stream under way at once; more are not read.
const SETTLING: usize = 64;
/// How long a stream waits when the storage is away: at first, and at most.
const AWAY: Duration = Duration::from_millis(100);
const AWAY_MOST: Duration = Duration::from_secs(2);
/// How long past its lease a message still counts as held.
const OVERDUE: Duration = Duration::from_secs(1);

/// Why a stream ends before its client ends it. `None`: nothing to say.
type Ended = Option<RpcError>;

/// Serves one stream.
pub fn serve<E: QueueEngine>(
    handlers: Handlers<E>,
    caller: Caller,
    requests: Streaming<pb::ConsumeRequest>,
) -> Answers<pb::ConsumeResponse> {
    let begin = State::Begin { handlers, caller, requests };
    Box::pin(stream::unfold(begin, |state| async move {
        let mut session = match state {
            State::Begin { handlers, caller, mut requests } => {
                let opened = tokio::select! {
                    () = handlers.shutdown.triggered() => Err(Some(status::of(&QueueError::ShuttingDown))),
                    first = requests.message() => open(first, &caller),
                };
                match opened {
                    Ok(opened) => Box::new(Session::new(handlers, caller, opened, requests)),
                    Err(ended) => return end(ended),
                }
            }
            State::Open(session) => session,
            State::Ended => return None,
        };
        match session.next().await {
            Ok(message) => {
                let response = pb::ConsumeResponse { message: Some(message) };
                Some((Ok(response), State::Open(session)))
            }
            Err(ended) => end(ended),
        }
    }))
}

/// Where a stream is between two answers.
#[expect(clippy::large_enum_variant, reason = "there is one a stream, and it begins once")]
enum State<E: QueueEngine> {
    Begin { handlers: Handlers<E>, caller: Caller, requests: Streaming<pb::ConsumeRequest> },
    Open(Box<Session<E>>),
    Ended,
}

fn end<E: QueueEngine>(ended: Ended) -> Option<(Result<pb::ConsumeResponse, Status>, State<E>)> {
    ended.map(|error| (Err(error.into()), State::Ended))
}

struct Opened {
    queue: QueueName,
    max_in_flight: usize,
    lease: Option<Duration>,
}

fn open(
    first: Result<Option<pb::ConsumeRequest>, Status>,
    caller: &Caller,
) -> Result<Opened, Ended> {
    let first = first.map_err(|broken| malformed::refused(status::DOMAIN, &broken))?;
    let Some(first) = first else { return Err(None) };
    let mut checks = check::begin();
    let Some(pb::consume_request::Message::Open(open)) = first.message else {
        checks.wrong("message", "the first message must be open");
        return checks.done(None).map_err(Some);
    };
    let queue = check::queue_in(&mut checks, "open.queue", &open.queue);
    let max_in_flight =
        check::count(&mut checks, "open.max_in_flight", open.max_in_flight, 256, 10_000);
    let lease = check::lease(&mut checks, "open.lease", open.lease);
    let opened = queue.map(|queue| Opened { queue, max_in_flight, lease });
    let opened = checks.done(opened).map_err(Some)?;
    allow::check(caller, allow::RECEIVE, &opened.queue).map_err(|denied| Some(denied.into()))?;
    Ok(opened)
}

/// How a nack ends leases.
pub fn nack(
    checks: &mut Checks,
    delay: Option<prost_types::Duration>,
    dead_letter: bool,
    reason: &str,
) -> Return {
    check::reason(checks, reason);
    let delay = checks.duration("delay", delay, Duration::ZERO..=MAX_LEASE);
    if dead_letter { Return::Rejected } else { Return::Failed(delay) }
}

/// A settling that has ended: what became of which receipts, and the new
/// end of leases that were extended.
struct Settled {
    texts: Vec<(String, Option<Receipt>)>,
    results: QueueResult<Vec<QueueResult<()>>>,
    extended: Option<Option<Duration>>,
}

struct Session<E: QueueEngine> {
    engine: E,
    shutdown: Shutdown,
    caller: Caller,
    opened: Opened,
    requests: Streaming<pb::ConsumeRequest>,
    /// Whether the client may say more.
    reading: bool,
    /// What the client holds, and how much more it may.
    held: Held,
    credit: Credit,
    seat: Box<dyn Asks>,
    next: Option<BoxFuture<'static, QueueResult<Leases>>>,
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
    /// What is to be said before anything else happens.
    outcomes: VecDeque<pb::Outcome>,
    leases: VecDeque<Lease>,
    ask_at: Instant,
    away: Duration,
    beat_at: Instant,
}

/// A place at a queue, whatever the engine.
trait Asks: Send {
    fn ask(
        &self,
        credit: &Credit,
        lease: Option<Duration>,
    ) -> BoxFuture<'static, QueueResult<Leases>>;
}

impl<C: Consumer> Asks for C {
    fn ask(
        &self,
        credit: &Credit,
        lease: Option<Duration>,
    ) -> BoxFuture<'static, QueueResult<Leases>> {
        self.next(credit, lease).boxed()
    }
}

impl<E: QueueEngine> Session<E> {
    fn new(
        handlers: Handlers<E>,
        caller: Caller,
        opened: Opened,
        requests: Streaming<pb::ConsumeRequest>,
    ) -> Self {
        let Handlers { engine, held, shutdown, .. } = handlers;
        let (now, credit) = (Instant::now(), Credit::new(opened.max_in_flight));
        let held = held.open(&opened.queue, credit.clone());
        let seat = Box::new(engine.join(&opened.queue));
        Self {
            engine,
            shutdown,
            caller,
            opened,
            requests,
            reading: true,
            held,
            credit,
            seat,
            next: None,
            settling: FuturesUnordered::new(),
            outcomes: VecDeque::new(),
            leases: VecDeque::new(),
            ask_at: now,
            away: AWAY,
            beat_at: now + HEARTBEAT,
        }
    }

    /// The next answer, or how the stream ends.
    async fn next(&mut self) -> Result<Said, Ended> {
        loop {
            if let Some(outcome) = self.outcomes.pop_front() {
                return Ok(Said::Outcome(outcome));
            }
            if let Some(lease) = self.leases.pop_front() {
                self.may_go_on().map_err(Some)?;
                return Ok(Said::Delivery(convert::delivery(&self.opened.queue, lease)));
            }
            if !self.reading && self.settling.is_empty() {
                return Err(None);
            }
            if let Some(beat) = self.step().await? {
                self.may_go_on().map_err(Some)?;
                return Ok(beat);
            }
        }
    }

    /// Rules change while a stream is open.
    fn may_go_on(&self) -> Result<(), RpcError> {
        Ok(allow::check(&self.caller, allow::RECEIVE, &self.opened.queue)?)
    }

    /// Asks for as much as there is credit for; answers whether there is any.
    fn ask(&mut self) -> bool {
        let left = self.held.count();
        if self.next.is_none() && left && self.reading && Instant::now() >= self.ask_at {
            self.next = Some(self.seat.ask(&self.credit, self.opened.lease));
        }
        left
    }

    /// Waits for something to happen; answers a heartbeat if nothing did for long.
    async fn step(&mut self) -> Result<Option<Said>, Ended> {
        let left = self.ask();
        let overdue = if left { None } else { self.held.first_end() };
        let looks = overdue.is_some() || self.next.is_none() && left && self.reading;
        let look_at = overdue.map_or(self.ask_at, |end| end + OVERDUE);
        tokio::select! {
            biased;
            () = self.shutdown.triggered() => {
                return Err(Some(status::of(&QueueError::ShuttingDown)));
            }
            Some(settled) = self.settling.next() => self.settled(settled),
            request = self.requests.message(), if self.reading && self.settling.len() < SETTLING => {
                match request {
                    Ok(Some(request)) => self.settle(request).map_err(Some)?,
                    // The client is done: answer what it said last.
                    Ok(None) => { self.reading = false; self.next = None; }
                    Err(broken) => return Err(malformed::refused(status::DOMAIN, &broken)),
                }
                return Ok(None);
            }
            leases = async { match self.next.as_mut() {
                Some(next) => next.await,
                None => std::future::pending().await,
            } } => self.taken(leases)?,
            () = sleep_until(look_at), if looks => {
                if let Some(before) = Instant::now().checked_sub(OVERDUE) {
                    self.held.drop_ended(before);
                }
                return Ok(None);
            }
            // Credit is counted anew.
            () = self.held.freed() => return Ok(None),
            () = sleep_until(self.beat_at) => {
                self.beat_at = Instant::now() + HEARTBEAT;
                let in_flight = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
                return Ok(Some(Said::Heartbeat(pb::ConsumeHeartbeat { in_flight })));
            }
        }
        self.beat_at = Instant::now() + HEARTBEAT;
        Ok(None)
    }

    fn taken(&mut self, leases: QueueResult<Leases>) -> Result<(), Ended> {
        self.next = None;
        match leases {
            Ok(leases) => {
                let now = Instant::now();
                // Held from here on: whatever happens, they are given back.
                let leases = leases.accept();
                for lease in &leases {
                    self.held.add(lease.receipt.clone(), now + lease.expires_in);
                }
                self.leases.extend(leases);
                self.away = AWAY;
                // Before these are on their way: a send that comes meanwhile finds a consumer.
                self.ask();
                Ok(())
            }
            Err(QueueError::StorageUnavailable | QueueError::OutcomeUnknown) => {
                self.ask_at = Instant::now() + self.away.mul_f64(rand::random_range(0.5..1.0));
                self.away = (self.away * 2).min(AWAY_MOST);
                Ok(())
            }
            Err(error) => Err(Some(status::of(&error))),
        }
    }

    /// Starts what a request asks for.
    fn settle(&mut self, request: pb::ConsumeRequest) -> Result<(), RpcError> {
        self.may_go_on()?;
        let mut checks = check::begin();
        let queue = self.opened.queue.clone();
        let engine = self.engine.clone();
        match request.message {
            Some(pb::consume_request::Message::Ack(ack)) => {
                let texts = check::receipts(&mut checks, Some(&queue), ack.receipts);
                checks.done(Some(()))?;
                self.settling.push(Box::pin(async move {
                    let results = engine.ack(&queue, valid(&texts)).await;
                    Settled { texts, results, extended: None }
                }));
            }
            Some(pb::consume_request::Message::Nack(request)) => {
                let texts = check::receipts(&mut checks, Some(&queue), request.receipts);
                let how = nack(&mut checks, request.delay, request.dead_letter, &request.reason);
                checks.done(Some(()))?;
                self.settling.push(Box::pin(async move {
                    let receipts = valid(&texts);
                    let results = engine.give_back(&queue, receipts, how, &request.reason).await;
                    Settled { texts, results, extended: None }
                }));
            }
            Some(pb::consume_request::Message::Extend(extend)) => {
                let texts = check::receipts(&mut checks, Some(&queue), extend.receipts);
                let by = check::lease(&mut checks, "by", extend.by);
                checks.done(Some(()))?;
                self.settling.push(Box::pin(async move {
                    let results = engine.extend(&queue, valid(&texts), by).await;
                    Settled { texts, results, extended: Some(by) }
                }));
            }
            Some(pb::consume_request::Message::Open(_)) => {
                checks.wrong("message", "only the first message may be open");
                checks.done(None::<()>)?;
            }
            None => {
                checks.wrong("message", "is required");
                checks.done(None::<()>)?;
            }
        }
        Ok(())
    }

    /// Answers for the receipts of a settling, and lets go of them.
    fn settled(&mut self, settled: Settled) {
        let mut results = match settled.results {
            Ok(results) => results.into_iter(),
            Err(error) => {
                let count = settled.texts.iter().filter(|(_, receipt)| receipt.is_some()).count();
                vec![Err(error); count].into_iter()
            }
        };
        for (text, receipt) in settled.texts {
            let outcome = match receipt {
                None => convert::no_receipt(text),
                Some(receipt) => {
                    let result = results.next().unwrap_or(Err(QueueError::Corrupt));
                    match settled.extended {
                        Some(by) => self.held.extended(&receipt, by, &result),
                        None => self.held.settled(&receipt, &result),
                    }
                    convert::outcome(text, result)
                }
            };
            self.outcomes.push_back(outcome);
        }
    }
}

/// However the stream ends, what its client still held is given back.
impl<E: QueueEngine> Drop for Session<E> {
    fn drop(&mut self) {
        let mut receipts = self.held.take_all();
        // Each goes in front of those before it: the oldest comes last. Ids begin with the time.
        receipts.sort_unstable_by(|a, b| b.entry().cmp(a.entry()));
        for some in receipts.chunks(MAX_ITEMS) {
            self.engine.give_back_later(&self.opened.queue, some.to_vec());
        }
    }
}

fn valid(texts: &[(String, Option<Receipt>)]) -> Vec<Receipt> {
    texts.iter().filter_map(|(_, receipt)| receipt.clone()).collect()
}
