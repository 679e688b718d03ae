//! Effects once: every event handled a second time changes nothing, every request made twice is
//! carried out once, and what was paid, taken back or deleted in between ends where it should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use domain_svcs::scenario::{Options, play};
use proto::eventstore::v1::{
    ListGroupsRequest, ListTopicsRequest, ResetGroupRequest, Start, start,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use system_tests::quiet;
use system_tests::system::System;
use system_tests::topology::{GATEWAY, WORKERS};
use system_tests::watch;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client that says which request is which.
struct Rest {
    http: reqwest::Client,
    url: String,
}

impl Rest {
    fn new(system: &System) -> Self {
        Self { http: reqwest::Client::new(), url: system.url(GATEWAY).unwrap() }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn create(&self, kind: &str, entity: &Value) -> String {
        let (status, answer) = self.send(Method::POST, &format!("/{kind}"), "", Some(entity)).await;
        assert_eq!(status, StatusCode::OK, "{kind} {entity}: {answer}");
        answer["result"][0].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Value {
        let (status, mut answer) = self.send(Method::GET, path, "", None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer["result"].take()
    }

    async fn becomes(&self, path: &str, field: &str, value: &Value) {
        let seen = async || {
            let entity = self.get(path).await;
            anyhow::ensure!(entity[field] == *value, "{entity}");
            Ok(())
        };
        watch::until(&format!("{path} to have {field} {value}"), PATIENCE, seen).await.unwrap();
    }
}

/// Products with ten pieces each, and an order of two of them.
struct Ordered {
    inventory: String,
    order: String,
}

async fn order(rest: &Rest) -> Ordered {
    let product = rest.create("product", &json!({ "name": "pen", "price": 3 })).await;
    let stock = json!({ "product_id": product, "amount": 10 });
    let inventory = rest.create("inventory", &stock).await;
    let customer = json!({ "name": "Ann", "email": "ann@example.com" });
    let customer = rest.create("customer", &customer).await;
    let cart = json!({ "customer_id": customer, "product_ids": [product, product] });
    let cart = rest.create("cart", &cart).await;
    let order = rest.create("order", &json!({ "cart_id": cart })).await;
    rest.becomes(&format!("/order/{order}"), "status", &"IN_STOCK".into()).await;
    Ordered { inventory, order }
}

async fn done(system: &System) {
    let clients = system.clients().unwrap();
    watch::until("everything to be done", PATIENCE, || quiet::check(&clients)).await.unwrap();
}

/// How many events each topic has.
async fn events(system: &System) -> BTreeMap<String, u64> {
    let request = ListTopicsRequest { page_size: 100, ..ListTopicsRequest::default() };
    let topics = system.clients().unwrap().topics.list_topics(request).await.unwrap();
    let topics = topics.into_inner().topics.into_iter();
    topics
        .map(|topic| (topic.topic, topic.events))
        .filter(|(name, _)| !name.contains('.'))
        .collect()
}

#[tokio::test]
async fn every_event_handled_a_second_time_changes_nothing() {
    let mut system = System::shop().await.unwrap();
    let options =
        Options { url: system.url(GATEWAY).unwrap(), patience: PATIENCE, ..Options::default() };
    let played = play(&options, |_| {}).await.unwrap();
    done(&system).await;
    let before = (events(&system).await, Rest::new(&system).get("/report").await);
    assert_eq!(before.0["mail"], u64::try_from(played.mails).unwrap());

    // Consumers have to be away for their group to begin anew.
    for name in WORKERS {
        system.kill9(name).await.unwrap();
    }
    let clients = system.clients().unwrap();
    let mut groups = 0;
    for topic in before.0.keys() {
        let request =
            ListGroupsRequest { topic: topic.clone(), page_size: 100, ..Default::default() };
        let list = clients.groups.clone().list_groups(request).await.unwrap().into_inner().groups;
        for group in list {
            let request = ResetGroupRequest {
                topic: topic.clone(),
                group: group.group,
                start: Some(Start { at: Some(start::At::Beginning(())) }),
            };
            clients.groups.clone().reset_group(request).await.unwrap();
            groups += 1;
        }
    }
    assert!(groups >= 9, "{groups} groups");
    for name in WORKERS {
        system.start(name).await.unwrap();
    }
    done(&system).await;
    let after = (events(&system).await, Rest::new(&system).get("/report").await);
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_request_made_twice_is_carried_out_once() {
    let system = System::shop().await.unwrap();
    let rest = Rest::new(&system);
    let pen = json!({ "name": "pen", "price": 3 });
    let ink = json!({ "name": "ink", "price": 3 });
    let post = |body| rest.send(Method::POST, "/product", "a", Some(body));
    // At once, and afterwards.
    let (first, second) = tokio::join!(post(&pen), post(&pen));
    assert_eq!((first.0, &first), (StatusCode::OK, &second));
    assert_eq!(post(&pen).await, first);
    assert_eq!(rest.get("/products").await.as_array().unwrap().len(), 1);
    // The same key for something else is a mistake, and told.
    let (status, answer) = post(&ink).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(answer["error"].as_str().unwrap().contains("idempotency key"), "{answer}");

    let id = first.1["result"][0].as_str().unwrap().to_owned();
    let path = format!("/product/{id}");
    let put = |key, price| {
        let (rest, path, body) = (&rest, &path, json!({ "price": price }));
        async move { rest.send(Method::PUT, path, key, Some(&body)).await }
    };
    assert_eq!(put("b", 4).await.0, StatusCode::OK);
    assert_eq!(put("c", 5).await.0, StatusCode::OK);
    // It comes again, after another change: that stays.
    assert_eq!(put("b", 4).await.0, StatusCode::OK);
    assert_eq!(rest.get(&path).await["price"], 5);
    assert_eq!(put("b", 6).await.0, StatusCode::CONFLICT);

    let delete = |key| rest.send(Method::DELETE, &path, key, None);
    assert_eq!(delete("d").await.0, StatusCode::OK);
    assert_eq!(delete("d").await.0, StatusCode::OK);
    assert_eq!(delete("e").await.0, StatusCode::NOT_FOUND);
    // What is deleted does not come back with a late repeat of its creation.
    assert_eq!(post(&pen).await, first);
    assert_eq!(rest.get(&path).await, Value::Null);
    let (status, answer) = rest.send(Method::GET, "/product/%ff", "", None).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("id: is not UTF-8"))
    );
}

#[tokio::test]
async fn orders_that_are_paid_taken_back_or_deleted_end_where_they_should() {
    let system = System::shop().await.unwrap();
    let rest = Rest::new(&system);
    let amount = |ordered: &Ordered| {
        let path = format!("/inventory/{}", ordered.inventory);
        let rest = &rest;
        async move { rest.get(&path).await["amount"].as_u64().unwrap() }
    };

    // A billing, and its deletion right behind: the order is either shipped, or UNCLEARED and has
    // no shipping that stays.
    let mut outcomes = BTreeMap::new();
    for _ in 0..20 {
        let ordered = order(&rest).await;
        let bill = json!({ "order_id": ordered.order, "amount": 6 });
        let billing = rest.create("billing", &bill).await;
        let (status, _) = rest.send(Method::DELETE, &format!("/billing/{billing}"), "", None).await;
        assert_eq!(status, StatusCode::OK);
        done(&system).await;
        let order = rest.get(&format!("/order/{}", ordered.order)).await;
        let shippings = rest.get("/shippings").await;
        let mut shippings = shippings.as_array().unwrap().iter();
        let shipped = shippings.any(|shipping| shipping["order_id"] == ordered.order);
        let status = order["status"].as_str().unwrap().to_owned();
        assert_eq!(shipped, status == "SHIPPED", "{order}");
        assert!(shipped || status == "UNCLEARED", "{order}");
        assert_eq!(amount(&ordered).await, 8);
        if !shipped {
            let path = format!("/order/{}", ordered.order);
            assert_eq!(rest.send(Method::DELETE, &path, "", None).await.0, StatusCode::OK);
            done(&system).await;
            assert_eq!(amount(&ordered).await, 10, "what was not paid for goes back");
        }
        *outcomes.entry(status).or_insert(0) += 1;
    }

    // A billing and the deletion of its order at once: the pieces go back, or are on their way.
    for _ in 0..20 {
        let ordered = order(&rest).await;
        let bill = json!({ "order_id": ordered.order, "amount": 6 });
        let path = format!("/order/{}", ordered.order);
        let (_, (status, _)) = tokio::join!(
            rest.send(Method::POST, "/billing", "", Some(&bill)),
            rest.send(Method::DELETE, &path, "", None),
        );
        assert_eq!(status, StatusCode::OK);
        done(&system).await;
        let shippings = rest.get("/shippings").await;
        let mut shippings = shippings.as_array().unwrap().iter();
        let shipped = shippings.any(|shipping| shipping["order_id"] == ordered.order);
        assert_eq!(amount(&ordered).await, if shipped { 8 } else { 10 }, "shipped: {shipped}");
    }
}
