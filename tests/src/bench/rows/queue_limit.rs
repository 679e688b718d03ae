//! The limits that the queue's own scripts set: called directly, over one multiplexed connection.
//! No gRPC, no service.

use std::sync::Arc;

use message_queue_svc::model::Outgoing;
use message_queue_svc::queue::redis::record::Prepared;
use message_queue_svc::queue::redis::scripts;
use prost::Message as _;
use redis_link::values::{self, Items};
use redis_link::{Link, Script};

use super::Effort;
use super::unary::plain_message;
use crate::bench::call_scripts::{BYTES, CallScripts, MAX_BYTES, create};
use crate::bench::flow::{Count, of_tasks};
use crate::bench::load::{Measured, closed_loop};
use crate::bench::world::World;

/// Full cycles with so many items a call, so many loops at once.
pub async fn cycles(
    world: Arc<World>,
    items: usize,
    in_flight: usize,
    effort: Effort,
) -> anyhow::Result<Measured> {
    let (_, keys) = create(&world.raw, &format!("raw-{items}-{in_flight}")).await?;
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
    let scripts = Arc::new(CallScripts::at(world.raw.clone(), "raw-call").await?);
    closed_loop(1, effort.time, move |_| {
        let scripts = scripts.clone();
        async move {
            let id = scripts.send(plain_message().encode_to_vec().into()).await?;
            scripts.reply(&id, &plain_message().encode_to_vec()).await
        }
    })
    .await
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
