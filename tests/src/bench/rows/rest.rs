//! The shop as its clients see it: REST and WebSocket, on a system of its own for each row.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use redis_link::test_util::PrivateRedis;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Bound, Effort, Spec};
use crate::bench::load::{Measured, WARM_UP, closed_loop, histogram, measured, micros};
use crate::bench::world::World;
use crate::clients;
use crate::system::System;
use crate::topology::{EVENT_STORE, GATEWAY, MESSAGE_QUEUE, WORKERS};

/// How long one request or one order may take: far beyond what is expected.
const LIMIT: Duration = Duration::from_secs(10);

pub fn rows() -> Vec<Spec> {
    let product = |in_flight| {
        Spec::new("REST POST /product", in_flight, move |_, effort| products(in_flight, effort))
    };
    vec![
        product(1).reaching(Bound::MedianUs(5_000)),
        product(64).reaching(Bound::PerSecond(2_000.0)),
        Spec::new("POST /order to IN_STOCK", 1, orders),
        Spec::new("append to the page (/ws)", 1, page),
    ]
}

/// The shop, on a Redis that keeps everything in memory as for the other rows.
async fn shop() -> anyhow::Result<System> {
    let fronts = [EVENT_STORE, MESSAGE_QUEUE, GATEWAY];
    let all: Vec<&str> = fronts.into_iter().chain(WORKERS).collect();
    System::of(PrivateRedis::start(), &all).await
}

/// A client that keeps as many connections as there are requests.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn new(system: &System) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().tcp_nodelay(true).timeout(LIMIT).build()?;
        Ok(Self { http, url: system.url(GATEWAY)? })
    }

    async fn post(&self, kind: &str, entity: &Value) -> anyhow::Result<String> {
        let url = format!("{}/{kind}", self.url);
        let answer = self.http.post(url).json(entity).send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        Ok(answer["result"][0].as_str().context("an answer without an id")?.to_owned())
    }
}

async fn products(in_flight: usize, effort: Effort) -> anyhow::Result<Measured> {
    let system = shop().await?;
    let client = Client::new(&system)?;
    closed_loop(in_flight, effort.time, move |_| {
        let client = client.clone();
        async move {
            client.post("product", &json!({ "name": "pen", "price": 3 })).await?;
            Ok(())
        }
    })
    .await
}

/// One order after the other, each timed from its POST until `/ws` tells that it is IN_STOCK.
async fn orders(_: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    let system = shop().await?;
    let client = Client::new(&system)?;
    let product = client.post("product", &json!({ "name": "pen", "price": 3 })).await?;
    let stock = json!({ "product_id": product, "amount": 1_000_000 });
    client.post("inventory", &stock).await?;
    let customer = json!({ "name": "Ann", "email": "ann@example.com" });
    let customer = client.post("customer", &customer).await?;
    let cart = json!({ "customer_id": customer, "product_ids": [product] });
    let cart = client.post("cart", &cart).await?;
    let mut events = Events::of(&system).await?;
    let mut timing = Timing::new(effort)?;
    while let Some(start) = timing.next() {
        let id = client.post("order", &json!({ "cart_id": cart })).await?;
        let in_stock = |event: &Value| {
            event["action"] == "order_updated"
                && event["data"]["entity_id"] == id
                && event["data"]["status"] == "IN_STOCK"
        };
        events.next(in_stock).await?;
        timing.record(start);
    }
    Ok(timing.measured())
}

/// One event after the other, each timed from the start of its append until `/ws` has it.
async fn page(_: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    let system = shop().await?;
    let store = system.clients()?.store;
    let mut events = Events::of(&system).await?;
    let mut timing = Timing::new(effort)?;
    while let Some(start) = timing.next() {
        let n = timing.begun;
        let event = clients::event(&format!("bench-{n}"), "bench", &json!({ "n": n }).to_string());
        let mut store = store.clone();
        let append = store.append(clients::append("customer", vec![event]));
        let (appended, seen) = tokio::join!(append, events.next(|event| event["data"]["n"] == n));
        appended?;
        seen?;
        timing.record(start);
    }
    Ok(timing.measured())
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// What `/ws` tells.
struct Events {
    socket: Socket,
}

impl Events {
    async fn of(system: &System) -> anyhow::Result<Self> {
        let url = system.url(GATEWAY)?.replacen("http", "ws", 1) + "/ws";
        Ok(Self { socket: tokio_tungstenite::connect_async(url).await?.0 })
    }

    async fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let found = async {
            loop {
                let message = self.socket.next().await.context("/ws ended")??;
                if let Message::Text(text) = message {
                    let event: Value = serde_json::from_str(&text)?;
                    if wanted(&event) {
                        return anyhow::Ok(());
                    }
                }
            }
        };
        tokio::time::timeout(LIMIT, found).await.context("the event did not come")?
    }
}

/// One thing after the other, timed after the warm-up.
struct Timing {
    counted: Instant,
    end: Instant,
    begun: u64,
    latencies: hdrhistogram::Histogram<u64>,
}

impl Timing {
    fn new(effort: Effort) -> anyhow::Result<Self> {
        let counted = Instant::now() + WARM_UP;
        Ok(Self { counted, end: counted + effort.time, begun: 0, latencies: histogram()? })
    }

    /// When the next one starts; none when the time is over.
    fn next(&mut self) -> Option<Instant> {
        self.begun += 1;
        Some(Instant::now()).filter(|now| *now < self.end)
    }

    fn record(&mut self, start: Instant) {
        if start >= self.counted {
            self.latencies.saturating_record(micros(start.elapsed()));
        }
    }

    fn measured(&self) -> Measured {
        measured(&self.latencies, self.latencies.len(), self.counted.elapsed(), 0)
    }
}
