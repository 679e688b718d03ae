//! inventory-service: how much of each product there is. Takes what is ordered
//! out of stock, and puts back what is ordered no longer.
//!
//! What was decided about an order is an event of its own subject in the topic
//! of the inventories, appended together with their changes: one append, all or
//! nothing, so whoever handles the order again finds it decided.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde_json::json;
use tokio::sync::Mutex;

use super::entities::{EntityCommands, Rules};
use super::stock::{counted, inventory_id, items, reservation_subject, take};
use super::{load, load_last, parse, unchanged};
use crate::model::{Cart, EventType, Inventory, Kind, Order, OrderStatus, Product, to_json};
use crate::service::{
    Appended, Cause, EventLog, Events, Expect, Failure, Head, NewEvent, Service, derive_id,
};

const TOPIC: &str = "inventory";
/// How often a decision is made anew because stock changed meanwhile. More than
/// replicas that could plausibly run; beyond it the event is tried again later.
const MAX_CONFLICTS: usize = 200;

struct Inventories {
    log: EventLog,
}

impl Rules for Inventories {
    type Entity = Inventory;

    fn id(&self, inventory: &Inventory, _cause: &Cause, _index: usize) -> String {
        inventory_id(&inventory.product_id)
    }

    async fn check_new(&self, inventory: &Inventory) -> Result<(), Failure> {
        let id = &inventory.product_id;
        match load::<Product>(&self.log, id).await? {
            Some(_) => Ok(()),
            None => Err(Failure::dangling("product_id", Kind::Product.name(), id)),
        }
    }

    async fn check_change(&self, _: &str, old: &Inventory, new: &Inventory) -> Result<(), Failure> {
        unchanged("product_id", &old.product_id, &new.product_id)
    }
}

/// An inventory as last read.
struct Shelf {
    head: Head,
    inventory: Inventory,
}

struct Orders {
    log: EventLog,
    /// One decision at a time in this process: orders for the same product
    /// would only make each other decide anew. Replicas still may.
    deciding: Mutex<()>,
}

impl Events for Orders {
    async fn handle(&self, event: &Head) -> Result<(), Failure> {
        let cause = Cause::of_event(&event.recorded);
        let Some(order_id) = event.recorded.event.as_ref().and_then(|e| e.subject.clone()) else {
            return Ok(());
        };
        match event.kind {
            Some(EventType::Created) => {
                let order: Order = parse(Kind::Order, event.data.clone())?;
                self.reserve(&cause, &order_id, &order).await
            }
            Some(EventType::Deleted) => {
                let order: Order = parse(Kind::Order, event.data.clone())?;
                match order.status {
                    // Not paid for, or not any more.
                    OrderStatus::Created | OrderStatus::InStock | OrderStatus::Uncleared => {
                        self.release(&cause, &order_id).await
                    }
                    // It has none, or it is on its way, or soon is.
                    OrderStatus::OutOfStock
                    | OrderStatus::Cleared
                    | OrderStatus::Shipped
                    | OrderStatus::Delivered => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl Orders {
    async fn reserve(&self, cause: &Cause, order_id: &str, order: &Order) -> Result<(), Failure> {
        let subject = reservation_subject(order_id);
        let product_ids = load_last::<Cart>(&self.log, &order.cart_id)
            .await?
            .map_or_else(Vec::new, |cart| cart.product_ids);
        let wanted = counted(&product_ids);
        let _deciding = self.deciding.lock().await;
        for _ in 0..MAX_CONFLICTS {
            let (decided, shelves) = futures::try_join!(
                self.log.head(TOPIC, &subject),
                self.shelves(wanted.keys().copied()),
            )?;
            if decided.is_some() {
                return Ok(());
            }
            let stock = shelves.iter().map(|(id, shelf)| (*id, shelf.inventory.clone())).collect();
            let left = take(&wanted, &stock).filter(|left| !left.is_empty());
            let kind =
                if left.is_some() { EventType::StockReserved } else { EventType::StockRefused };
            let changes = left.unwrap_or_default();
            let decision = NewEvent {
                id: derive_id(&["decide stock", order_id]),
                kind: kind.into(),
                subject: subject.clone(),
                data: json!({ "order_id": order_id, "items": wanted }),
            };
            let expect = Expect::Nothing(subject.clone());
            let step = ["reserve", order_id];
            if self.append(cause, decision, expect, step, &shelves, changes).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn release(&self, cause: &Cause, order_id: &str) -> Result<(), Failure> {
        let subject = reservation_subject(order_id);
        let _deciding = self.deciding.lock().await;
        for _ in 0..MAX_CONFLICTS {
            let decided = self.log.head(TOPIC, &subject).await?;
            let items: BTreeMap<String, u64> = match decided.as_ref().map(|head| head.kind) {
                // Its creation was not looked at yet: then it takes nothing.
                None => BTreeMap::new(),
                Some(Some(EventType::StockReserved)) => {
                    decided.as_ref().map(items).unwrap_or_default()
                }
                Some(_) => return Ok(()),
            };
            let shelves = self.shelves(items.keys().map(String::as_str)).await?;
            let changes = shelves
                .iter()
                .map(|(id, shelf)| Inventory {
                    amount: shelf.inventory.amount + items.get(*id).copied().unwrap_or_default(),
                    ..shelf.inventory.clone()
                })
                .collect();
            let back = NewEvent {
                id: derive_id(&["give stock back", order_id]),
                kind: match decided {
                    Some(_) => EventType::StockReleased.into(),
                    None => EventType::StockRefused.into(),
                },
                subject: subject.clone(),
                data: json!({ "order_id": order_id, "items": items }),
            };
            let expect = Expect::head(&subject, decided.as_ref());
            let step = ["release", order_id];
            if self.append(cause, back, expect, step, &shelves, changes).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// The inventories of products; those that have none are left out.
    async fn shelves<'a>(
        &self,
        product_ids: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<&'a str, Shelf>, Failure> {
        let reads = product_ids.map(|product_id| async move {
            let Some(head) = self.log.head(TOPIC, &inventory_id(product_id)).await? else {
                return Ok(None);
            };
            let Some(state) = head.live().cloned() else {
                return Ok(None);
            };
            let inventory = parse(Kind::Inventory, state)?;
            Ok::<_, Failure>(Some((product_id, Shelf { head, inventory })))
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// Appends a decision with the changes that follow from it. False if what it
    /// was decided on has changed.
    async fn append(
        &self,
        cause: &Cause,
        decision: NewEvent,
        expect: Expect,
        step: [&str; 2],
        shelves: &BTreeMap<&str, Shelf>,
        changes: Vec<Inventory>,
    ) -> Result<bool, Failure> {
        let mut events = vec![decision];
        let mut expectations = vec![expect];
        for inventory in changes {
            let id = inventory_id(&inventory.product_id);
            let head = shelves.get(inventory.product_id.as_str()).map(|shelf| &shelf.head);
            expectations.push(Expect::head(&id, head));
            events.push(NewEvent {
                id: derive_id(&[step[0], step[1], &inventory.product_id]),
                kind: EventType::Updated.into(),
                data: to_json(&id, &inventory),
                subject: id,
            });
        }
        let appended = self.log.append(TOPIC, cause, events, expectations).await?;
        Ok(matches!(appended, Appended::Done(_)))
    }
}

fn contended() -> Failure {
    Failure::Transient("the stock changes too quickly".to_owned())
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(TOPIC);
    service.commands(EntityCommands { log: log.clone(), rules: Inventories { log: log.clone() } });
    service.events(Kind::Order.name(), Orders { log, deciding: Mutex::new(()) });
    service.run().await
}
