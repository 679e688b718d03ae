//! Appends that must have got further than memory before they are answered.

use redis_link::durability::{Level, Need};
use redis_link::{Call, Link, Value};

use super::error;
use crate::error::StoreError;
use crate::model::Durability;
use crate::store::Result;

/// What this Redis can give.
#[derive(Debug)]
pub struct DurabilityGate {
    redis: redis_link::Durability,
}

impl DurabilityGate {
    pub fn new(link: &Link) -> Self {
        Self { redis: redis_link::Durability::new(link.clone()) }
    }

    /// What an answered write has reached, at least what was asked for.
    pub fn reached(&self, asked: Durability) -> Durability {
        match asked {
            Durability::Memory if self.redis.is_always_fsynced() => Durability::Fsynced,
            other => other,
        }
    }

    /// Writes, and answers once it is as durable as asked for.
    pub async fn write(
        &self,
        link: &Link,
        durability: Durability,
        call: &Call<'_>,
    ) -> Result<Value> {
        let level = match durability {
            Durability::Memory => None,
            Durability::Fsynced => Some(Level::Fsynced),
            Durability::Replicated => Some(Level::Replicated),
        };
        let need = match level {
            None => Need::Answer,
            // Nothing was written yet.
            Some(level) => self.redis.need(level).await.map_err(|e| error::of_read(&e))?,
        };
        match (need, level) {
            (Need::Unavailable, _) => Err(StoreError::DurabilityUnavailable(durability)),
            (Need::Wait, Some(level)) => {
                let mut connection =
                    self.redis.connection().await.map_err(|e| error::of_write(&e))?;
                let answer = connection.invoke(call).await.map_err(|e| error::of_write(&e))?;
                self.redis.wait(&mut connection, level).await.map_err(|e| error::of_write(&e))?;
                Ok(answer)
            }
            _ => link.invoke(call).await.map_err(|e| error::of_write(&e)),
        }
    }
}
