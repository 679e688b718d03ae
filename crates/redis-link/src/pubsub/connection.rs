//! The one pub/sub connection: subscribes what is listened for, hands out
//! what arrives, comes back when it was lost.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::StreamExt;
use redis::{
    ProtocolVersion, RedisError, Value,
    aio::{PubSub, PubSubSink, PubSubStream},
};
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, warn};

use super::Shared;
use crate::{
    LinkError,
    access::Access,
    meter::Meter,
    sentinel::Place,
    supervisor::{first_backoff, jittered, next_backoff},
};

/// How often the connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The most channels in one SUBSCRIBE.
const CHUNK: usize = 1_000;

pub(super) struct Keeper {
    shared: Weak<Shared>,
    access: Access,
    time_limit: Duration,
    meter: Arc<Meter>,
}

/// Why the connection is no longer of use.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("closed")]
    Closed,
    #[error("the primary is another one now")]
    Left,
}

impl Keeper {
    pub(super) fn new(
        shared: Weak<Shared>,
        access: Access,
        time_limit: Duration,
        meter: Arc<Meter>,
    ) -> Self {
        Self { shared, access, time_limit, meter }
    }

    pub(super) async fn run(self, mut changes: mpsc::UnboundedReceiver<Arc<str>>) {
        let mut backoff = first_backoff();
        let (mut failed_before, mut was_up) = (false, false);
        while self.shared.strong_count() > 0 {
            match timeout(self.time_limit, self.connect()).await {
                Ok(Ok((pubsub, place))) => {
                    (backoff, failed_before) = (first_backoff(), false);
                    if was_up {
                        self.meter.reconnected();
                    }
                    was_up = true;
                    let (sink, stream) = pubsub.split();
                    let Err(lost) = self.serve(sink, stream, place, &mut changes).await else {
                        return;
                    };
                    warn!(error = %lost, "pub/sub connection lost, replacing it");
                }
                Ok(Err(error)) if !failed_before => {
                    failed_before = true;
                    let reason = error.detail();
                    warn!(reason, "pub/sub connection can't be made, trying on");
                }
                Ok(Err(error)) => debug!(%error, "pub/sub connection still can't be made"),
                Err(_) => debug!("pub/sub connection can't be made in time"),
            }
            tokio::time::sleep(jittered(backoff)).await;
            backoff = next_backoff(backoff);
        }
    }

    async fn connect(&self) -> Result<(PubSub, Place), LinkError> {
        let (client, place) = self.access.client(ProtocolVersion::RESP3).await?;
        let pubsub = client.get_async_pubsub().await;
        Ok((pubsub.map_err(|error| LinkError::of_connecting(&error))?, place))
    }

    /// Serves one connection until it is lost (an error) or nobody is left.
    async fn serve(
        &self,
        mut sink: PubSubSink,
        mut stream: PubSubStream,
        mut place: Place,
        changes: &mut mpsc::UnboundedReceiver<Arc<str>>,
    ) -> Result<(), Lost> {
        let mut subscribed = HashSet::new();
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let wanted = {
            let channels = shared.channels();
            // What came or went until now is in there: those who listen are told once.
            while changes.try_recv().is_ok() {}
            channels.keys().cloned().collect::<Vec<_>>()
        };
        drop(shared);
        self.follow(&mut sink, &mut subscribed, wanted).await?;
        let mut names = Vec::new();
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => {
                    let message = message.ok_or(Lost::Closed)?;
                    let Some(shared) = self.shared.upgrade() else { return Ok(()) };
                    shared.deliver(message.get_channel_name(), message.get_payload_bytes());
                }
                count = changes.recv_many(&mut names, CHUNK) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.follow(&mut sink, &mut subscribed, std::mem::take(&mut names)).await?;
                }
                () = place.left() => return Err(Lost::Left),
                _ = pings.tick() => {
                    timeout(self.time_limit, sink.ping::<Value>()).await??;
                }
            }
        }
    }

    /// Brings the subscriptions of these channels in line with who listens
    /// now: a name may have come and gone since it was told.
    async fn follow(
        &self,
        sink: &mut PubSubSink,
        subscribed: &mut HashSet<Arc<str>>,
        names: Vec<Arc<str>>,
    ) -> Result<(), Lost> {
        let Some(shared) = self.shared.upgrade() else {
            return Ok(());
        };
        let (wanted, unwanted): (Vec<_>, Vec<_>) = {
            let channels = shared.channels();
            names.into_iter().partition(|name| channels.contains_key(name))
        };
        for chunk in wanted.chunks(CHUNK) {
            let new =
                chunk.iter().filter(|name| !subscribed.contains(*name)).collect::<HashSet<_>>();
            if !new.is_empty() {
                let new = new.into_iter().map(AsRef::as_ref).collect::<Vec<&str>>();
                timeout(self.time_limit, sink.subscribe(new)).await??;
            }
            subscribed.extend(chunk.iter().cloned());
            // Also those that came back before they were unsubscribed.
            shared.subscribed(chunk);
        }
        let old = unwanted.into_iter().filter(|name| subscribed.remove(name)).collect::<Vec<_>>();
        for chunk in old.chunks(CHUNK) {
            let chunk = chunk.iter().map(AsRef::as_ref).collect::<Vec<&str>>();
            timeout(self.time_limit, sink.unsubscribe(chunk)).await??;
        }
        Ok(())
    }
}
