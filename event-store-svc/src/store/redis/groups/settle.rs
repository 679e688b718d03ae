//! Settling deliveries: the lane of a group makes one script call of whatever is waiting.

use std::sync::Arc;
use std::time::Duration;

use redis_link::values::{Items, array};
use redis_link::{Link, LinkError, Value};
use svc_runtime::lane::LaneWork;

use super::existing;
use crate::error::StoreError;
use crate::model::{NackAction, Name, Receipt, Settle};
use crate::store::redis::error;
use crate::store::redis::keys::TopicKeys;
use crate::store::redis::scripts::Scripts;
use crate::store::redis::topics::millis;
use crate::store::{Result, Settled};

/// Settles batches.
#[derive(Debug)]
pub struct SettleWork {
    pub link: Link,
    pub scripts: Arc<Scripts>,
}

impl LaneWork for SettleWork {
    type Key = (Name, Name);
    type Item = Vec<(Receipt, Settle)>;
    type Answer = Result<Vec<Settled>>;

    async fn run(&self, (topic, group): &Self::Key, items: Vec<Self::Item>) -> Vec<Self::Answer> {
        match self.settle(topic, group, &items).await {
            Ok(mut outcomes) => {
                items.iter().map(|item| Ok(outcomes.by_ref().take(item.len()).collect())).collect()
            }
            Err(error) => vec![Err(error); items.len()],
        }
    }

    fn count(item: &Self::Item) -> usize {
        item.len()
    }

    fn bytes(_: &Self::Item) -> usize {
        0
    }
}

impl SettleWork {
    async fn settle(
        &self,
        topic: &Name,
        group: &Name,
        items: &[Vec<(Receipt, Settle)>],
    ) -> Result<std::vec::IntoIter<Settled>> {
        let keys = TopicKeys::new(topic);
        let count: usize = items.iter().map(Vec::len).sum();
        let names = keys.group_all(group);
        let mut call = self.scripts.group_settle.call_sized(&names, 3 + count * 5, count * 80);
        call.arg(group.as_str()).arg(keys.bell()).arg(rand::random::<f64>());
        for (receipt, settle) in items.iter().flatten() {
            let (kind, argument) = argument(settle);
            call.arg(kind).arg(receipt.position.to_string()).arg(receipt.epoch).arg(receipt.lease);
            call.arg(argument);
        }
        let answer = self.link.invoke(&call).await.map_err(|e| error::of_write(&e))?;
        let answer = existing(answer, topic, group)?;
        let outcomes = array(answer).and_then(|outcomes| {
            if outcomes.len() != count {
                return Err(LinkError::Protocol("an outcome for each item was expected"));
            }
            outcomes.into_iter().map(outcome).collect::<std::result::Result<Vec<_>, _>>()
        });
        Ok(outcomes.map_err(|e| error::of_write(&e))?.into_iter())
    }
}

/// The kind and the argument of an item; see `group_settle.lua`.
fn argument(settle: &Settle) -> (&'static str, String) {
    match settle {
        Settle::Ack | Settle::Nack { action: NackAction::Skip, .. } => ("a", String::new()),
        Settle::Nack { action: NackAction::Park, reason } => ("p", reason.clone()),
        Settle::Nack { action: NackAction::Retry { delay }, reason } => {
            let delay = delay.map(|delay| millis(delay).to_string()).unwrap_or_default();
            ("r", format!("{delay} {reason}"))
        }
        Settle::Extend { by } => ("e", by.map(|by| millis(by).to_string()).unwrap_or_default()),
        Settle::GiveBack => ("g", String::new()),
    }
}

fn outcome(value: Value) -> std::result::Result<Settled, LinkError> {
    let mut parts = Items::of(value)?;
    Ok(match (parts.next_int()?, parts.next_unsigned()?) {
        (0, _) => Err(StoreError::LeaseLost),
        (_, 0) => Ok(None),
        (_, ends) => Ok(Some(Duration::from_millis(ends))),
    })
}
