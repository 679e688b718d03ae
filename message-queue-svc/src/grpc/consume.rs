//! The stream of a consumer: deliveries as credit allows, and what it says of them.

use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use proto::server::messagequeue::v1 as pb;
use svc_runtime::rpc_error::RpcError;
use svc_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::check::{self, Violations};
use super::held::{Held, HeldByStreams};
use super::message_queue::Answers;
use super::{convert, status};
use crate::error::QueueError;
use crate::model::settings::MAX_LEASE;
use crate::model::{QueueName, Receipt};
use crate::queue::{Consumer, Leases, QueueEngine, QueueResult, Return};

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Answers that may wait for the client to read them.
const BUFFER: usize = 512;
/// Settlings of one stream under way at once; more are not read.
const SETTLING: usize = 64;
/// How long a stream waits when the storage is away.
const AWAY: Duration = Duration::from_millis(250);
/// How long past its lease a message still counts as held.
const OVERDUE: Duration = Duration::from_secs(1);

type Out = mpsc::Sender<Result<pb::ConsumeResponse, Status>>;

/// Why a stream ends before its client ends it. `None`: nothing to say.
type Ended = Option<RpcError>;

/// Serves one stream.
pub fn serve<E: QueueEngine>(
    engine: E,
    streams: HeldByStreams,
    shutdown: Shutdown,
    mut requests: Streaming<pb::ConsumeRequest>,
) -> Answers<pb::ConsumeResponse> {
    let (out, answers) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let opened = tokio::select! {
            () = shutdown.triggered() => Err(Some(status::of(&QueueError::ShuttingDown))),
            () = out.closed() => Err(None),
            first = requests.message() => open(first),
        };
        let ended = match opened {
            Ok(opened) => {
                let mut session = Session::new(engine, &streams, opened, out.clone());
                let ended = session.run(&shutdown, requests).await;
                session.give_back();
                ended
            }
            Err(ended) => ended,
        };
        if let Some(error) = ended {
            // A client that does not read does not hold up the end.
            let _ = out.try_send(Err(error.into()));
        }
    });
    Box::pin(ReceiverStream::new(answers))
}

struct Opened {
    queue: QueueName,
    max_in_flight: usize,
    lease: Option<Duration>,
}

fn open(first: Result<Option<pb::ConsumeRequest>, Status>) -> Result<Opened, Ended> {
    let Ok(Some(first)) = first else { return Err(None) };
    let mut wrong = Violations::default();
    let Some(pb::consume_request::Message::Open(open)) = first.message else {
        wrong.add("message", "the first message must be open");
        return wrong.finish(None).map_err(Some);
    };
    let queue = check::queue_in(&mut wrong, "open.queue", &open.queue);
    let max_in_flight =
        check::count(&mut wrong, "open.max_in_flight", open.max_in_flight, 256, 10_000);
    let lease = check::lease(&mut wrong, "open.lease", open.lease);
    wrong.finish(queue.map(|queue| Opened { queue, max_in_flight, lease })).map_err(Some)
}

/// How a nack ends leases.
pub fn nack(
    wrong: &mut Violations,
    delay: Option<prost_types::Duration>,
    dead_letter: bool,
    reason: &str,
) -> Return {
    check::reason(wrong, reason);
    let delay = check::duration_within(wrong, "delay", delay, Duration::ZERO..=MAX_LEASE);
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
    opened: Opened,
    out: Out,
    /// What the client holds.
    held: Held,
    settling: FuturesUnordered<BoxFuture<'static, Settled>>,
}

impl<E: QueueEngine> Session<E> {
    fn new(engine: E, streams: &HeldByStreams, opened: Opened, out: Out) -> Self {
        let held = streams.open(&opened.queue);
        Self { engine, opened, out, held, settling: FuturesUnordered::new() }
    }

