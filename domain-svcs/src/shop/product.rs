//! product-service: what is sold.

use super::entities::{EntityCommands, Rules};
use crate::model::{Kind, Product};
use crate::service::Service;

struct Products;

impl Rules for Products {
    type Entity = Product;
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let log = service.clients().log();
    service.owns_topic(Kind::Product.name());
    service.commands(EntityCommands { log, rules: Products });
    service.run().await
}
