//! The limits that the queue's own scripts set: called directly, over one multiplexed connection.
//! No gRPC, no service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
use crate::bench::load::{Measured, closed_loop};
use crate::bench::world::World;

/// Room for the arguments of a call, for each item.
const BYTES: usize = 400;
/// What a take may bring: more than that.
const MAX_BYTES: usize = 4 << 20;

/// Full cycles with so many items a call, so many loops at once.
pub async fn cycles(
    world: Arc<World>,
    items: usize,
    in_flight: usize,
    effort: Effort,
) -> anyhow::Result<Measured> {
    let (_, keys) = create(&world, &format!("raw-{items}-{in_flight}")).await?;
    let link = &world.raw;
    let count = Count::default();
    let tasks = (0..in_flight).map(|n| {
        let raw = Raw { link: link.clone(), keys: keys.clone(), taker: format!("raw-{n}"), items };
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

/// The two scripts of a Call whose caller and worker are at one replica, one call after the other.
pub async fn call_and_reply(world: Arc<World>, effort: Effort) -> anyhow::Result<Measured> {
    let (queue, keys) = create(&world, "raw-call").await?;
    let number = Arc::new(AtomicU64::new(1));
    closed_loop(1, effort.time, move |_| {
        let (link, queue, keys) = (world.raw.clone(), queue.clone(), keys.clone());
        let number = number.fetch_add(1, Ordering::Relaxed);
        async move {
            let message = Outgoing { expects_reply: true, ..outgoing() };
            let message = Prepared::new(&message, "mq:replies:raw");
            let mut send = scripts::SEND_TAKE.call_sized(&keys, 14, BYTES);
            send.arg(1_000).arg(MAX_BYTES).arg("").arg("").arg(0).arg("raw").arg(number);
            // One consumer of this replica, which holds nothing.
            send.arg("raw").arg(1).arg(1).arg(0).arg(0).arg("*1").arg(&message.record[..]);
            link.invoke(&send).await?;

            let id = message.id.as_str();
            let mut reply = scripts::REPLY.call_for_keys(keys::OF_QUEUE + 2, 3, BYTES);
            keys::give(&mut reply, &queue);
            keys::give_reply(&mut reply, &queue, id);
            reply.arg(id).arg(&plain_message().encode_to_vec()[..]).arg(1);
            let outcome = values::bytes(link.invoke(&reply).await?)?;
            anyhow::ensure!(outcome[..] == *b"D", "a reply was refused");
            Ok(())
        }
    })
    .await
}

async fn create(world: &World, name: &str) -> anyhow::Result<(QueueName, Vec<String>)> {
    let queue = QueueName::parse(name).context("a name")?;
    let keys = keys::of_queue(&queue);
    let mut create = scripts::CREATE.call(&keys);
    create.arg("lease").arg(30_000);
    world.raw.invoke(&create).await?;
    Ok((queue, keys))
}

fn outgoing() -> Outgoing {
    Outgoing { message: plain_message().encode_to_vec().into(), ..Outgoing::default() }
}

struct Raw {
    link: Link,
    keys: Vec<String>,
    taker: String,
    /// Of a call.
    items: usize,
}

impl Raw {
    /// Sends, takes and acks; answers how many were acked.
    async fn cycle(&self, number: u64) -> anyhow::Result<u64> {
        let mut send = self.call(&scripts::SEND, self.items + 1);
        // Requests of one message each, as of a stream.
        send.arg(format!("*{}", self.items));
        for _ in 0..self.items {
            send.arg(&Prepared::new(&outgoing(), "").record[..]);
        }
        self.link.invoke(&send).await?;

        let mut take = self.call(&scripts::TAKE, 7);
        take.arg(self.items).arg(MAX_BYTES).arg("").arg("").arg(0).arg(&self.taker).arg(number);
        let mut taken = Items::of(self.link.invoke(&take).await?)?.skip(scripts::TAKEN_HEAD);
        let mut ack = self.call(&scripts::ACK, self.items);
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
        script.call_sized(&self.keys, args, self.items * BYTES)
    }
}
