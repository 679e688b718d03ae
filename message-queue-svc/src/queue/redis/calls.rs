//! Calls: a message sent, and its reply waited for.
//!
//! A reply that is made at this replica is handed to its caller here; others
//! come over this replica's channel. Each is kept besides, so that one that was
//! lost on its way only has to be looked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use redis_link::{Link, Mail, Value, values};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::record::Prepared;
use super::send::Sender;
use super::store::{Store, harmless, shape};
use super::{keys, scripts};
use crate::error::QueueError;
use crate::model::{Durability, MessageId, Outgoing, QueueName};
use crate::queue::QueueResult;

/// Replies that may wait to be handed to their callers.
const MAILBOX: usize = 16_384;
/// The pause between two looks for a reply that may be there.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Who waits at this replica for which reply. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Callers {
    waiting: Arc<DashMap<String, Waiting>>,
    store: Store,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Waiting {
    queue: QueueName,
    reply: oneshot::Sender<Bytes>,
}

impl Callers {
    pub fn new(store: Store, tasks: TaskTracker) -> Self {
        Self { waiting: Arc::default(), store, tasks }
    }

    /// Whether somebody here waits for the reply to this message.
    pub fn wait_for(&self, id: &str) -> bool {
        self.waiting.contains_key(id)
    }

    /// Hands a reply over.
    pub fn deliver(&self, id: &str, content: Bytes) {
        if let Some((_, waiting)) = self.waiting.remove(id) {
            // A caller that gave up just now has dropped its end.
            let _ = waiting.reply.send(content);
        }
    }

    /// The reply to this message may be there, and nobody will say so.
    pub fn look_for(&self, id: &str) {
        let Some(id) = MessageId::parse(id) else { return };
        let callers = self.clone();
        self.tasks.spawn(async move {
            // Ends with the call at the latest.
            while let Some(queue) = callers.queue_of(&id) {
                match callers.look(&queue, &id).await {
                    Ok(Some(content)) => callers.deliver(id.as_str(), content),
                    Ok(None) | Err(_) => sleep(LOOK_AGAIN).await,
                }
            }
        });
    }

    fn queue_of(&self, id: &MessageId) -> Option<QueueName> {
        self.waiting.get(id.as_str()).map(|waiting| waiting.queue.clone())
    }

    /// Looks for the replies of all that wait.
    fn look_for_all(&self) {
        let ids = self.waiting.iter().filter_map(|entry| MessageId::parse(entry.key()));
        let ids: Vec<_> = ids.collect();
        if ids.is_empty() {
            return;
        }
        let callers = self.clone();
        self.tasks.spawn(async move {
            for id in ids {
                let Some(queue) = callers.queue_of(&id) else { continue };
                if let Ok(Some(content)) = callers.look(&queue, &id).await {
                    callers.deliver(id.as_str(), content);
                }
            }
        });
    }

    /// The reply, if it is there; nothing if it may still come.
    async fn look(&self, queue: &QueueName, id: &MessageId) -> QueueResult<Option<Bytes>> {
        if !id.expects_reply() {
            return Err(QueueError::MessageNotFound(id.to_string()));
        }
        let keys = [keys::reply(queue, id.as_str()), keys::body(queue), keys::dead_body(queue)];
        let mut call = scripts::GET_REPLY.call_sized(&keys, 1, 64);
        call.arg(id.as_str());
        match self.store.read(queue, &call).await? {
            Value::Nil => Err(QueueError::MessageNotFound(id.to_string())),
            Value::Array(reply) => first(reply).map(Some),
            _ => Ok(None),
        }
    }
}

/// Calls that wait for their replies.
#[derive(Clone, Debug)]
pub struct Calls {
    store: Store,
    sender: Sender,
    channel: Arc<str>,
    callers: Callers,
}

impl Calls {
    /// Starts listening for replies.
    pub fn start(store: Store, sender: Sender, callers: Callers, replica: &str) -> Self {
        let channel: Arc<str> = keys::replies(replica).into();
        tokio::spawn(listen(store.link().clone(), Arc::clone(&channel), callers.clone()));
        Self { store, sender, channel, callers }
    }

