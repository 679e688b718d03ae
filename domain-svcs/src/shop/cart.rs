//! cart-service: what customers want to buy. Nothing that is out of stock goes
//! into a cart, and a cart stays as it is once an order for it was looked at.

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::json;

use super::entities::{EntityCommands, Rules};
use super::load;
use super::stock::{counted, inventory_id};
use crate::model::{Cart, Customer, Inventory, Kind, OrderStatus, Product};
use crate::read_model;
use crate::service::{Channel, EventLog, Failure, Positions, RemoteError, Service, call};

/// How long the read model may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(4);

struct Carts {
    log: EventLog,
    message_queue: Channel,
}

impl Rules for Carts {
    type Entity = Cart;

    async fn check_new(&self, cart: &Cart) -> Result<(), Failure> {
        self.check_customer(cart).await?;
        self.check_stock(cart).await
    }

    async fn check_change(&self, id: &str, old: &Cart, new: &Cart) -> Result<(), Failure> {
        if old.customer_id != new.customer_id {
            self.check_customer(new).await?;
        }
        self.check_not_ordered(id).await?;
        self.check_stock(new).await
    }

    async fn check_delete(&self, id: &str, _old: &Cart) -> Result<(), Failure> {
        self.check_not_ordered(id).await
    }
}

impl Carts {
    async fn check_customer(&self, cart: &Cart) -> Result<(), Failure> {
        let id = &cart.customer_id;
        match load::<Customer>(&self.log, id).await? {
            Some(_) => Ok(()),
            None => Err(Failure::dangling("customer_id", Kind::Customer.name(), id)),
        }
    }

    async fn check_stock(&self, cart: &Cart) -> Result<(), Failure> {
        let wanted = counted(&cart.product_ids);
        try_join_all(wanted.into_iter().map(|(product_id, wanted)| async move {
            let inventory = inventory_id(product_id);
            let (product, inventory) = futures::try_join!(
                load::<Product>(&self.log, product_id),
                load::<Inventory>(&self.log, &inventory),
            )?;
            if product.is_none() {
                return Err(Failure::dangling("product_ids", Kind::Product.name(), product_id));
            }
            if inventory.is_none_or(|inventory| inventory.amount < wanted) {
                let message = format!("product {product_id} is out of stock");
                return Err(Failure::conflict("OUT_OF_STOCK", message));
            }
            Ok(())
        }))
        .await
        .map(|_| ())
    }

    /// Orders are found by their cart in the read model, which is asked to have
    /// seen every order that there is by now.
    async fn check_not_ordered(&self, cart_id: &str) -> Result<(), Failure> {
        let end = self.log.end(Kind::Order.name()).await?;
        let positions: Positions =
            end.map(|end| (Kind::Order.name().to_owned(), end)).into_iter().collect();
        let query = json!({
            "name": Kind::Order.name(), "props": { "cart_id": cart_id }, "positions": positions,
        });
        let orders = call(
            self.message_queue.clone(),
            read_model::SERVICE,
            "get_entities",
            &query,
            std::collections::BTreeMap::new(),
            QUERY_TIMEOUT,
        )
        .await
        .map_err(|error: RemoteError| Failure::Transient(format!("read-model: {error}")))?;
        let orders = orders.result.as_array().cloned().unwrap_or_default();
        let looked_at = orders
            .iter()
            .find(|order| order["status"].as_str() != Some(OrderStatus::Created.name()));
        match looked_at {
            None => Ok(()),
            Some(order) => {
                let (id, status) = (&order["entity_id"], &order["status"]);
                let message = format!("the cart is ordered: order {id} is {status}");
                Err(Failure::conflict("CART_ORDERED", message.replace('"', "")))
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
    let message_queue = service.clients().message_queue.clone();
    service.owns_topic(Kind::Cart.name());
    service.commands(EntityCommands { log: log.clone(), rules: Carts { log, message_queue } });
    service.run().await
}
