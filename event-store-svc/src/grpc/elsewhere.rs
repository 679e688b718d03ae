//! What a stream delivered may be acked by a unary call as well: then the stream has to know, or
//! it would count the event as held until its lease had ended. Calls at another replica are not
//! heard of here; there it is the end of the lease that counts.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::broadcast;

use crate::model::{Name, Receipt};

/// Calls that a stream may lag behind; what it misses is held until its lease ends.
const BACKLOG: usize = 256;

type Key = (Name, Name);

/// Receipts that unary calls settled, for the streams of the same group at this replica.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    groups: Arc<DashMap<Key, broadcast::Sender<Arc<[Receipt]>>>>,
}

/// A stream's ear.
#[derive(Debug)]
pub struct Listening {
    groups: Arc<DashMap<Key, broadcast::Sender<Arc<[Receipt]>>>>,
    key: Key,
    receiver: Option<broadcast::Receiver<Arc<[Receipt]>>>,
}

impl Elsewhere {
    /// Listens for what is settled in a group.
    pub fn listen(&self, topic: &Name, group: &Name) -> Listening {
        let key = (topic.clone(), group.clone());
        let sender =
            self.groups.entry(key.clone()).or_insert_with(|| broadcast::channel(BACKLOG).0);
        let receiver = Some(sender.subscribe());
        drop(sender);
        Listening { groups: self.groups.clone(), key, receiver }
    }

    /// Tells the group's streams.
    pub fn tell(&self, topic: &Name, group: &Name, settled: impl Iterator<Item = Receipt>) {
        if let Some(streams) = self.groups.get(&(topic.clone(), group.clone())) {
            // The last stream may be leaving.
            let _ = streams.send(settled.collect());
        }
    }
}

impl Listening {
    /// What was settled next. Cancel-safe.
    pub async fn settled(&mut self) -> Arc<[Receipt]> {
        let Some(receiver) = &mut self.receiver else { return std::future::pending().await };
        loop {
            match receiver.recv().await {
                Ok(settled) => return settled,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.receiver = None;
        self.groups.remove_if(&self.key, |_, sender| sender.receiver_count() == 0);
    }
}
