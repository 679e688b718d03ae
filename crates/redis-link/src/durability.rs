//! How far a write must have got before it is answered: what this Redis can
//! give, and waiting for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{Value, cmd};

use crate::{
    BlockingConnection, Link, LinkError,
    values::{array, int, pairs, text},
};

/// How long disk or replicas may take, and a free connection; then it is not
/// known whether the write is durable.
const LIMIT: Duration = Duration::from_secs(5);

/// Further than the memory of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// On the disk of the primary.
    Fsynced,
    /// In the memory of so many replicas as are configured.
    Replicated,
}

/// What a write needs so as to be as durable as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: what is answered is that durable already.
    Answer,
    /// To be made over [`Durability::connection`] and waited for.
    Wait,
    /// Something else than this Redis.
    Unavailable,
}

/// How this Redis gets a write to its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fsync {
    /// Before it answers anything (`appendfsync always`).
    Always,
    /// When asked with WAITAOF (7.2).
    OnRequest,
    /// It does not promise to.
    Never,
}

/// What this Redis can give: found out when it is first asked for, and again
/// after every reconnect. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Durability {
    link: Link,
    /// Of which generation of connections, and what.
    known: Arc<Mutex<Option<(u64, Fsync)>>>,
}

impl Durability {
    /// Of the Redis behind this link.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link, known: Arc::default() }
    }

    /// What a write needs.
    ///
    /// # Errors
    /// When Redis can't be asked.
    pub async fn need(&self, level: Level) -> Result<Need, LinkError> {
        match level {
            Level::Fsynced => Ok(match self.fsync().await? {
                Fsync::Always => Need::Answer,
                Fsync::OnRequest => Need::Wait,
                Fsync::Never => Need::Unavailable,
            }),
            Level::Replicated => {
                let wanted = i64::from(self.link.min_replicas());
                let enough = wanted > 0 && self.connected_replicas().await? >= wanted;
                Ok(if enough { Need::Wait } else { Need::Unavailable })
            }
        }
    }

    /// Whether every answered write is known to be on the disk.
    #[must_use]
    pub fn is_always_fsynced(&self) -> bool {
        self.cached() == Some(Fsync::Always)
    }

    /// A connection for writes that are waited for: WAIT and WAITAOF speak of
    /// the writes of their own connection, and block it.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] when none becomes free.
    pub async fn connection(&self) -> Result<BlockingConnection, LinkError> {
        self.link.blocking().take(LIMIT).await
    }

    /// Waits until what was written over this connection got that far.
    ///
    /// # Errors
    /// [`LinkError::OutcomeUnknown`] whenever that is not known: it is written.
    pub async fn wait(
        &self,
        connection: &mut BlockingConnection,
        level: Level,
    ) -> Result<(), LinkError> {
        let (mut wait, wanted) = match level {
            Level::Fsynced => {
                let mut wait = cmd("WAITAOF");
                wait.arg(1).arg(0);
                (wait, 1)
            }
            Level::Replicated => {
                let mut wait = cmd("WAIT");
                wait.arg(self.link.min_replicas());
                (wait, i64::from(self.link.min_replicas()))
            }
        };
        wait.arg(u64::try_from(LIMIT.as_millis()).unwrap_or(u64::MAX));
        let reached = connection.query_blocking(&wait, LIMIT).await.and_then(|value| match value {
            // WAITAOF answers local and replicas, WAIT replicas.
            Value::Array(counts) => counts.first().map_or(Ok(0), int),
            count => int(&count),
        });
        match reached {
            Ok(reached) if reached >= wanted => Ok(()),
            Ok(_) => Err(LinkError::not_durable(&"disk or replicas took too long")),
            Err(error) => Err(LinkError::not_durable(&error)),
        }
    }

    fn generation(&self) -> u64 {
        *self.link.generation().borrow()
    }

    fn cached(&self) -> Option<Fsync> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(of, _)| *of == self.generation()).map(|(_, fsync)| fsync)
    }

    async fn fsync(&self) -> Result<Fsync, LinkError> {
        if let Some(fsync) = self.cached() {
            return Ok(fsync);
        }
        // Before asking: whoever answers is of this generation or a later one.
        let generation = self.generation();
        let fsync = self.probe().await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((generation, fsync));
        Ok(fsync)
    }

    async fn probe(&self) -> Result<Fsync, LinkError> {
        // Managed servers do not show their settings; WAITAOF tells for itself.
        let settings = self.link.query_if_allowed(cmd("CONFIG").arg("GET").arg("append*")).await?;
        let settings = settings.map_or(Ok(Vec::new()), pairs)?;
        let setting = |name: &str| {
            let is = |key: &Value| text(key.clone()).is_ok_and(|key| key == name);
            let found = settings.iter().find(|(key, _)| is(key));
            found.and_then(|(_, value)| text(value.clone()).ok())
        };
        let append_only = setting("appendonly");
        if append_only.as_deref() == Some("no") {
            return Ok(Fsync::Never);
        }
        if append_only.is_some() && setting("appendfsync").as_deref() == Some("always") {
            return Ok(Fsync::Always);
        }
        let known = self.link.query_if_allowed(cmd("COMMAND").arg("INFO").arg("WAITAOF")).await?;
        let known = known.map_or(Ok(Vec::new()), array)?;
        let has_it = known.first().is_some_and(|info| !matches!(info, Value::Nil));
        Ok(if has_it { Fsync::OnRequest } else { Fsync::Never })
    }

    async fn connected_replicas(&self) -> Result<i64, LinkError> {
        let info = self.link.query_if_allowed(cmd("INFO").arg("replication")).await?;
        let info = info.map_or(Ok(String::new()), text)?;
        let count = info.lines().find_map(|line| line.strip_prefix("connected_slaves:"));
        Ok(count.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
    }
}
