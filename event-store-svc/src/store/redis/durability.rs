//! How far a write must have got: what this Redis can give, and waiting for it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use redis_link::values::{array, int, pairs, text};
use redis_link::{Call, Link, LinkError, Value, cmd};

use super::error;
use crate::error::StoreError;
use crate::model::Durability;
use crate::store::Result;

/// How long disk or replicas may take; then it is not known whether the write is durable.
const WAIT: Duration = Duration::from_secs(5);

/// What this Redis can do, probed when it is first needed and anew after a reconnect.
#[derive(Debug, Default)]
pub struct DurabilityGate {
    known: Mutex<Option<Probed>>,
}

#[derive(Clone, Copy, Debug)]
struct Probed {
    generation: u64,
    fsync: Fsync,
}

/// How a write gets to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fsync {
    /// Redis syncs before it answers (`appendfsync always`).
    Always,
    /// One can wait for it (WAITAOF, 7.2).
    Wait,
    /// Not at all.
    Never,
}

impl DurabilityGate {
    /// What an answered write has reached, at least what was asked for.
    pub fn reached(&self, asked: Durability) -> Durability {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Durability::Memory if known.is_some_and(|known| known.fsync == Fsync::Always) => {
                Durability::Fsynced
            }
            other => other,
        }
    }

    /// Writes, and answers once it is as durable as asked for. The wait speaks of the writes of
    /// its own connection, so both go over one of the blocking ones.
    pub async fn write(
        &self,
        link: &Link,
        durability: Durability,
        call: &Call<'_>,
    ) -> Result<Value> {
        let (mut wait, wanted) = match durability {
            Durability::Memory => {
                return link.invoke(call).await.map_err(|e| error::of_write(&e));
            }
            Durability::Fsynced => match self.fsync(link).await? {
                Fsync::Always => return link.invoke(call).await.map_err(|e| error::of_write(&e)),
                Fsync::Never => return Err(StoreError::DurabilityUnavailable(durability)),
                Fsync::Wait => {
                    let mut wait = cmd("WAITAOF");
                    wait.arg(1).arg(0);
                    (wait, 1)
                }
            },
            Durability::Replicated => {
                let replicas = link.min_replicas();
                if replicas == 0 || connected_replicas(link).await? < i64::from(replicas) {
                    return Err(StoreError::DurabilityUnavailable(durability));
                }
                let mut wait = cmd("WAIT");
                wait.arg(replicas);
                (wait, i64::from(replicas))
            }
        };
        let mut connection = link.blocking().take(WAIT).await.map_err(|e| error::of_write(&e))?;
        let answer = connection.invoke(call).await.map_err(|e| error::of_write(&e))?;
        wait.arg(WAIT.as_millis().to_string());
        let reached = connection.query_blocking(&wait, WAIT).await.and_then(|value| match value {
            // WAITAOF answers local and replicas, WAIT replicas.
            Value::Array(counts) => counts.first().map_or(Ok(0), int),
            count => int(&count),
        });
        match reached {
            Ok(reached) if reached >= wanted => Ok(answer),
            // It is written, but not known to be durable.
            Ok(_) => Err(StoreError::OutcomeUnknown),
            Err(e) => {
                tracing::warn!(
                    error = &e as &dyn std::error::Error,
                    "waiting for durability failed"
                );
                Err(StoreError::OutcomeUnknown)
            }
        }
    }

    async fn fsync(&self, link: &Link) -> Result<Fsync> {
        let generation = *link.generation().borrow();
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.filter(|known| known.generation == generation) {
            return Ok(known.fsync);
        }
        let fsync = probe(link).await?;
        let probed = Probed { generation, fsync };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(probed);
        Ok(fsync)
    }
}

async fn probe(link: &Link) -> Result<Fsync> {
    let mut config = cmd("CONFIG");
    config.arg("GET").arg("append*");
    let settings = match link.query(&config).await {
        Ok(value) => pairs(value).map_err(|e| error::of_read(&e))?,
        // Managed servers do not show their configuration; WAITAOF tells for itself.
        Err(LinkError::Refused { .. }) => Vec::new(),
        Err(e) => return Err(error::of_read(&e)),
    };
    let setting = |name: &str| {
        let found = settings.iter().find(|(key, _)| text(key.clone()).is_ok_and(|key| key == name));
        found.and_then(|(_, value)| text(value.clone()).ok())
    };
    let on = setting("appendonly");
    if on.as_deref() == Some("no") {
        return Ok(Fsync::Never);
    }
    if on.is_some() && setting("appendfsync").as_deref() == Some("always") {
        return Ok(Fsync::Always);
    }
    let mut info = cmd("COMMAND");
    info.arg("INFO").arg("WAITAOF");
    let known = link.query(&info).await.and_then(array).map_err(|e| error::of_read(&e))?;
    let has_it = known.first().is_some_and(|info| !matches!(info, Value::Nil));
    Ok(if has_it { Fsync::Wait } else { Fsync::Never })
}

async fn connected_replicas(link: &Link) -> Result<i64> {
    let mut info = cmd("INFO");
    info.arg("replication");
    let info = link.query(&info).await.and_then(text).map_err(|e| error::of_read(&e))?;
    let count = info.lines().find_map(|line| line.strip_prefix("connected_slaves:"));
    Ok(count.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
}
