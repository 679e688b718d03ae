//! billing-service: payments. One for each order, of exactly what its cart costs.

use futures::future::try_join_all;

use super::entities::{EntityCommands, Rules};
use super::stock::reserved;
use super::{load_last, settled_order, unchanged};
use crate::model::{Billing, Kind, OrderStatus, Product, Violation};
use crate::service::{Cause, EventLog, Failure, Service, derive_id};

/// The id of the billing of an order.
pub(super) fn id(order_id: &str) -> String {
    derive_id(&["billing", order_id])
}

struct Billings {
    log: EventLog,
}

impl Rules for Billings {
    type Entity = Billing;

    fn id(&self, billing: &Billing, _cause: &Cause, _index: usize) -> String {
        id(&billing.order_id)
    }

    async fn check_new(&self, billing: &Billing) -> Result<(), Failure> {
        let order = settled_order(&self.log, &billing.order_id, &[OrderStatus::Created]).await?;
        if order.status != OrderStatus::InStock {
            let message =
                format!("the order is {}: only one that is IN_STOCK can be paid", order.status);
            return Err(Failure::conflict("ORDER_NOT_PAYABLE", message));
        }
        self.check_amount(billing).await
    }

    async fn check_change(&self, _: &str, old: &Billing, new: &Billing) -> Result<(), Failure> {
        unchanged("order_id", &old.order_id, &new.order_id)?;
        self.check_amount(new).await
    }
}

impl Billings {
    /// The amount is what the cart costs: of the products that were set aside for
    /// the order, which are the cart's and cannot change any more.
    async fn check_amount(&self, billing: &Billing) -> Result<(), Failure> {
        let items = reserved(&self.log, &billing.order_id).await?;
        let prices = items.iter().map(|(product_id, pieces)| async move {
            let product: Option<Product> = load_last(&self.log, product_id).await?;
            let price = product.map_or(0, |product| product.price);
            Ok::<_, Failure>(price.saturating_mul(*pieces))
        });
        let prices = try_join_all(prices).await?;
        let sum = prices.into_iter().fold(0, u64::saturating_add);
        if billing.amount == sum {
            return Ok(());
        }
        Err(Failure::invalid(vec![Violation {
            field: "amount".to_owned(),
            description: format!("is {}, but the cart costs {sum}", billing.amount),
        }]))
    }
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(Kind::Billing.name());
    service.commands(EntityCommands { log: log.clone(), rules: Billings { log } });
    service.run().await
}
