//! Sends that must have got further than memory before they are answered.

use redis_link::durability::{Level, Need};
use redis_link::{BlockingConnection, Link};

use super::store::failed;
use crate::error::QueueError;
use crate::model::Durability;
use crate::queue::QueueResult;

/// What this Redis can give.
#[derive(Clone, Debug)]
pub struct Probe {
    redis: redis_link::Durability,
}

fn level(durability: Durability) -> Option<Level> {
    match durability {
        Durability::Memory => None,
        Durability::Fsynced => Some(Level::Fsynced),
        Durability::Replicated => Some(Level::Replicated),
    }
}

impl Probe {
    pub fn new(link: Link) -> Self {
        Self { redis: redis_link::Durability::new(link) }
    }

    /// Fails if the durability is not to be had here.
    pub async fn check(&self, durability: Durability) -> QueueResult<()> {
        let Some(level) = level(durability) else { return Ok(()) };
        match self.redis.need(level).await {
            Ok(Need::Unavailable) => Err(QueueError::DurabilityUnavailable(durability)),
            Ok(Need::Answer | Need::Wait) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Whether a send with this durability, once checked, is made over [`Probe::connection`].
    pub fn needs_own_connection(&self, durability: Durability) -> bool {
        match durability {
            Durability::Memory => false,
            Durability::Fsynced => !self.redis.is_always_fsynced(),
            Durability::Replicated => true,
        }
    }

    /// A connection for a write that will be waited for.
    pub async fn connection(&self) -> QueueResult<BlockingConnection> {
        self.redis.connection().await.map_err(|error| failed(&error))
    }

    /// Waits until what was written over this connection got as far as asked.
    /// From here on it has been written: anything but success is unknown.
    pub async fn wait(
        &self,
        connection: &mut BlockingConnection,
        durability: Durability,
    ) -> QueueResult<()> {
        let Some(level) = level(durability) else { return Ok(()) };
        self.redis.wait(connection, level).await.map_err(|error| failed(&error))
    }
}
