//! The two scripts of a Call whose caller and worker are at one replica, called without a service.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use message_queue_svc::model::{Outgoing, QueueName};
use message_queue_svc::queue::redis::record::Prepared;
use message_queue_svc::queue::redis::{keys, scripts};
use redis_link::{Link, values};

/// Room for what an item brings to a call.
pub const BYTES: usize = 400;
/// What a take may bring: more than that.
pub const MAX_BYTES: usize = 4 << 20;

/// A queue with one consumer, which holds nothing.
#[derive(Debug)]
pub struct CallScripts {
    link: Link,
    queue: QueueName,
    keys: Vec<String>,
    takes: AtomicU64,
}

impl CallScripts {
    /// Creates the queue.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub async fn at(link: Link, queue: &str) -> anyhow::Result<Self> {
        let (queue, keys) = create(&link, queue).await?;
        Ok(Self { link, queue, keys, takes: AtomicU64::new(1) })
    }

    /// Stores an encoded message that expects a reply, and leases it; answers its id.
    ///
    /// # Errors
    /// When Redis refuses it.
    pub async fn send(&self, message: Bytes) -> anyhow::Result<String> {
        let message = Outgoing { message, expects_reply: true, ..Outgoing::default() };
        let message = Prepared::new(&message, "mq:replies:raw");
        let number = self.takes.fetch_add(1, Ordering::Relaxed);
        let mut send = scripts::SEND_TAKE.call_sized(&self.keys, 14, BYTES);
        send.arg(1_000).arg(MAX_BYTES).arg("").arg("").arg(0).arg("raw").arg(number);
        send.arg("raw").arg(1).arg(1).arg(0).arg(0).arg("*1").arg(&message.record[..]);
        self.link.invoke(&send).await?;
        Ok(message.id.as_str().to_owned())
    }

    /// Keeps the reply, whose caller waits here, and forgets the message.
    ///
    /// # Errors
    /// When Redis refuses it, or the lease is lost.
    pub async fn reply(&self, id: &str, content: &[u8]) -> anyhow::Result<()> {
        let mut reply = scripts::REPLY.call_for_keys(keys::OF_QUEUE + 2, 3, BYTES);
        keys::give(&mut reply, &self.queue);
        keys::give_reply(&mut reply, &self.queue, id);
        reply.arg(id).arg(content).arg(1);
        let outcome = values::bytes(self.link.invoke(&reply).await?)?;
        anyhow::ensure!(outcome[..] == *b"D", "a reply was refused");
        Ok(())
    }
}

/// Creates a queue; answers its name and its keys.
///
/// # Errors
/// When Redis refuses it.
pub async fn create(link: &Link, name: &str) -> anyhow::Result<(QueueName, Vec<String>)> {
    let queue = QueueName::parse(name).context("a name")?;
    let keys = keys::of_queue(&queue);
    let mut create = scripts::CREATE.call(&keys);
    create.arg("lease").arg(30_000);
    link.invoke(&create).await?;
    Ok((queue, keys))
}
