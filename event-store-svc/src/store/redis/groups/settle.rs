//! Settling deliveries: the lane of a group makes one script call of whatever is waiting.

use std::sync::Arc;
use std::time::Duration;

use redis_link::values::{array, unsigned};
use redis_link::{Link, LinkError};
use svc_runtime::lane::LaneWork;

use super::existing;
use crate::error::StoreError;
use crate::figures::Figures;
use crate::model::{NackAction, Name, Receipt, Settle};
use crate::store::redis::error;
use crate::store::redis::keys::TopicKeys;
use crate::store::redis::scripts::Scripts;
use crate::store::redis::shape::Shape;
use crate::store::redis::topics::millis;
use crate::store::{Result, Settled};

/// Settles batches.
#[derive(Debug)]
pub struct SettleWork {
    pub link: Link,
    pub scripts: Arc<Scripts>,
    pub figures: Figures,
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
        let mut shape = Shape::with_capacity(count * 3);
        let mut epochs: Vec<u64> = Vec::new();
        let mut arguments = Vec::new();
        for (receipt, settle) in items.iter().flatten() {
            let known = epochs.iter().position(|epoch| *epoch == receipt.epoch);
            let epoch = known.unwrap_or_else(|| {
                epochs.push(receipt.epoch);
                epochs.len() - 1
            });
            let (kind, argument) = kind_of(settle);
            shape.push(kind).push(u64::from(receipt.lease)).push(epoch as u64 + 1);
            arguments.extend(argument);
        }
        let names = keys.group_all(group);
        let args = 5 + epochs.len() + count + arguments.len();
        let mut call = self.scripts.group_settle.call_sized(&names, args, count * 48);
        call.arg(group.as_str()).arg(keys.bell()).arg(rand::random::<f64>());
        call.arg(&shape.packed()[..]).arg(epochs.len());
        for epoch in &epochs {
            call.arg(*epoch);
        }
        for (receipt, _) in items.iter().flatten() {
            call.arg(receipt.position.to_string());
        }
        for argument in &arguments {
            call.arg(argument);
        }
        let answer = self.link.invoke(&call).await.map_err(|e| error::of_write(&e))?;
        let answer = existing(answer, topic, group)?;
        let outcomes = array(answer).and_then(|outcomes| {
            if outcomes.len() != count {
                return Err(LinkError::Protocol("an outcome for each item was expected"));
            }
            outcomes.iter().map(unsigned).collect::<std::result::Result<Vec<_>, _>>()
        });
        let outcomes = outcomes.map_err(|e| error::of_write(&e))?;
        let asked = items.iter().flatten().map(|(_, settle)| settle);
        self.count(topic, group, asked.zip(&outcomes));
        Ok(outcomes.into_iter().map(outcome).collect::<Vec<_>>().into_iter())
    }
}

/// What the script answers for an item.
const LOST: u64 = 0;
const DONE: u64 = 1;
/// By this very lease, earlier.
const DONE_BEFORE: u64 = 2;
const PARKED: u64 = 3;

impl SettleWork {
    /// Counts acks, each event once, and what was parked.
    fn count<'a>(
        &self,
        topic: &Name,
        group: &Name,
        outcomes: impl Iterator<Item = (&'a Settle, &'a u64)>,
    ) {
        let (mut acked, mut parked) = (0, 0);
        for (settle, outcome) in outcomes {
            acked += u64::from(*outcome == DONE && matches!(settle, Settle::Ack));
            parked += u64::from(*outcome == PARKED);
        }
        if acked + parked > 0 {
            let counters = self.figures.of_group(topic, group);
            counters.acked.add(acked);
            counters.parked.add(parked);
        }
    }
}

/// The kind and the argument of an item; see `group_settle.lua`.
fn kind_of(settle: &Settle) -> (u64, Option<String>) {
    match settle {
        Settle::Ack | Settle::Nack { action: NackAction::Skip, .. } => (1, None),
        Settle::Nack { action: NackAction::Park, reason } => (2, Some(reason.clone())),
        Settle::Nack { action: NackAction::Retry { delay }, reason } => {
            let delay = delay.map(|delay| millis(delay).to_string()).unwrap_or_default();
            (3, Some(format!("{delay} {reason}")))
        }
        Settle::Extend { by } => (4, Some(by.map(|by| millis(by).to_string()).unwrap_or_default())),
        Settle::GiveBack => (5, None),
    }
}

fn outcome(answer: u64) -> Settled {
    match answer {
        LOST => Err(StoreError::LeaseLost),
        DONE | DONE_BEFORE | PARKED => Ok(None),
        ends => Ok(Some(Duration::from_millis(ends))),
    }
}
