//! A walk through the whole shop over REST: what `shop-demo` plays and what the
//! system tests assert. It watches for the states that it expects, counts
//! relative to what was there before, and can be repeated and scaled.

mod client;

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

pub use client::{Client, ScenarioError};

use crate::model::OrderStatus;

/// Orders of one round; a scenario of scale n has n rounds side by side.
const ROUND: usize = 10;
/// Pieces of each product.
const STOCK: u64 = 100;
/// The order of a round that is deleted, and the one that is paid.
const DELETED: usize = 2;
const PAID: usize = 0;
/// Requests that are under way at once.
const AT_ONCE: usize = 8;

/// What to play.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the gateway is.
    pub url: String,
    /// How many rounds of ten orders.
    pub scale: usize,
    /// How long to wait for any one state, and to try any one request.
    pub patience: Duration,
    /// Whether to wait for the mails.
    pub mails: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:5000".to_owned(),
            scale: 1,
            patience: Duration::from_secs(30),
            mails: true,
        }
    }
}

/// What a scenario made, for whoever looks closer.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// Ids of what was created, in the order of creation.
    pub products: Vec<String>,
    /// Customers.
    pub customers: Vec<String>,
    /// Inventories, one for each product.
    pub inventories: Vec<String>,
    /// Carts, one for each customer.
    pub carts: Vec<String>,
    /// Orders, one for each cart; the deleted ones too.
    pub orders: Vec<String>,
    /// How many mails it takes: 22 a round.
    pub mails: usize,
}

/// What was there before.
#[derive(Clone, Copy, Debug)]
struct Before {
    unbilled: usize,
    unshipped: usize,
    delivered: usize,
    mails: usize,
}

