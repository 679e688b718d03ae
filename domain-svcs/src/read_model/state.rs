//! The shop as all events tell it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{EventType, Kind, MAIL_TOPIC, OrderStatus};
use crate::service::{Head, Items, Position, Projection, Snapshots, seconds};

/// Entities of a kind, in the order in which they were created.
#[derive(Debug, Default)]
pub(super) struct Table {
    created: HashMap<String, Position>,
    rows: BTreeMap<Position, Value>,
}

impl Table {
    fn put(&mut self, id: String, position: Position, entity: Value) {
        let created = *self.created.entry(id).or_insert(position);
        self.rows.insert(created, entity);
    }

    fn remove(&mut self, id: &str) {
        if let Some(created) = self.created.remove(id) {
            self.rows.remove(&created);
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Value> {
        self.rows.get(self.created.get(id)?)
    }

    /// Those created after a position.
    pub(super) fn after(
        &self,
        position: Option<Position>,
    ) -> impl Iterator<Item = (Position, &Value)> {
        let from = position.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.rows.range((from, std::ops::Bound::Unbounded)).map(|(at, entity)| (*at, entity))
    }
}

/// All entities and all mails.
#[derive(Debug, Default)]
pub(super) struct Shop {
    entities: HashMap<Kind, Table>,
    mails: Table,
    /// Orders that have a billing, and those that have a shipping.
    billed: HashMap<String, String>,
    shipped: HashMap<String, String>,
    empty: Table,
}

impl Projection for Shop {
    fn apply(&mut self, event: &Head) {
        let subject = event.recorded.event.as_ref().and_then(|event| event.subject.clone());
        let (Some(subject), Some(position)) = (subject, event.position) else {
            return;
        };
        if event.recorded.topic == MAIL_TOPIC {
            let mut mail = event.data.clone();
            if let Some(mail) = mail.as_object_mut() {
                mail.insert(
                    "sent".to_owned(),
                    json!(event.recorded.recorded_at.as_ref().map(seconds)),
                );
            }
            self.mails.put(subject, position, mail);
            return;
        }
        let Some(kind) = Kind::named(&event.recorded.topic) else {
            return;
        };
        match event.kind {
            Some(EventType::Created | EventType::Updated) => {
                self.link(kind, &subject, &event.data);
                self.entities.entry(kind).or_default().put(subject, position, event.data.clone());
            }
            Some(EventType::Deleted) => {
                self.unlink(kind, &event.data);
                if let Some(table) = self.entities.get_mut(&kind) {
                    table.remove(&subject);
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// One row of a table, as a snapshot has it.
#[derive(Deserialize, Serialize)]
struct Row<T, V> {
    /// The topic of what it is.
    topic: T,
    id: T,
    created: Position,
    entity: V,
}

impl Snapshots for Shop {
    const VERSION: u32 = 1;

    fn save(&self, items: &mut Items) {
        let tables = self.entities.iter().map(|(kind, table)| (kind.name(), table));
        for (topic, table) in tables.chain([(MAIL_TOPIC, &self.mails)]) {
            for (id, created) in &table.created {
                if let Some(entity) = table.rows.get(created) {
                    items.put(&Row { topic, id, created: *created, entity });
                }
            }
        }
    }

    fn restore(&mut self, item: &[u8]) -> Result<(), serde_json::Error> {
        let Row { topic, id, created, entity } =
            serde_json::from_slice::<Row<String, Value>>(item)?;
        match Kind::named(&topic) {
            Some(kind) => {
                self.link(kind, &id, &entity);
                self.entities.entry(kind).or_default().put(id, created, entity);
            }
            None => self.mails.put(id, created, entity),
        }
        Ok(())
    }
}

impl Shop {
    fn links(&mut self, kind: Kind) -> Option<&mut HashMap<String, String>> {
        match kind {
            Kind::Billing => Some(&mut self.billed),
            Kind::Shipping => Some(&mut self.shipped),
            _ => None,
        }
    }

    fn link(&mut self, kind: Kind, id: &str, entity: &Value) {
        if let (Some(links), Some(order_id)) = (self.links(kind), entity["order_id"].as_str()) {
            links.insert(order_id.to_owned(), id.to_owned());
        }
    }

    fn unlink(&mut self, kind: Kind, entity: &Value) {
        if let (Some(links), Some(order_id)) = (self.links(kind), entity["order_id"].as_str()) {
            links.remove(order_id);
        }
    }

    pub(super) fn table(&self, kind: Kind) -> &Table {
        self.entities.get(&kind).unwrap_or(&self.empty)
    }

    pub(super) fn mails(&self) -> &Table {
        &self.mails
    }

    /// Whether an order still waits for its payment: it has no billing, and may get one.
    pub(super) fn is_unbilled(&self, order: &Value) -> bool {
        let waits = [OrderStatus::Created, OrderStatus::InStock]
            .iter()
            .any(|status| order["status"] == status.name());
        waits && order["entity_id"].as_str().is_none_or(|id| !self.billed.contains_key(id))
    }

    /// Whether an order still waits for being sent: it has no shipping, and may get one.
    pub(super) fn is_unshipped(&self, order: &Value) -> bool {
        let waits = [OrderStatus::Created, OrderStatus::InStock, OrderStatus::Cleared]
            .iter()
            .any(|status| order["status"] == status.name());
        waits && order["entity_id"].as_str().is_none_or(|id| !self.shipped.contains_key(id))
    }
}

#[cfg(test)]
mod tests {
    use proto::eventstore::v1 as es;

    use super::*;
    use crate::service::head;

    fn event(topic: &str, n: u64, kind: EventType, subject: &str, data: &Value) -> Head {
        head(es::RecordedEvent {
            topic: topic.to_owned(),
            position: format!("{n}-0"),
            sequence: n,
            event: Some(es::Event {
                r#type: kind.name().to_owned(),
                subject: Some(subject.to_owned()),
                data: Some(es::event::Data::TextData(data.to_string())),
                ..es::Event::default()
            }),
            ..es::RecordedEvent::default()
        })
    }

    fn order(id: &str, status: &str) -> Value {
        json!({ "entity_id": id, "cart_id": "c", "status": status })
    }

    #[test]
    fn entities_come_in_the_order_of_their_creation_and_leave() {
        let mut shop = Shop::default();
        for (n, kind, id, status) in [
            (1, EventType::Created, "b", "CREATED"),
            (2, EventType::Created, "a", "CREATED"),
            (3, EventType::Updated, "b", "IN_STOCK"),
            (4, EventType::Created, "c", "CREATED"),
            (5, EventType::Deleted, "a", "CREATED"),
        ] {
            shop.apply(&event("order", n, kind, id, &order(id, status)));
        }
        let orders: Vec<_> = shop.table(Kind::Order).after(None).map(|(_, o)| o.clone()).collect();
        assert_eq!(orders, [order("b", "IN_STOCK"), order("c", "CREATED")]);
        assert!(shop.table(Kind::Order).get("a").is_none());
        assert_eq!(shop.table(Kind::Order).after("1-0".parse().ok()).count(), 1);
    }

    #[test]
    fn an_order_waits_for_payment_and_shipping_until_it_has_them() {
        let mut shop = Shop::default();
        let in_stock = order("o", "IN_STOCK");
        assert!(shop.is_unbilled(&in_stock) && shop.is_unshipped(&in_stock));
        assert!(!shop.is_unbilled(&order("o", "OUT_OF_STOCK")));
        let paid = json!({ "entity_id": "x", "order_id": "o", "amount": 1 });
        shop.apply(&event("billing", 1, EventType::Created, "x", &paid));
        assert!(!shop.is_unbilled(&in_stock));
        let cleared = order("o", "CLEARED");
        assert!(shop.is_unshipped(&cleared));
        let sent = json!({ "entity_id": "y", "order_id": "o", "delivered": null });
        shop.apply(&event("shipping", 1, EventType::Created, "y", &sent));
        assert!(!shop.is_unshipped(&cleared));
        shop.apply(&event("billing", 2, EventType::Deleted, "x", &paid));
        assert!(shop.is_unbilled(&in_stock));
    }
}
