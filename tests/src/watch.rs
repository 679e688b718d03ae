//! Waiting for what can be seen, instead of for time to pass.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds something, and answers that.
///
/// # Errors
/// When `limit` has passed: what was waited for, and what was seen last.
pub async fn until<T, Fut>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Fut,
) -> anyhow::Result<T>
where
    Fut: Future<Output = anyhow::Result<T>>,
{
    let end = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() >= end => {
                bail!("waited {limit:?} for {what}; seen last: {seen:#}")
            }
            Err(_) => sleep(LOOK).await,
        }
    }
}
