//! Writes that must have got further than memory before they are answered.
//!
//! WAIT and WAITAOF speak of the writes of their own connection and block it,
//! so these sends have a connection of the blocking pool for themselves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis_link::{BlockingConnection, Link, Value, cmd, values};

use super::store::{failed, shape};
use crate::error::QueueError;
use crate::model::Durability;
use crate::queue::QueueResult;

/// How long fsync or replicas may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long to wait for a connection.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);

/// How this Redis gets a write to its disk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fsync {
    /// Before it answers anything (`appendfsync always`).
    Always,
    /// When asked with WAITAOF (7.2).
    OnRequest,
    /// It does not promise to.
    Unavailable,
}

/// What this Redis can give: found out when first asked for, and again after
/// every reconnect.
#[derive(Clone, Debug)]
pub struct Probe {
    link: Link,
    known: Arc<Mutex<Option<(u64, Fsync)>>>,
}

impl Probe {
    pub fn new(link: Link) -> Self {
        Self { link, known: Arc::default() }
    }

    /// Fails if the durability is not to be had here.
    pub async fn check(&self, durability: Durability) -> QueueResult<()> {
        let available = match durability {
            Durability::Memory => true,
            Durability::Fsynced => self.fsync().await? != Fsync::Unavailable,
            Durability::Replicated => self.link.min_replicas() > 0,
        };
        if available { Ok(()) } else { Err(QueueError::DurabilityUnavailable(durability)) }
    }

    /// Whether a send with this durability, once checked, is made over [`Probe::connection`].
    pub fn needs_own_connection(&self, durability: Durability) -> bool {
        match durability {
            Durability::Memory => false,
            Durability::Fsynced => self.cached() != Some(Fsync::Always),
            Durability::Replicated => true,
        }
    }

    /// A connection for a write that will be waited for.
    pub async fn connection(&self) -> QueueResult<BlockingConnection> {
        self.link.blocking().take(CONNECTION_LIMIT).await.map_err(|error| failed(&error))
    }

    /// Waits until what was written over this connection got as far as asked.
    /// From here on it has been written: anything but success is unknown.
    pub async fn wait(
        &self,
        connection: &mut BlockingConnection,
        durability: Durability,
    ) -> QueueResult<()> {
        let mut wait = match durability {
            Durability::Memory => return Ok(()),
            Durability::Fsynced => {
                let mut wait = cmd("WAITAOF");
                wait.arg(1).arg(0);
                wait
            }
            Durability::Replicated => {
                let mut wait = cmd("WAIT");
                wait.arg(self.link.min_replicas());
                wait
            }
        };
        wait.arg(u64::try_from(LIMIT.as_millis()).unwrap_or(0));
        let unknown = |_| QueueError::OutcomeUnknown;
        let answer = connection.query_blocking(&wait, LIMIT).await.map_err(unknown)?;
        let reached = match answer {
            Value::Array(counts) => counts.first().map_or(Ok(0), values::int),
            count => values::int(&count),
        };
        let needed = match durability {
            Durability::Replicated => i64::from(self.link.min_replicas()),
            Durability::Fsynced | Durability::Memory => 1,
        };
        if reached.map_err(unknown)? < needed {
            return Err(QueueError::OutcomeUnknown);
        }
        Ok(())
    }

    fn cached(&self) -> Option<Fsync> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = *self.link.generation().borrow();
        known.filter(|(of, _)| *of == generation).map(|(_, fsync)| fsync)
    }

    async fn fsync(&self) -> QueueResult<Fsync> {
        if let Some(fsync) = self.cached() {
            return Ok(fsync);
        }
        let generation = *self.link.generation().borrow();
        let appends = self.setting("appendonly").await?.as_deref() == Some("yes");
        let always = self.setting("appendfsync").await?.as_deref() == Some("always");
        let fsync = match (appends, always) {
            (true, true) => Fsync::Always,
            (true, false) if self.has_waitaof().await? => Fsync::OnRequest,
            _ => Fsync::Unavailable,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((generation, fsync));
        Ok(fsync)
    }

    /// A setting of Redis; none where an ACL keeps it secret.
    async fn setting(&self, name: &str) -> QueueResult<Option<String>> {
        match self.link.query(cmd("CONFIG").arg("GET").arg(name)).await {
            Ok(answer) => {
                let pairs = values::pairs(answer).map_err(shape)?;
                let value = pairs.into_iter().next().map(|(_, value)| value);
                value.map(values::text).transpose().map_err(shape)
            }
            Err(error) if error.code().is_some() => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn has_waitaof(&self) -> QueueResult<bool> {
        let mut ask = cmd("COMMAND");
        ask.arg("INFO").arg("WAITAOF");
        let answer = self.link.query(&ask).await.map_err(|error| failed(&error))?;
        let infos = values::array(answer).map_err(shape)?;
        Ok(infos.first().is_some_and(|info| !matches!(info, Value::Nil)))
    }
}