/// Plays the scenario. `progress` is told each step that was done.
///
/// # Errors
/// The step that did not go as it should, and why.
pub async fn play(
    options: &Options,
    mut progress: impl FnMut(&str),
) -> Result<Played, ScenarioError> {
    let start = Instant::now();
    let scenario = Scenario::new(options)?;
    let before = scenario.before().await?;
    let n = options.scale * ROUND;
    let mut played = Played { mails: options.scale * 22, ..Played::default() };

    played.products = scenario.create("product", n, product).await?;
    progress(&format!("{n} products"));
    played.customers = scenario.create("customer", n, customer).await?;
    progress(&format!("{n} customers"));
    let inventory = |i: usize| json!({ "product_id": played.products[i], "amount": STOCK });
    played.inventories = scenario.create("inventory", n, inventory).await?;
    progress(&format!("stock of {STOCK} of each product"));

    let cart = |i: usize| json!({ "customer_id": played.customers[i], "product_ids": products(&played, i, false) });
    played.carts = scenario.create("cart", n, cart).await?;
    progress(&format!("{n} carts of 1 to {ROUND} products"));
    scenario
        .each(rounds(n, PAID), |i| {
            let change = json!({ "product_ids": products(&played, i, true) });
            scenario.put(format!("/cart/{}", played.carts[i]), change)
        })
        .await?;
    progress("the first cart changed");

    let order = |i: usize| json!({ "cart_id": played.carts[i] });
    played.orders = scenario.create("order", n, order).await?;
    scenario.watch_statuses(&played.orders, "IN_STOCK").await?;
    progress(&format!("{n} orders, all in stock"));

    scenario
        .each(rounds(n, DELETED), |i| scenario.delete(format!("/order/{}", played.orders[i])))
        .await?;
    progress("the third order deleted");

    let paid: Vec<_> = rounds(n, PAID).collect();
    scenario.each(paid.iter().copied(), |i| scenario.pay(&played, i)).await?;
    progress("the first order paid (the wrong amount was refused)");
    let expected = before.unbilled + 8 * options.scale;
    scenario.watch_count("/orders/unbilled", expected).await?;
    progress(&format!("{} orders unbilled", 8 * options.scale));

    scenario.each(paid.iter().copied(), |i| scenario.confirm(&played.orders[i])).await?;
    progress("the shipping confirmed");
    let expected = before.unshipped + 8 * options.scale;
    scenario.watch_count("/orders/unshipped", expected).await?;
    progress(&format!("{} orders unshipped", 8 * options.scale));
    let expected = before.delivered + options.scale;
    scenario.watch_count("/orders/delivered", expected).await?;
    let delivered: Vec<_> = paid.iter().map(|i| played.orders[*i].clone()).collect();
    scenario.watch_statuses(&delivered, "DELIVERED").await?;
    progress(&format!("{} orders delivered", options.scale));

    scenario.each(0..n, |i| scenario.watch_stock(&played, i)).await?;
    progress("the stock adds up");
    if options.mails {
        scenario.watch_count("/mails/sent", before.mails + played.mails).await?;
        progress(&format!("{} mails sent", played.mails));
    }
    progress(&format!("done in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(played)
}

/// The places of a kind of order in all rounds.
fn rounds(n: usize, place: usize) -> impl Iterator<Item = usize> {
    (place..n).step_by(ROUND)
}

fn product(i: usize) -> Value {
    json!({ "name": format!("Product {i}"), "price": price(i) })
}

fn customer(i: usize) -> Value {
    json!({ "name": format!("Customer {i}"), "email": format!("customer{i}@example.com") })
}

fn price(i: usize) -> usize {
    (i % ROUND + 1) * 10
}

/// The places of the products in a cart: 1 to 10 of its round; the changed cart
/// has its second product more.
fn places(i: usize, changed: bool) -> Vec<usize> {
    let first = i - i % ROUND;
    let mut places: Vec<_> = (first..=i).collect();
    if changed {
        places.push(first + 1);
    }
    places
}

fn products(played: &Played, i: usize, changed: bool) -> Vec<&str> {
    places(i, changed).into_iter().map(|place| played.products[place].as_str()).collect()
}

fn is_changed(i: usize) -> bool {
    i % ROUND == PAID
}

/// Pieces of a product that are in orders which were not deleted.
fn ordered(i: usize) -> u64 {
    let first = i - i % ROUND;
    (first..first + ROUND)
        .filter(|order| order % ROUND != DELETED)
        .flat_map(|order| places(order, is_changed(order)))
        .filter(|place| *place == i)
        .fold(0, |pieces, _| pieces + 1)
}

/// What a scenario leaves behind, for whoever looks closer than over REST.
impl Played {
    /// Pieces that are left of each product.
    #[must_use]
    pub fn stock(&self) -> Vec<u64> {
        (0..self.products.len()).map(|i| STOCK - ordered(i)).collect()
    }

    /// How far the order at a place gets; none for one that is deleted.
    #[must_use]
    pub fn status(place: usize) -> Option<OrderStatus> {
        match place % ROUND {
            DELETED => None,
            PAID => Some(OrderStatus::Delivered),
            _ => Some(OrderStatus::InStock),
        }
    }
}

struct Scenario {
    client: Client,
}

impl Scenario {
    fn new(options: &Options) -> Result<Self, ScenarioError> {
        Ok(Self { client: Client::new(&options.url, options.patience)? })
    }

    async fn before(&self) -> Result<Before, ScenarioError> {
        let (unbilled, unshipped, delivered, mails) = futures::try_join!(
            self.count("/orders/unbilled"),
            self.count("/orders/unshipped"),
            self.count("/orders/delivered"),
            self.count("/mails/sent"),
        )?;
        Ok(Before { unbilled, unshipped, delivered, mails })
    }

    async fn count(&self, path: &str) -> Result<usize, ScenarioError> {
        Ok(client::length(&self.client.get(path).await?))
    }

    async fn watch_count(&self, path: &str, expected: usize) -> Result<(), ScenarioError> {
        let wanted = format!("{expected} entries");
        self.client
            .watch(path, &wanted, |result| client::length(result) == expected)
            .await
            .map(|_| ())
    }

    /// Requests for each place, several at once, in their order.
    async fn each<T, F: Future<Output = Result<T, ScenarioError>>>(
        &self,
        places: impl Iterator<Item = usize>,
        request: impl Fn(usize) -> F,
    ) -> Result<Vec<T>, ScenarioError> {
        stream::iter(places.map(request)).buffered(AT_ONCE).try_collect().await
    }

    async fn create(
        &self,
        kind: &str,
        n: usize,
        entity: impl Fn(usize) -> Value,
    ) -> Result<Vec<String>, ScenarioError> {
        self.each(0..n, |i| {
            let (path, body) = (format!("/{kind}"), entity(i));
            async move {
                let ids = self.client.post(&path, &body).await?;
                ids[0].as_str().map(str::to_owned).ok_or_else(|| {
                    ScenarioError::unexpected(&format!("POST {path}"), "a list of ids", &ids)
                })
            }
        })
        .await
    }

    async fn put(&self, path: String, body: Value) -> Result<Value, ScenarioError> {
        self.client.put(&path, &body).await
    }

    async fn delete(&self, path: String) -> Result<Value, ScenarioError> {
        self.client.delete(&path).await
    }

    async fn watch_statuses(&self, orders: &[String], status: &str) -> Result<(), ScenarioError> {
        self.each(0..orders.len(), |i| {
            let path = format!("/order/{}", orders[i]);
            async move { self.client.watch(&path, status, |order| order["status"] == status).await }
        })
        .await
        .map(|_| ())
    }

    async fn pay(&self, played: &Played, i: usize) -> Result<(), ScenarioError> {
        let order_id = &played.orders[i];
        let sum: usize = places(i, is_changed(i)).into_iter().map(price).sum();
        let wrong = json!({ "order_id": order_id, "amount": sum + 1 });
        self.client.refused("/billing", &wrong).await?;
        let right = json!({ "order_id": order_id, "amount": sum });
        self.client.post("/billing", &right).await.map(|_| ())
    }

    /// Waits for the shipping of an order, and says that it arrived.
    async fn confirm(&self, order_id: &str) -> Result<(), ScenarioError> {
        let of_order = |shippings: &Value| {
            let mut all = shippings.as_array().into_iter().flatten();
            all.find(|shipping| shipping["order_id"] == order_id)
                .and_then(|shipping| Some(shipping["entity_id"].as_str()?.to_owned()))
        };
        let wanted = format!("a shipping of order {order_id}");
        let shippings =
            self.client.watch("/shippings", &wanted, |list| of_order(list).is_some()).await?;
        let id = of_order(&shippings).unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let delivered = json!({ "delivered": now.map_or(1, |since| since.as_secs()) });
        self.client.put(&format!("/shipping/{id}"), &delivered).await.map(|_| ())
    }

    async fn watch_stock(&self, played: &Played, i: usize) -> Result<(), ScenarioError> {
        let path = format!("/inventory/{}", played.inventories[i]);
        let left = STOCK - ordered(i);
        let wanted = format!("{left} pieces");
        self.client.watch(&path, &wanted, |inventory| inventory["amount"] == left).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carts_have_one_to_ten_products_of_their_round() {
        assert_eq!(places(0, false), [0]);
        assert_eq!(places(0, true), [0, 1]);
        assert_eq!(places(19, false), (10..20).collect::<Vec<_>>());
        // The first product is in all ten carts, one of which is deleted.
        assert_eq!(ordered(0), 9);
        // The second is not in the first cart until that is changed.
        assert_eq!(ordered(1), 9);
        assert_eq!(ordered(19), 1);
        assert_eq!(rounds(20, DELETED).collect::<Vec<_>>(), [2, 12]);
    }
}
