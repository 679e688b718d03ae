//! order-service: carts that were ordered, and how far they got. Owns the
//! order's state machine: the other services only say what happened.

use super::entities::{EntityCommands, Rules};
use super::stock::reservation_subject;
use super::{billing, load, parse, shipping, unchanged};
use crate::model::{Cart, EventType, Kind, Order, OrderStatus, Shipping, Violation, to_json};
use crate::service::{
    Cause, EventLog, Events, Expect, Failure, Head, NewEvent, Service, derive_id,
};

const TOPIC: &str = "order";
/// The longest way through the state machine, with room for others being faster.
const MAX_STEPS: usize = 50;

struct Orders {
    log: EventLog,
}

impl Rules for Orders {
    type Entity = Order;

    async fn check_new(&self, order: &Order) -> Result<(), Failure> {
        if order.status != OrderStatus::Created {
            return Err(Failure::invalid(vec![Violation {
                field: "status".to_owned(),
                description: "must be CREATED for a new order, or left out".to_owned(),
            }]));
        }
        match load::<Cart>(&self.log, &order.cart_id).await? {
            Some(_) => Ok(()),
            None => Err(Failure::dangling("cart_id", Kind::Cart.name(), &order.cart_id)),
        }
    }

    async fn check_change(&self, _: &str, old: &Order, new: &Order) -> Result<(), Failure> {
        unchanged("cart_id", &old.cart_id, &new.cart_id)?;
        check_transition(old.status, new.status)
    }
}

/// What somebody may ask for. Whether there is stock is not theirs to say.
fn check_transition(old: OrderStatus, new: OrderStatus) -> Result<(), Failure> {
    let by_stock = matches!(new, OrderStatus::InStock | OrderStatus::OutOfStock);
    if old == new || (old.may_become(new) && !by_stock) {
        return Ok(());
    }
    let message = format!("an order that is {old} cannot be made {new}");
    Err(Failure::conflict("TRANSITION_REFUSED", message))
}

/// Moves orders on when something happened to what they depend on. Each time
/// it looks at all the facts there are, so it does not matter in which order, or
/// how often, it hears of them.
struct Saga {
    log: EventLog,
}

impl Events for Saga {
    async fn handle(&self, event: &Head) -> Result<(), Failure> {
        let matters = match event.kind {
            Some(EventType::StockReserved | EventType::StockRefused) => true,
            Some(EventType::Created | EventType::Updated | EventType::Deleted) => {
                event.recorded.topic != Kind::Inventory.name()
            }
            _ => false,
        };
        match event.data["order_id"].as_str() {
            Some(order_id) if matters => {
                self.advance(&Cause::of_event(&event.recorded), order_id).await
            }
            _ => Ok(()),
        }
    }
}

impl Saga {
    async fn advance(&self, cause: &Cause, order_id: &str) -> Result<(), Failure> {
        for _ in 0..MAX_STEPS {
            let head = self.log.head(TOPIC, order_id).await?;
            let Some((head, state)) = head.and_then(|h| h.live().cloned().map(|s| (h, s))) else {
                return Ok(());
            };
            let order: Order = parse(Kind::Order, state)?;
            let Some(next) = self.due(order_id, order.status).await? else {
                return Ok(());
            };
            if !order.status.may_become(next) {
                return Ok(());
            }
            let event = NewEvent {
                // An order takes each step once, whatever made it do so.
                id: derive_id(&["order", order_id, next.name()]),
                kind: EventType::Updated.into(),
                subject: order_id.to_owned(),
                data: to_json(order_id, &Order { status: next, ..order }),
            };
            let expect = vec![Expect::head(order_id, Some(&head))];
            // Done by this or by another: either way the next step is looked at.
            self.log.append(TOPIC, cause, vec![event], expect).await?;
        }
        Err(Failure::Transient("the order changes too quickly".to_owned()))
    }

    /// Where the facts say that an order of this status goes.
    async fn due(
        &self,
        order_id: &str,
        status: OrderStatus,
    ) -> Result<Option<OrderStatus>, Failure> {
        Ok(match status {
            OrderStatus::Created => {
                let subject = reservation_subject(order_id);
                match self.fact(Kind::Inventory, &subject).await?.and_then(|head| head.kind) {
                    Some(EventType::StockReserved) => Some(OrderStatus::InStock),
                    Some(EventType::StockRefused) => Some(OrderStatus::OutOfStock),
                    _ => None,
                }
            }
            OrderStatus::InStock => {
                let billed = self.fact(Kind::Billing, &billing::id(order_id)).await?;
                billed.map(|_| OrderStatus::Cleared)
            }
            OrderStatus::Cleared => {
                if self.fact(Kind::Shipping, &shipping::id(order_id)).await?.is_some() {
                    return Ok(Some(OrderStatus::Shipped));
                }
                let billed = self.fact(Kind::Billing, &billing::id(order_id)).await?;
                billed
                    .filter(|head| head.kind == Some(EventType::Deleted))
                    .map(|_| OrderStatus::Uncleared)
            }
            OrderStatus::Shipped => {
                let shipping: Option<Shipping> = load(&self.log, &shipping::id(order_id)).await?;
                shipping.and_then(|shipping| shipping.delivered).map(|_| OrderStatus::Delivered)
            }
            OrderStatus::OutOfStock | OrderStatus::Uncleared | OrderStatus::Delivered => None,
        })
    }

    async fn fact(&self, kind: Kind, subject: &str) -> Result<Option<Head>, Failure> {
        self.log.head(kind.name(), subject).await
    }
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(TOPIC);
    for kind in [Kind::Inventory, Kind::Billing, Kind::Shipping] {
        service.events(kind.name(), Saga { log: log.clone() });
    }
    service.commands(EntityCommands { log: log.clone(), rules: Orders { log } });
    service.run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_ask_for_stock_or_for_what_the_diagram_does_not_have() {
        use OrderStatus::{Cleared, Created, Delivered, InStock, OutOfStock, Shipped};
        for (old, new) in [(InStock, InStock), (InStock, Cleared), (Shipped, Delivered)] {
            assert!(check_transition(old, new).is_ok(), "{old} to {new}");
        }
        for (old, new) in
            [(Created, InStock), (Created, OutOfStock), (Created, Shipped), (Delivered, Created)]
        {
            assert!(check_transition(old, new).unwrap_err().is_refusal(), "{old} to {new}");
        }
    }
}
