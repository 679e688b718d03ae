//! Replicas of every service side by side: two inventories, and 500 orders that race for 100
//! pieces. Exactly those that fit get them, and what is deleted goes back once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking; figures are printed"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system_tests::quiet;
use system_tests::rest::Rest;
use system_tests::system::System;
use system_tests::topology::WORKERS;
use system_tests::watch;

const PATIENCE: Duration = Duration::from_secs(60);
const ORDERS: usize = 500;
const PIECES: u64 = 100;

async fn post(rest: &Rest, path: &str, body: &Value) -> Value {
    let (status, mut answer) = rest.send(Method::POST, path, Some(body.to_string())).await.unwrap();
    assert!(status.is_success(), "POST {path}: {status} {answer}");
    answer["result"].take()
}

async fn create(rest: &Rest, kind: &str, entity: &Value) -> String {
    post(rest, &format!("/{kind}"), entity).await[0].as_str().unwrap().to_owned()
}

/// A product of which there are so many pieces, and a cart for each wanted number of them.
async fn shelf(rest: &Rest, wanted: &[usize]) -> (String, Vec<String>) {
    let product = create(rest, "product", &json!({ "name": "rare", "price": 1 })).await;
    let stock = json!({ "product_id": product, "amount": PIECES });
    let inventory = create(rest, "inventory", &stock).await;
    let customer = json!({ "name": "Ann", "email": "ann@example.com" });
    let customer = create(rest, "customer", &customer).await;
    let mut carts = Vec::new();
    for pieces in wanted {
        let products = vec![product.clone(); *pieces];
        let cart = json!({ "customer_id": customer, "product_ids": products });
        carts.push(create(rest, "cart", &cart).await);
    }
    (inventory, carts)
}

/// Sends so many orders for these carts, by turns, in several messages at once; answers them once
/// all are decided.
async fn order(system: &System, carts: &[String]) -> Vec<Value> {
    let rest = system.rest().unwrap();
    let orders: Vec<_> =
        (0..ORDERS).map(|i| json!({ "cart_id": carts[i % carts.len()] })).collect();
    let sends = orders.chunks(10).map(|some| {
        let (rest, body) = (&rest, json!(some));
        async move { post(rest, "/orders", &body).await }
    });
    join_all(sends).await;
    watch::until("all orders to be decided", PATIENCE, || async {
        let list = rest.get("/orders").await?;
        let list: Vec<_> = list.as_array().unwrap().clone();
        let decided = list.iter().filter(|order| order["status"] != "CREATED").count();
        let mine = |order: &&Value| carts.iter().any(|cart| order["cart_id"] == *cart);
        anyhow::ensure!(decided == list.len(), "{decided} of {}", list.len());
        let mine: Vec<_> = list.iter().filter(mine).cloned().collect();
        anyhow::ensure!(mine.len() == ORDERS, "{} of {ORDERS} are there", mine.len());
        Ok(mine)
    })
    .await
    .unwrap()
}

async fn amount(rest: &Rest, inventory: &str) -> u64 {
    rest.get(&format!("/inventory/{inventory}")).await.unwrap()["amount"].as_u64().unwrap()
}

#[tokio::test]
async fn exactly_the_orders_that_fit_get_their_pieces_and_give_them_back_once() {
    let mut system = System::shop().await.unwrap();
    for name in WORKERS {
        system.add_replica(name).await.unwrap();
    }
    let rest = system.rest().unwrap();

    // One piece each: a hundred fit.
    let (inventory, carts) = shelf(&rest, &[1]).await;
    let start = Instant::now();
    let orders = order(&system, &carts).await;
    let in_stock: Vec<_> = orders.iter().filter(|order| order["status"] == "IN_STOCK").collect();
    let refused = orders.iter().filter(|order| order["status"] == "OUT_OF_STOCK").count();
    eprintln!("{ORDERS} orders decided by two inventories in {:.1?}", start.elapsed());
    assert_eq!((in_stock.len(), refused), (100, ORDERS - 100));
    assert_eq!(amount(&rest, &inventory).await, 0);

    // Each of them is deleted twice at once: its piece goes back once.
    let deletes = in_stock.iter().take(40).flat_map(|order| [*order, *order]).map(|order| {
        let path = format!("/order/{}", order["entity_id"].as_str().unwrap());
        let rest = rest.clone();
        async move { rest.send(Method::DELETE, &path, None).await.unwrap().0 }
    });
    let statuses = join_all(deletes).await;
    let mut counts: BTreeMap<StatusCode, usize> = BTreeMap::new();
    for status in statuses {
        *counts.entry(status).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(StatusCode::OK, 40), (StatusCode::NOT_FOUND, 40)]));
    let clients = system.clients().unwrap();
    watch::until("everything to be done", PATIENCE, || quiet::check(&clients)).await.unwrap();
    assert_eq!(amount(&rest, &inventory).await, 40);

    // One to three pieces each: the set depends on who is first, but nobody who would still fit
    // was refused, and pieces are neither lost nor sold twice.
    let (inventory, carts) = shelf(&rest, &[1, 2, 3]).await;
    let orders = order(&system, &carts).await;
    let pieces =
        |order: &Value| carts.iter().position(|cart| order["cart_id"] == *cart).unwrap() + 1;
    let taken: usize =
        orders.iter().filter(|order| order["status"] == "IN_STOCK").map(pieces).sum();
    let left = amount(&rest, &inventory).await;
    assert_eq!(u64::try_from(taken).unwrap() + left, PIECES);
    let wronged = orders.iter().find(|order| {
        order["status"] == "OUT_OF_STOCK" && u64::try_from(pieces(order)).unwrap() <= left
    });
    assert_eq!(wronged, None, "refused with {left} pieces left");

    // Both replicas took part, otherwise nobody raced.
    let groups = proto::eventstore::v1::GetGroupRequest {
        topic: "order".to_owned(),
        group: "inventory-service".to_owned(),
    };
    let group = clients.groups.clone().get_group(groups).await.unwrap().into_inner().group.unwrap();
    assert_eq!(group.consumers.len(), 2, "{:?}", group.consumers);
}
