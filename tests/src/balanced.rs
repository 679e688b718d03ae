//! A channel over several replicas, as gRPC clients in other languages have it by configuration:
//! balanced on the client's side, with health checks, and calls that were refused tried again as
//! `clients/service-config.json` says.

use std::collections::BTreeMap;
use std::error::Error;
use std::iter::successors;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use svc_runtime::client::endpoint;
use svc_runtime::rpc_error::ErrorFacts;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::channel::Change;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Between two looks for a replica that is away.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// `retryPolicy` of `clients/service-config.json`.
const ATTEMPTS: usize = 5;
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(2);

/// A channel over all replicas that are ready. Calls wait while there is none.
#[derive(Debug)]
pub struct Balanced {
    /// The channel.
    pub channel: Channel,
    _watches: Vec<AbortOnDropHandle<()>>,
}

impl Balanced {
    /// Over the replicas at these addresses, `http://…`.
    ///
    /// # Errors
    /// When an address is none.
    pub fn over(urls: &[String]) -> anyhow::Result<Self> {
        let (channel, changes) = Channel::balance_channel(urls.len());
        let mut watches = Vec::new();
        for (key, url) in urls.iter().enumerate() {
            let watch = watch(key, endpoint(url)?, changes.clone());
            watches.push(AbortOnDropHandle::new(tokio::spawn(watch)));
        }
        Ok(Self { channel, _watches: watches })
    }
}

/// Has a replica in the balance while it says that it serves.
async fn watch(key: usize, endpoint: Endpoint, changes: mpsc::Sender<Change<usize, Endpoint>>) {
    loop {
        let mut is_in = false;
        if let Ok(channel) = endpoint.connect().await
            && let Ok(answers) =
                HealthClient::new(channel).watch(HealthCheckRequest::default()).await
        {
            let mut answers = answers.into_inner();
            while let Ok(Some(answer)) = answers.message().await {
                let serves = answer.status() == ServingStatus::Serving;
                if serves != is_in {
                    is_in = serves;
                    let change = if serves {
                        Change::Insert(key, endpoint.clone())
                    } else {
                        Change::Remove(key)
                    };
                    if changes.send(change).await.is_err() {
                        return;
                    }
                }
            }
        }
        if is_in && changes.send(Change::Remove(key)).await.is_err() {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// What came of calls and streams.
#[derive(Debug, Default)]
pub struct Seen {
    /// Calls that were answered.
    pub answered: u64,
    /// Tries that were refused and made again, by reason: none of it reached a caller.
    pub hidden: BTreeMap<String, u64>,
    /// Streams that ended because their replica stopped.
    pub streams: u64,
    /// The longest that a call of each kind took, tries and pauses included.
    pub longest: BTreeMap<String, Duration>,
    /// What must not happen.
    pub failed: Vec<String>,
}

/// What came of the calls of many tasks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Seen>>);

impl Tally {
    /// What came so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, and makes it again when it was refused with UNAVAILABLE, or never left. None when
    /// it failed all the same, which is noted.
    pub async fn retried<T, Fut>(&self, what: &str, mut call: impl FnMut() -> Fut) -> Option<T>
    where
        Fut: Future<Output = Result<T, Status>>,
    {
        let began = tokio::time::Instant::now();
        let mut backoff = BACKOFF;
        for attempt in 1..=ATTEMPTS {
            match call().await {
                Ok(answer) => {
                    let mut seen = self.seen();
                    seen.answered += 1;
                    let longest = seen.longest.entry(what.to_owned()).or_default();
                    *longest = began.elapsed().max(*longest);
                    return Some(answer);
                }
                Err(status) if never_left(&status) && attempt < ATTEMPTS => {
                    *self.seen().hidden.entry("never left".to_owned()).or_default() += 1;
                }
                Err(status) if status.code() == Code::Unavailable && attempt < ATTEMPTS => {
                    *self.seen().hidden.entry(reason_of(&status)).or_default() += 1;
                    sleep(backoff.mul_f64(rand::random_range(0.8..1.2))).await;
                    backoff = (backoff * 2).min(BACKOFF_MOST);
                }
                Err(status) => {
                    let failed = format!("{what}, try {attempt}: {status:?}");
                    self.seen().failed.push(failed);
                    return None;
                }
            }
        }
        None
    }

    /// A stream ended: because its replica stops, or that is noted.
    pub async fn ended(&self, what: &str, status: Option<Status>) {
        match status {
            Some(status) if status.code() == Code::Unavailable => self.seen().streams += 1,
            other => self.seen().failed.push(format!("{what} ended: {other:?}")),
        }
        sleep(BACKOFF).await;
    }
}

/// Whether the call met a connection that its server was just giving up: it was not sent, or as one
/// that the server said it would not look at. gRPC libraries make such calls again by themselves
/// ("transparent retries"); tonic leaves that to its user.
fn never_left(status: &Status) -> bool {
    let causes = successors(status.source(), |cause| (*cause).source());
    causes.into_iter().any(|cause| {
        let unsent = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        let told_to_go = |error: &h2::Error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        };
        unsent || cause.downcast_ref::<h2::Error>().is_some_and(told_to_go)
    })
}

/// The service's reason, or what the transport says.
fn reason_of(status: &Status) -> String {
    ErrorFacts::of(status).map_or_else(|| status.message().to_owned(), |facts| facts.reason)
}
