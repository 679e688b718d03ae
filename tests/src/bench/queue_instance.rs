//! A message queue by itself, on a Redis of its own: what it costs can be told apart.

use std::ops::Deref;

use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::queues_client::QueuesClient;
use tonic::transport::Channel;

use super::instance::Instance;
use crate::topology::MESSAGE_QUEUE;

/// The service and its Redis; what it costs is told as of any [`Instance`].
#[derive(Debug)]
pub struct QueueInstance(Instance);

impl QueueInstance {
    /// Starts both; clients may use so many connections.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(connections: usize) -> anyhow::Result<Self> {
        Instance::start_front(MESSAGE_QUEUE, connections, &[]).await.map(Self)
    }

    /// A stub, over the connection of client `n`.
    #[must_use]
    pub fn queue(&self, client: usize) -> MessageQueueClient<Channel> {
        MessageQueueClient::new(self.channel(client))
    }

    /// A stub for queues as a whole.
    #[must_use]
    pub fn queues(&self) -> QueuesClient<Channel> {
        QueuesClient::new(self.channel(0))
    }
}

impl Deref for QueueInstance {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}
