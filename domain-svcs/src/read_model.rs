//! read-model: what is queried. A projection of every topic in memory, served
//! over the queue. A query may ask to wait until events that its sender knows
//! of are in, so that one reads what one wrote.

mod queries;
mod state;

use crate::model;
use crate::service::Service;

/// The name of the service, which is the queue for queries too.
pub const SERVICE: &str = "read-model";

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let shop = service.project_kept(model::topics().collect(), state::Shop::default());
    service.commands(queries::Queries { shop });
    service.run().await
}
