//! Keeps one shared connection up: connects, watches, replaces.

use std::{
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::Rng;
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisError, Value,
    aio::MultiplexedConnection,
};
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, info, warn};

use crate::{LinkError, Rights, access::Access, config::RedisArgs, meter::Meter, sentinel::Place};

/// The longest pause between two attempts to connect, before jitter.
const BACKOFF_CAP: Duration = Duration::from_secs(1);
const BACKOFF_START: Duration = Duration::from_millis(20);

/// How often an idle connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Commands that wait to be written, per connection.
const PIPELINE_BUFFER: usize = 1024;

/// Bytes gathered before they are flushed to the socket.
const WRITE_BUFFER: usize = 256 * 1024;

/// A shared connection, or the place for one.
#[derive(Debug)]
pub(crate) struct Slot {
    current: RwLock<Option<Current>>,
    /// Counts answers: a connection with a long backlog is slow, not dead.
    answers: AtomicU64,
    faults: mpsc::UnboundedSender<Fault>,
    meter: Arc<Meter>,
}

#[derive(Clone, Debug)]
struct Current {
    epoch: u64,
    connection: MultiplexedConnection,
}

#[derive(Debug)]
struct Fault {
    epoch: u64,
    reason: &'static str,
}

/// What a supervisor tells about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Up,
    Down,
}

impl Slot {
    /// Makes the place and starts its supervisor, which ends with the last
    /// owner of the place.
    pub(crate) fn start(
        index: usize,
        args: &RedisArgs,
        access: Access,
        rights: Rights,
        meter: Arc<Meter>,
        changes: mpsc::UnboundedSender<(usize, Change)>,
    ) -> Arc<Self> {
        let (faults, fault_rx) = mpsc::unbounded_channel();
        let current = RwLock::new(None);
        let slot = Arc::new(Self { current, answers: AtomicU64::new(0), faults, meter });
        let supervisor = Supervisor {
            index,
            slot: Arc::downgrade(&slot),
            access,
            rights,
            response_timeout: args.redis_response_timeout,
            connect_timeout: args.redis_connect_timeout,
            changes,
            epoch: 0,
            was_up: false,
        };
        tokio::spawn(supervisor.run(fault_rx));
        slot
    }

    /// The connection and its epoch, if it is up.
    pub(crate) fn get(&self) -> Option<(u64, MultiplexedConnection)> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|current| (current.epoch, current.connection.clone()))
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn is_up(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Notes that Redis answered something.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports that the connection of this epoch must not be used any more.
    pub(crate) fn fault(&self, epoch: u64, reason: &'static str) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.epoch == epoch) {
            *current = None;
            drop(current);
            // A supervisor that is gone has nothing left to replace.
            let _ = self.faults.send(Fault { epoch, reason });
        }
    }

    fn set(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(current);
    }
}

struct Supervisor {
    index: usize,
    slot: Weak<Slot>,
    access: Access,
    rights: Rights,
    response_timeout: Duration,
    connect_timeout: Duration,
    changes: mpsc::UnboundedSender<(usize, Change)>,
    epoch: u64,
    was_up: bool,
}

impl Supervisor {
    async fn run(mut self, mut faults: mpsc::UnboundedReceiver<Fault>) {
        let mut backoff = first_backoff();
        let mut failed_before = None;
        while self.slot.strong_count() > 0 {
            self.epoch += 1;
            let (connection, place) = match self.connect().await {
                Ok(connected) => connected,
                Err(error) => {
                    let reason = error.detail();
                    // Once for each reason.
                    if failed_before.as_ref() == Some(&reason) {
                        debug!(connection = self.index, reason, "redis still can't be reached");
                    } else {
                        warn!(connection = self.index, reason, "redis can't be reached, trying on");
                    }
                    failed_before = Some(reason);
                    tokio::time::sleep(jittered(backoff)).await;
                    backoff = next_backoff(backoff);
                    continue;
                }
            };
            let Some(slot) = self.slot.upgrade() else {
                return;
            };
            if self.was_up {
                slot.meter.reconnected();
            }
            self.was_up = true;
            slot.set(Current { epoch: self.epoch, connection: connection.clone() });
            drop(slot);
            info!(connection = self.index, "connected to redis");
            self.tell(Change::Up);
            let lasted = tokio::time::Instant::now();
            let reason = self.watch(connection, place, &mut faults).await;
            self.tell(Change::Down);
            if self.slot.strong_count() == 0 {
                return;
            }
            warn!(connection = self.index, reason, "redis connection lost, replacing it");
            failed_before = None;
            // A connection that never lasts must not become a busy loop.
            if lasted.elapsed() > PING_EVERY {
                backoff = BACKOFF_START;
            } else {
                tokio::time::sleep(jittered(backoff)).await;
                backoff = next_backoff(backoff);
            }
        }
    }

