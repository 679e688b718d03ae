//! loyalty-service: customers earn a point for every euro that they pay.

use std::process::ExitCode;

use domain_svcs::service::{
    self, Command, Commands, EventLog, Events, Failure, Head, Reply, unknown,
};
use serde_json::json;

const TOPIC: &str = "loyalty";

#[derive(Clone)]
struct Loyalty(EventLog);

impl Events for Loyalty {
    async fn handle(&self, billing: &Head) -> Result<(), Failure> {
        if billing.event_type() != "entity_created" {
            return Ok(());
        }
        let order = self.0.known("order", billing.text("order_id")).await?;
        let cart = self.0.known("cart", order.text("cart_id")).await?;
        let paid = billing.data["amount"].as_u64().unwrap_or_default();
        let earn = |last: Option<&Head>| Some(json!({ "points": points(last) + paid }));
        let (customer, cause) = (cart.text("customer_id"), billing.cause());
        self.0.decide(TOPIC, customer, &cause, "points_earned", earn).await
    }
}

impl Commands for Loyalty {
    async fn handle(&self, command: &Command) -> Result<Reply, Failure> {
        match (command.name.as_str(), command.body["customer_id"].as_str()) {
            ("get_points", Some(customer)) => {
                let last = self.0.head(TOPIC, customer).await?;
                Ok(Reply::of(points(last.as_ref()).into()))
            }
            ("get_points", None) => Err(Failure::field("customer_id", "is required")),
            _ => Err(unknown(command)),
        }
    }
}

fn points(last: Option<&Head>) -> u64 {
    last.and_then(|last| last.data["points"].as_u64()).unwrap_or_default()
}

#[tokio::main]
async fn main() -> ExitCode {
    service::worker("loyalty-service", async |mut service| {
        let loyalty = Loyalty(service.clients().log());
        service.owns_topic(TOPIC);
        service.events("billing", loyalty.clone());
        service.commands(loyalty);
        service.run().await
    })
    .await
}
