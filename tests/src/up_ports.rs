//! Ports for one `make up` after the other, so that tests run it beside others.

use crate::ports::Port;
use crate::topology::WORKERS;

/// Everything that `make up` listens on.
#[derive(Debug)]
pub struct UpPorts {
    /// Of its Redis.
    pub redis: Port,
    /// Of event-store-svc.
    pub store: Port,
    /// Of message-queue-svc.
    pub queue: Port,
    /// Of the shop's REST API.
    pub gateway: Port,
    /// One for each worker's health, in a row.
    pub health: Vec<Port>,
    /// One for each front service's figures, in a row.
    pub admin: Vec<Port>,
}

impl UpPorts {
    /// Reserves them.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn reserve() -> anyhow::Result<Self> {
        Ok(Self {
            redis: Port::reserve()?,
            store: Port::reserve()?,
            queue: Port::reserve()?,
            gateway: Port::reserve()?,
            health: Port::reserve_row(WORKERS.len())?,
            admin: Port::reserve_row(2)?,
        })
    }

    /// The variables that tell `make up` of them.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let health = self.health.first().map(|first| ("HEALTH_PORT", first));
        let admin = self.admin.first().map(|first| ("ADMIN_PORT", first));
        let others = [
            ("REDIS_PORT", &self.redis),
            ("EVENT_STORE_PORT", &self.store),
            ("MESSAGE_QUEUE_PORT", &self.queue),
            ("GATEWAY_PORT", &self.gateway),
        ];
        let all = others.into_iter().chain(health).chain(admin);
        all.map(|(variable, port)| (variable, port.number().to_string())).collect()
    }
}