    async fn run(
        &mut self,
        shutdown: &Shutdown,
        mut requests: Streaming<pb::ConsumeRequest>,
    ) -> Ended {
        let seat = self.engine.join(&self.opened.queue);
        let lease = self.opened.lease;
        let mut next: Option<BoxFuture<'_, QueueResult<Leases>>> = None;
        let mut ask_at = Instant::now();
        let mut beat_at = Instant::now() + HEARTBEAT;
        let mut reading = true;
        loop {
            let credit = self.credit();
            if next.is_none() && credit > 0 && reading && Instant::now() >= ask_at {
                next = Some(seat.next(credit, lease).boxed());
            }
            let overdue = if credit == 0 { self.held.first_end() } else { None };
            let look_at = overdue.map_or(ask_at.max(Instant::now() + AWAY), |end| end + OVERDUE);
            tokio::select! {
                biased;
                () = shutdown.triggered() => return Some(status::of(&QueueError::ShuttingDown)),
                () = self.out.closed() => return None,
                Some(settled) = self.settling.next() => {
                    if self.tell(settled).await.is_err() {
                        return None;
                    }
                    beat_at = Instant::now() + HEARTBEAT;
                }
                request = requests.message(), if reading && self.settling.len() < SETTLING => {
                    match request {
                        Ok(Some(request)) => if let Err(error) = self.settle(request) {
                            return Some(error);
                        },
                        // The client is done: answer what it said last.
                        Ok(None) => { reading = false; next = None; }
                        Err(_) => return None,
                    }
                }
                leases = async { match next.as_mut() {
                    Some(next) => next.await,
                    None => std::future::pending().await,
                } } => {
                    next = None;
                    match leases {
                        Ok(leases) => if self.deliver(leases).await.is_err() {
                            return None;
                        },
                        Err(QueueError::StorageUnavailable | QueueError::OutcomeUnknown) => {
                            ask_at = Instant::now() + AWAY;
                        }
                        Err(error) => return Some(status::of(&error)),
                    }
                    beat_at = Instant::now() + HEARTBEAT;
                }
                () = sleep_until(look_at), if overdue.is_some() || next.is_none() && credit > 0 && reading => {
                    if let Some(before) = Instant::now().checked_sub(OVERDUE) {
                        self.held.drop_ended(before);
                    }
                }
                // Credit is counted anew.
                () = self.held.freed() => {}
                () = sleep_until(beat_at) => {
                    let in_flight = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
                    let beat = pb::ConsumeHeartbeat { in_flight };
                    if say(&self.out, pb::consume_response::Message::Heartbeat(beat)).await.is_err() {
                        return None;
                    }
                    beat_at = Instant::now() + HEARTBEAT;
                }
            }
            if !reading && self.settling.is_empty() {
                return None;
            }
        }
    }

    fn credit(&self) -> usize {
        self.opened.max_in_flight.saturating_sub(self.held.len())
    }

    async fn deliver(&mut self, leases: Leases) -> Result<(), ()> {
        let now = Instant::now();
        let leases = leases.accept();
        // Held from here on: whatever happens, they are given back.
        for lease in &leases {
            self.held.add(lease.receipt.clone(), now + lease.expires_in);
        }
        for lease in leases {
            let delivery = convert::delivery(&self.opened.queue, lease);
            say(&self.out, pb::consume_response::Message::Delivery(delivery)).await?;
        }
        Ok(())
    }

    /// Starts what a request asks for.
    fn settle(&mut self, request: pb::ConsumeRequest) -> Result<(), RpcError> {
        let mut wrong = Violations::default();
        let queue = self.opened.queue.clone();
        let engine = self.engine.clone();
        match request.message {
            Some(pb::consume_request::Message::Ack(ack)) => {
                let texts = check::receipts(&mut wrong, Some(&queue), ack.receipts);
                wrong.finish(Some(()))?;
                self.settling.push(Box::pin(async move {
                    let results = engine.ack(&queue, valid(&texts)).await;
                    Settled { texts, results, extended: None }
                }));
            }
            Some(pb::consume_request::Message::Nack(request)) => {
                let texts = check::receipts(&mut wrong, Some(&queue), request.receipts);
                let how = nack(&mut wrong, request.delay, request.dead_letter, &request.reason);
                wrong.finish(Some(()))?;
                self.settling.push(Box::pin(async move {
                    let receipts = valid(&texts);
                    let results = engine.give_back(&queue, receipts, how, &request.reason).await;
                    Settled { texts, results, extended: None }
                }));
            }
            Some(pb::consume_request::Message::Extend(extend)) => {
                let texts = check::receipts(&mut wrong, Some(&queue), extend.receipts);
                let by = check::lease(&mut wrong, "by", extend.by);
                wrong.finish(Some(()))?;
                self.settling.push(Box::pin(async move {
                    let results = engine.extend(&queue, valid(&texts), by).await;
                    Settled { texts, results, extended: Some(by) }
                }));
            }
            Some(pb::consume_request::Message::Open(_)) => {
                wrong.add("message", "only the first message may be open");
                wrong.finish(None::<()>)?;
            }
            None => {
                wrong.add("message", "is required");
                wrong.finish(None::<()>)?;
            }
        }
        Ok(())
    }

    /// Answers for the receipts of a settling, and lets go of them.
    async fn tell(&mut self, settled: Settled) -> Result<(), ()> {
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
            say(&self.out, pb::consume_response::Message::Outcome(outcome)).await?;
        }
        Ok(())
    }

    /// Gives back what the client still held.
    fn give_back(&self) {
        let mut receipts = self.held.take_all();
        // Each goes in front of those before it: the oldest comes last. Ids begin with the time.
        receipts.sort_unstable_by(|a, b| b.entry().cmp(a.entry()));
        for some in receipts.chunks(check::MAX_ITEMS) {
            self.engine.give_back_later(&self.opened.queue, some.to_vec());
        }
    }
}

async fn say(out: &Out, message: pb::consume_response::Message) -> Result<(), ()> {
    let response = pb::ConsumeResponse { message: Some(message) };
    out.send(Ok(response)).await.map_err(|_| ())
}

fn valid(texts: &[(String, Option<Receipt>)]) -> Vec<Receipt> {
    texts.iter().filter_map(|(_, receipt)| receipt.clone()).collect()
}
