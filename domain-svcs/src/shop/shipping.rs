//! shipping-service: what is on its way to customers. An order that was paid is
//! sent by itself.

use serde_json::{Map, Number, Value};

use super::entities::{EntityCommands, Rules};
use super::{load, parse, settled_order, unchanged};
use crate::model::{Billing, EventType, Kind, Order, OrderStatus, Shipping, Violation, to_json};
use crate::service::{
    Cause, EventLog, Events, Expect, Failure, Head, NewEvent, Service, derive_id,
};

/// The id of the shipping of an order.
pub(super) fn id(order_id: &str) -> String {
    derive_id(&["shipping", order_id])
}

struct Shippings {
    log: EventLog,
}

impl Rules for Shippings {
    type Entity = Shipping;

    fn id(&self, shipping: &Shipping, _cause: &Cause, _index: usize) -> String {
        id(&shipping.order_id)
    }

    /// `true` is a delivery now, that is when the command was sent.
    fn prepare(&self, fields: &mut Map<String, Value>, cause: &Cause) {
        let Some(delivered) = fields.get_mut("delivered") else {
            return;
        };
        match delivered {
            Value::Bool(true) => {
                *delivered = Number::from_f64(cause.seconds()).map_or(Value::Null, Value::Number);
            }
            Value::Bool(false) => *delivered = Value::Null,
            _ => {}
        }
    }

    async fn check_new(&self, shipping: &Shipping) -> Result<(), Failure> {
        let passing = [OrderStatus::Created, OrderStatus::InStock];
        let billed = load::<Billing>(&self.log, &super::billing::id(&shipping.order_id)).await?;
        let passing = if billed.is_some() { &passing[..] } else { &[] };
        let order = settled_order(&self.log, &shipping.order_id, passing).await?;
        if order.status == OrderStatus::Cleared {
            return Ok(());
        }
        let message =
            format!("the order is {}: only one that is CLEARED can be sent", order.status);
        Err(Failure::conflict("ORDER_NOT_CLEARED", message))
    }

    async fn check_change(&self, _: &str, old: &Shipping, new: &Shipping) -> Result<(), Failure> {
        unchanged("order_id", &old.order_id, &new.order_id)?;
        if old.delivered.is_some() && new.delivered.is_none() {
            return Err(Failure::invalid(vec![Violation {
                field: "delivered".to_owned(),
                description: "is set: what arrived has arrived".to_owned(),
            }]));
        }
        Ok(())
    }
}

/// Sends what was paid.
struct Billings {
    log: EventLog,
}

impl Events for Billings {
    async fn handle(&self, event: &Head) -> Result<(), Failure> {
        if event.kind != Some(EventType::Created) {
            return Ok(());
        }
        let billing: Billing = parse(Kind::Billing, event.data.clone())?;
        let order_id = billing.order_id;
        let billing_id = super::billing::id(&order_id);
        let (order, billing) = futures::try_join!(
            load::<Order>(&self.log, &order_id),
            load::<Billing>(&self.log, &billing_id),
        )?;
        if order.is_none() || billing.is_none() {
            // Deleted since then.
            return Ok(());
        }
        let id = id(&order_id);
        let data = to_json(&id, &Shipping { order_id: order_id.clone(), delivered: None });
        let shipping = NewEvent {
            id: derive_id(&["send", &order_id]),
            kind: EventType::Created.into(),
            subject: id.clone(),
            data,
        };
        let cause = Cause::of_event(&event.recorded);
        // On conflict it is sent already.
        self.log
            .append(Kind::Shipping.name(), &cause, vec![shipping], vec![Expect::Nothing(id)])
            .await
            .map(|_| ())
    }
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(Kind::Shipping.name());
    service.events(Kind::Billing.name(), Billings { log: log.clone() });
    service.commands(EntityCommands { log: log.clone(), rules: Shippings { log } });
    service.run().await
}
