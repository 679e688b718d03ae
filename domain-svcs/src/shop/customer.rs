//! customer-service: who buys.

use super::entities::{EntityCommands, Rules};
use crate::model::{Customer, Kind};
use crate::service::Service;

struct Customers;

impl Rules for Customers {
    type Entity = Customer;
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(Kind::Customer.name());
    service.commands(EntityCommands { log, rules: Customers });
    service.run().await
}
