//! The limit of full cycles: the queue's own scripts, called directly, 100 items a call, over one
//! multiplexed connection. No gRPC, no service.

use std::sync::Arc;

use anyhow::Context as _;
use message_queue_svc::model::{Outgoing, QueueName};
use message_queue_svc::queue::redis::record::Prepared;
use message_queue_svc::queue::redis::{keys, scripts};
use prost::Message as _;
use redis_link::values::{self, Items};
use redis_link::{Link, Script};

use super::Effort;
use super::unary::plain_message;
use crate::bench::flow::{Count, of_tasks};
use crate::bench::load::Measured;
use crate::bench::world::World;

/// Items of a call.
const ITEMS: usize = 100;
/// Room for the arguments of a call.
const BYTES: usize = ITEMS * 400;
/// What a take may bring: more than that.
const MAX_BYTES: usize = 4 << 20;

/// So many loops at once.
pub async fn cycles(
    world: Arc<World>,
    in_flight: usize,
    effort: Effort,
) -> anyhow::Result<Measured> {
    let queue = QueueName::parse(&format!("raw-{in_flight}")).context("a name")?;
    let keys = keys::of_queue(&queue);
    let link = &world.raw;
    let mut create = scripts::CREATE.call(&keys);
    create.arg("lease").arg(30_000);
    link.invoke(&create).await?;
    let count = Count::default();
    let tasks = (0..in_flight).map(|n| {
        let raw = Raw { link: link.clone(), keys: keys.clone(), taker: format!("raw-{n}") };
        let count = count.clone();
        tokio::spawn(async move {
            for number in 1.. {
                count.add(raw.cycle(number).await?);
            }
            Ok(())
        })
    });
    of_tasks(tasks.collect(), &count, effort.time).await
}

struct Raw {
    link: Link,
    keys: Vec<String>,
    taker: String,
}

impl Raw {
    /// Sends, takes and acks; answers how many were acked.
    async fn cycle(&self, number: u64) -> anyhow::Result<u64> {
        let mut send = self.call(&scripts::SEND, ITEMS + 1);
        // Requests of one message each, as of a stream.
        send.arg(format!("*{ITEMS}"));
        for _ in 0..ITEMS {
            let message = plain_message().encode_to_vec().into();
            let message = Prepared::new(&Outgoing { message, ..Outgoing::default() }, "");
            send.arg(&message.record[..]);
        }
        self.link.invoke(&send).await?;

        let mut take = self.call(&scripts::TAKE, 7);
        take.arg(ITEMS).arg(MAX_BYTES).arg("").arg("").arg(0).arg(&self.taker).arg(number);
        let mut taken = Items::of(self.link.invoke(&take).await?)?.skip(scripts::TAKEN_HEAD);
        let mut ack = self.call(&scripts::ACK, ITEMS);
        let mut acked = 0;
        while let (Some(entry), Some(_record)) = (taken.next(), taken.next()) {
            ack.arg(&values::bytes(entry)?[..]);
            acked += 1;
        }
        if acked > 0 {
            let outcomes = values::bytes(self.link.invoke(&ack).await?)?;
            anyhow::ensure!(outcomes.iter().all(|outcome| *outcome == b'1'), "a lease was lost");
        }
        Ok(acked)
    }

    fn call(&self, script: &'static Script, args: usize) -> redis_link::Call<'static> {
        script.call_sized(&self.keys, args, BYTES)
    }
}
