//! The services of the shop. Each `run` is a whole service but for its `main`.

pub mod billing;
pub mod cart;
pub mod crm;
pub mod customer;
mod entities;
pub mod inventory;
pub mod mail;
pub mod order;
pub mod product;
pub mod shipping;
mod stock;

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::model::{Entity, Kind, Order, OrderStatus};
use crate::service::{EventLog, Failure, parse_state};

/// How long a command waits for the saga to take the step before it, so that a
/// client need not: far less than a caller's patience.
const SAGA_PATIENCE: Duration = Duration::from_secs(3);
const SAGA_POLL: Duration = Duration::from_millis(20);

/// Reads the state of an entity, unless it is not there (any more).
async fn load<E: Entity>(log: &EventLog, id: &str) -> Result<Option<E>, Failure> {
    log.load(E::KIND.name(), id).await
}

/// Reads the last known state of an entity, also of one that was deleted.
async fn load_last<E: Entity>(log: &EventLog, id: &str) -> Result<Option<E>, Failure> {
    let head = log.head(E::KIND.name(), id).await?;
    head.map(|head| parse(E::KIND, head.data)).transpose()
}

/// Reads stored state.
fn parse<E: Entity>(kind: Kind, state: Value) -> Result<E, Failure> {
    parse_state(kind.name(), state)
}

/// Reads an order that a command refers to with `order_id`, and waits a little
/// while its status is one of `passing`: those that the saga is about to change.
async fn settled_order(
    log: &EventLog,
    order_id: &str,
    passing: &[OrderStatus],
) -> Result<Order, Failure> {
    let end = Instant::now() + SAGA_PATIENCE;
    loop {
        let order: Order = load(log, order_id)
            .await?
            .ok_or_else(|| Failure::dangling("order_id", Kind::Order.name(), order_id))?;
        if !passing.contains(&order.status) || Instant::now() >= end {
            return Ok(order);
        }
        tokio::time::sleep(SAGA_POLL).await;
    }
}

/// Everything whose events make up the story of an order.
pub(crate) fn subjects_of_order(order_id: &str) -> [(Kind, String); 4] {
    [
        (Kind::Order, order_id.to_owned()),
        (Kind::Inventory, stock::reservation_subject(order_id)),
        (Kind::Billing, billing::id(order_id)),
        (Kind::Shipping, shipping::id(order_id)),
    ]
}

/// Refuses to move an entity from what it belongs to.
fn unchanged(field: &str, old: &str, new: &str) -> Result<(), Failure> {
    if old == new {
        return Ok(());
    }
    Err(Failure::invalid(vec![crate::model::Violation {
        field: field.to_owned(),
        description: "cannot be changed: delete this one and create another".to_owned(),
    }]))
}