    /// Waits until the connection is bad, and says why.
    async fn watch(
        &self,
        mut connection: MultiplexedConnection,
        mut place: Place,
        faults: &mut mpsc::UnboundedReceiver<Fault>,
    ) -> &'static str {
        loop {
            let fault = tokio::select! {
                fault = faults.recv() => fault,
                () = place.left() => {
                    let Some(slot) = self.slot.upgrade() else { return "closed" };
                    let reason = "the primary is another one now";
                    slot.fault(self.epoch, reason);
                    return reason;
                }
                () = tokio::time::sleep(PING_EVERY) => {
                    let ping = redis::cmd("PING");
                    let Some(slot) = self.slot.upgrade() else { return "closed" };
                    let answers = slot.answers.load(Ordering::Relaxed);
                    match timeout(self.connect_timeout, connection.send_packed_command(&ping)).await {
                        Ok(Ok(Value::ServerError(_))) => slot.fault(self.epoch, "refused a ping"),
                        Ok(Ok(_)) => {}
                        Ok(Err(_)) => slot.fault(self.epoch, "failed a ping"),
                        Err(_) if slot.answers.load(Ordering::Relaxed) != answers => {}
                        Err(_) => slot.fault(self.epoch, "did not answer a ping in time"),
                    }
                    continue;
                }
            };
            match fault {
                Some(fault) if fault.epoch == self.epoch => return fault.reason,
                Some(_) => {}
                None => return "closed",
            }
        }
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, Place), LinkError> {
        let (slot, epoch) = (self.slot.clone(), self.epoch);
        // The library tells of a lost connection at once, and only this way.
        let on_push = move |push: PushInfo| -> Result<(), RedisError> {
            if push.kind == PushKind::Disconnection
                && let Some(slot) = slot.upgrade()
            {
                slot.fault(epoch, "the connection was closed");
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER)
            .set_write_backpressure_boundary(WRITE_BUFFER)
            .set_push_sender(on_push);
        connect(&self.access, &self.rights, &config, self.connect_timeout).await
    }

    fn tell(&self, change: Change) {
        // Nobody listens any more only while everything is being dropped.
        let _ = self.changes.send((self.index, change));
    }
}

/// Connects, as who the flags say, to a server that serves.
pub(crate) async fn connect(
    access: &Access,
    rights: &Rights,
    config: &AsyncConnectionConfig,
    limit: Duration,
) -> Result<(MultiplexedConnection, Place), LinkError> {
    let connecting = async {
        let (client, place) = access.client(ProtocolVersion::RESP3).await?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(config)
            .await
            .map_err(|error| LinkError::of_connecting(&error))?;
        check_serving(&mut connection, rights).await?;
        Ok((connection, place))
    };
    timeout(limit, connecting).await.unwrap_or_else(|_| Err(LinkError::no_answer()))
}

/// Refuses servers that accept connections but can't serve: still loading, a replica that would
/// answer READONLY, or one where the user lacks a right.
async fn check_serving(
    connection: &mut MultiplexedConnection,
    rights: &Rights,
) -> Result<(), LinkError> {
    let pong = connection.send_packed_command(&redis::cmd("PING")).await;
    let may_ping = match pong.map_err(|error| LinkError::of_call(&error))? {
        Value::ServerError(error) if error.code() == "NOPERM" => false,
        Value::ServerError(error) => return Err(LinkError::of_answer(&error)),
        _ => true,
    };
    // An ACL may forbid ROLE: then the first write has to find out.
    let role = connection.send_packed_command(&redis::cmd("ROLE")).await;
    if let Value::Array(role) = role.map_err(|error| LinkError::of_call(&error))?
        && let Some(Value::BulkString(name)) = role.first()
        && name != b"master"
    {
        return Err(LinkError::of_connect(&"this server is a replica"));
    }
    let Some(question) = rights.question() else {
        return if may_ping { Ok(()) } else { Err(LinkError::denied(&["ping".to_owned()])) };
    };
    let answer = connection.send_packed_command(&question).await;
    let denied = match answer.map_err(|error| LinkError::of_call(&error))? {
        Value::ServerError(error) if error.code() == "NOPERM" => vec!["eval".to_owned()],
        Value::ServerError(error) => return Err(LinkError::of_answer(&error)),
        answer => Rights::denied(answer),
    };
    if denied.is_empty() { Ok(()) } else { Err(LinkError::denied(&denied)) }
}

/// Between half of it and all of it, so that many do not come back at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

pub(crate) fn next_backoff(backoff: Duration) -> Duration {
    (backoff * 2).min(BACKOFF_CAP)
}

pub(crate) fn first_backoff() -> Duration {
    BACKOFF_START
}
