//! The loop behind the command worker and the event processor: one stream that
//! deliveries come in on and verdicts go out on, opened again when it is lost.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use svc_runtime::backoff::Backoff;
use svc_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::up::Up;

/// How long a delivery is leased: how soon it comes again when everything that
/// knew of it died at once.
pub(super) const LEASE: prost_types::Duration = prost_types::Duration { seconds: 10, nanos: 0 };
/// How long a handler may take: less than the lease, so that nothing is handled
/// twice at once.
pub(super) const HANDLER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the service at the other end has to take the last verdicts.
const FAREWELL: Duration = Duration::from_secs(2);
/// When something that broke its handler is tried again.
const PANIC_DELAY: Duration = Duration::from_secs(1);

/// What is done with a delivery.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is done.
    Ack,
    /// It is to be delivered again after a while: the source's own backoff if
    /// no other is named.
    Retry { delay: Option<Duration>, reason: String },
    /// It is to be set aside: no retry would help.
    SetAside { reason: String },
}

/// What comes in on the stream.
pub(super) enum Incoming<D> {
    /// Something to handle.
    Delivery(D),
    /// A verdict was refused.
    Refused { receipt: String, error: String },
    /// Nothing to act on.
    Other,
}

/// Where deliveries come from.
pub(super) trait Source: Send + Sync + 'static {
    type Delivery: Send + 'static;
    type Request: Send + 'static;

    /// Something to call it in the log.
    fn name(&self) -> &str;

    /// Opens the stream. The first request is to be [`Source::open`].
    fn connect(
        &mut self,
        requests: ReceiverStream<Self::Request>,
    ) -> impl Future<Output = Result<Deliveries<Self::Delivery>, Status>> + Send;

    fn open(&self, max_in_flight: u32) -> Self::Request;
    fn ack(&self, receipts: Vec<String>) -> Self::Request;
    fn nack(&self, receipt: String, verdict: Verdict) -> Self::Request;
    fn receipt(delivery: &Self::Delivery) -> &str;
}

pub(super) type Deliveries<D> = BoxStream<'static, Result<Incoming<D>, Status>>;

/// Handles what comes from `source`, up to `at_once` at a time, until the
/// shutdown: then what is being handled is finished, and nothing else begun.
pub(super) async fn consume<S, H, F>(
    mut source: S,
    at_once: u32,
    handle: H,
    up: Up,
    shutdown: Shutdown,
) where
    S: Source,
    H: Fn(S::Delivery) -> F + Send,
    F: Future<Output = Verdict> + Send + 'static,
{
    let mut backoff = Backoff::reconnect();
    let mut told = false;
    while !shutdown.is_triggered() {
        // A request more than there are deliveries cannot be under way.
        let (requests, receiver) = mpsc::channel(at_once as usize + 1);
        if requests.try_send(source.open(at_once)).is_err() {
            return;
        }
        let ended = match source.connect(ReceiverStream::new(receiver)).await {
            Ok(deliveries) => {
                tracing::info!(source = source.name(), "consuming");
                up.set(true);
                backoff.reset();
                told = false;
                let ended = serve(&source, deliveries, requests, &handle, &shutdown).await;
                up.set(false);
                ended
            }
            Err(status) => Err(status),
        };
        if let Err(status) = ended {
            let (code, error) = (status.code(), status.message());
            if told {
                tracing::debug!(source = source.name(), ?code, error, "still cannot consume");
            } else {
                tracing::warn!(source = source.name(), ?code, error, "cannot consume for now");
                told = true;
            }
        }
        if !backoff.wait(&shutdown).await {
            return;
        }
    }
}

async fn serve<S, H, F>(
    source: &S,
    mut deliveries: Deliveries<S::Delivery>,
    requests: mpsc::Sender<S::Request>,
    handle: &H,
    shutdown: &Shutdown,
) -> Result<(), Status>
where
    S: Source,
    H: Fn(S::Delivery) -> F + Send,
    F: Future<Output = Verdict> + Send + 'static,
{
    let mut running = Running { tasks: JoinSet::new(), receipts: HashMap::new() };
    let mut stopping = false;
    loop {
        if stopping && running.tasks.is_empty() {
            break;
        }
        tokio::select! {
            () = shutdown.triggered(), if !stopping => stopping = true,
            Some(done) = running.tasks.join_next_with_id() => {
                let mut acks = Vec::new();
                let mut next = Some(done);
                while let Some(done) = next {
                    let (receipt, verdict) = running.settle(done);
                    match verdict {
                        Verdict::Ack => acks.push(receipt),
                        verdict => send(&requests, source.nack(receipt, verdict)).await,
                    }
                    next = running.tasks.try_join_next_with_id();
                }
                if !acks.is_empty() {
                    send(&requests, source.ack(acks)).await;
                }
            }
            incoming = deliveries.next() => match incoming {
                // What comes while stopping goes back when the stream ends.
                Some(Ok(Incoming::Delivery(delivery))) if !stopping => {
                    let receipt = S::receipt(&delivery).to_owned();
                    let task = running.tasks.spawn(handle(delivery));
                    running.receipts.insert(task.id(), receipt);
                }
                Some(Ok(Incoming::Refused { receipt, error })) => {
                    // Somebody else has it now, and finds it done.
                    tracing::debug!(source = source.name(), receipt, error, "verdict refused");
                }
                Some(Ok(_)) => {}
                Some(Err(status)) => return Err(status),
                None => return Err(Status::unavailable("the stream ended")),
            },
        }
    }
    drop(requests);
    let farewell = async { while let Some(Ok(_)) = deliveries.next().await {} };
    // Without it the leases run out, which is as right, only slower.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    Ok(())
}

async fn send<R>(requests: &mpsc::Sender<R>, request: R) {
    // Fails when the stream is gone, which reading it tells next.
    let _ = requests.send(request).await;
}

struct Running {
    tasks: JoinSet<Verdict>,
    receipts: HashMap<Id, String>,
}

impl Running {
    fn settle(&mut self, done: Result<(Id, Verdict), JoinError>) -> (String, Verdict) {
        let (id, verdict) = match done {
            Ok(done) => done,
            Err(error) => {
                let reason = "the handler broke".to_owned();
                (error.id(), Verdict::Retry { delay: Some(PANIC_DELAY), reason })
            }
        };
        (self.receipts.remove(&id).unwrap_or_default(), verdict)
    }
}

#[cfg(test)]
mod tests;
