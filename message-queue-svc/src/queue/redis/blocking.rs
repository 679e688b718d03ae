//! The blocking take: BRPOPLPUSH ready → handoff, on a pooled connection.
//!
//! What it moves is in a list all the time, and anyone may lease it from there.

use std::time::Duration;

use redis_link::{cmd, values};
use tokio::sync::mpsc;

use super::store::Store;
use super::{keys, scripts};
use crate::model::QueueName;

/// How long one call blocks; short, because nobody else may use its connection.
const BLOCK: Duration = Duration::from_secs(1);

/// How a blocking take ended.
#[derive(Debug)]
pub enum Popped {
    /// It moved this entry.
    Some(String),
    /// Nothing came.
    Nothing,
    /// There was no connection for it.
    Busy,
}

/// Runs one to its end, even if nobody waits for it any more: given up in the
/// middle it could leave a message handed off to nobody.
pub async fn pop(store: Store, queue: QueueName, tell: mpsc::UnboundedSender<Popped>) {
    let popped = match store.link().blocking().try_take().await {
        Ok(Some(mut connection)) => {
            let mut pop = cmd("BRPOPLPUSH");
            pop.arg(keys::ready(&queue)).arg(keys::handoff(&queue)).arg(BLOCK.as_secs());
            match connection.query_blocking(&pop, BLOCK).await.and_then(values::optional_text) {
                Ok(Some(entry)) => Popped::Some(entry),
                Ok(None) => Popped::Nothing,
                Err(error) => {
                    tracing::debug!(%error, "a blocking take failed");
                    Popped::Busy
                }
            }
        }
        Ok(None) => Popped::Busy,
        Err(error) => {
            tracing::debug!(%error, "no connection for a blocking take");
            Popped::Busy
        }
    };
    let moved = matches!(popped, Popped::Some(_));
    if tell.send(popped).is_err() && moved {
        let call = Store::call(&scripts::UNHAND, &queue, 0, 0);
        if let Err(error) = store.write(&queue, &call).await {
            tracing::debug!(%error, "a handed off message waits for the next look");
        }
    }
}