    pub async fn call(
        &self,
        queue: &QueueName,
        message: Outgoing,
        limit: Duration,
    ) -> QueueResult<(MessageId, Bytes)> {
        let deadline = Instant::now() + limit;
        let prepared = Prepared::new(&message, &self.channel);
        let id = prepared.id.clone();
        let (reply, replied) = oneshot::channel();
        let waiting = Waiting { queue: queue.clone(), reply };
        self.callers.waiting.insert(id.as_str().to_owned(), waiting);
        // Sent or not is only known when it has answered; a guard takes it back.
        let mut guard =
            Guard { calls: self.clone(), queue: queue.clone(), id: id.clone(), sent: true };
        let sending = self.sender.send_prepared(queue, vec![prepared], Durability::Memory);
        if let Err(error) = sending.await {
            guard.sent = error == QueueError::OutcomeUnknown;
            return Err(error);
        }
        if let Ok(Ok(content)) = timeout_at(deadline, replied).await {
            guard.sent = false;
            return Ok((id, content));
        }
        guard.sent = false;
        let message_id = id.as_str().to_owned();
        match self.withdraw(queue, &id).await {
            Ok(Withdrawn::Replied(content)) => Ok((id, content)),
            Ok(Withdrawn::Yes) => Err(QueueError::CallTimeout { message_id, withdrawn: true }),
            Ok(Withdrawn::TakenAlready) | Err(_) => {
                Err(QueueError::CallTimeout { message_id, withdrawn: false })
            }
        }
    }

    pub async fn get_reply(
        &self,
        queue: &QueueName,
        id: &MessageId,
        wait: Duration,
    ) -> QueueResult<Bytes> {
        if let Some(content) = self.callers.look(queue, id).await? {
            return Ok(content);
        }
        let deadline = Instant::now() + wait;
        let still_waiting =
            || QueueError::CallTimeout { message_id: id.as_str().to_owned(), withdrawn: false };
        if wait.is_zero() {
            return Err(still_waiting());
        }
        let bells = self.store.link().bells();
        let mut bell = bells.subscribe(&keys::reply_bell(queue, id.as_str()));
        while timeout_at(deadline, bell.rung()).await.is_ok() {
            if let Some(content) = self.callers.look(queue, id).await? {
                return Ok(content);
            }
        }
        Err(still_waiting())
    }

    async fn withdraw(&self, queue: &QueueName, id: &MessageId) -> QueueResult<Withdrawn> {
        let mut call = Store::call_with(&scripts::WITHDRAW, queue, 1, 1, 64);
        call.arg(keys::reply(queue, id.as_str())).arg(id.as_str());
        match self.store.write(queue, &call).await.map_err(harmless)? {
            Value::Array(reply) => first(reply).map(Withdrawn::Replied),
            verdict => match values::text(verdict).map_err(shape)?.as_str() {
                "WITHDRAWN" => Ok(Withdrawn::Yes),
                _ => Ok(Withdrawn::TakenAlready),
            },
        }
    }
}

enum Withdrawn {
    Yes,
    TakenAlready,
    Replied(Bytes),
}

fn first(items: Vec<Value>) -> QueueResult<Bytes> {
    let item = items.into_iter().next().ok_or(QueueError::Corrupt)?;
    values::bytes(item).map_err(shape)
}

/// Stops waiting; takes the message back where its caller went away.
struct Guard {
    calls: Calls,
    queue: QueueName,
    id: MessageId,
    sent: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.calls.callers.waiting.remove(self.id.as_str());
        if self.sent {
            let (calls, queue, id) = (self.calls.clone(), self.queue.clone(), self.id.clone());
            self.calls.callers.tasks.spawn(async move {
                let limit = Duration::from_secs(5);
                if timeout(limit, calls.withdraw(&queue, &id)).await.is_err() {
                    tracing::debug!("a message whose caller is gone was not withdrawn");
                }
            });
        }
    }
}

/// Hands replies to callers, for as long as the process runs.
async fn listen(link: Link, channel: Arc<str>, callers: Callers) {
    let mut mailbox = link.bells().subscribe_all(&channel, MAILBOX);
    loop {
        match mailbox.recv().await {
            Mail::Message(mut content) if content.len() >= MessageId::LEN => {
                let id = content.split_to(MessageId::LEN);
                if let Ok(id) = std::str::from_utf8(&id) {
                    callers.deliver(id, content);
                }
            }
            Mail::Message(_) => {}
            Mail::Missed => callers.look_for_all(),
        }
    }
}
