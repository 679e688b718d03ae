//! shipping-service: what is on its way to customers. An order that was paid is
//! sent by itself.

use serde_json::{Map, Number, Value};

use super::entities::{EntityCommands, Rules};
use super::{load, parse, settled_order, unchanged};
use crate::model::{Billing, EventType, Kind, Order, OrderStatus, Shipping, Violation, to_json};
use crate::service::{
    Appended, Cause, EventLog, Events, Expect, Failure, Head, NewEvent, Service, derive_id,
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

/// Sends what was paid: an order that is CLEARED, because of its billing. Events of
/// one order come in order, so that one whose payment was taken back meanwhile is
/// recalled after it was sent, never before.
struct Orders {
    log: EventLog,
}

impl Events for Orders {
    async fn handle(&self, event: &Head) -> Result<(), Failure> {
        if event.kind != Some(EventType::Updated) {
            return Ok(());
        }
        let order: Order = parse(Kind::Order, event.data.clone())?;
        match order.status {
            OrderStatus::Cleared => self.send(event).await,
            OrderStatus::Uncleared => self.recall(event).await,
            _ => Ok(()),
        }
    }
}

impl Orders {
    async fn send(&self, cleared: &Head) -> Result<(), Failure> {
        let order_id = cleared.subject();
        let billing: Option<Billing> = load(&self.log, &super::billing::id(order_id)).await?;
        if billing.is_none() {
            // Cleared by hand, or the payment was taken back since.
            return Ok(());
        }
        let id = id(order_id);
        let shipping = Shipping { order_id: order_id.to_owned(), delivered: None };
        let data = to_json(&id, &shipping);
        let step = derive_id(&["send", order_id]);
        let shipping = NewEvent::new(step, EventType::Created, &id, data);
        // On conflict it is sent already.
        let expect = vec![Expect::Nothing(id)];
        let (topic, cause) = (Kind::Shipping.name(), cleared.cause());
        self.log.append(topic, &cause, vec![shipping], expect).await.map(|_| ())
    }

    async fn recall(&self, uncleared: &Head) -> Result<(), Failure> {
        let (topic, id) = (Kind::Shipping.name(), id(uncleared.subject()));
        loop {
            let head = self.log.head(topic, &id).await?;
            let Some(state) = head.as_ref().and_then(Head::live).cloned() else {
                return Ok(());
            };
            let step = derive_id(&["recall", uncleared.subject()]);
            let back = NewEvent::new(step, EventType::Deleted, &id, state);
            let expect = vec![Expect::head(&id, head.as_ref())];
            if let Appended::Done(_) =
                self.log.append(topic, &uncleared.cause(), vec![back], expect).await?
            {
                return Ok(());
            }
        }
    }
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(Kind::Shipping.name());
    service.events(Kind::Order.name(), Orders { log: log.clone() });
    service.commands(EntityCommands { log: log.clone(), rules: Shippings { log } });
    service.run().await
}
