//! Bells: pub/sub over one connection for the whole process, with as many
//! channels as there are listeners for.
//!
//! Pub/sub may lose messages whenever the connection breaks, so nothing may
//! depend on a bell alone. Every listener is woken once whenever its channel
//! was subscribed anew: what was rung in between may have been missed.

mod connection;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::{access::Access, meter::Meter};

/// The channels of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bells {
    shared: Arc<Shared>,
}

/// What the handles and the task that owns the connection both see.
#[derive(Debug)]
struct Shared {
    channels: Mutex<HashMap<Arc<str>, Channel>>,
    /// Names whose entry in `channels` came or went.
    changed: mpsc::UnboundedSender<Arc<str>>,
}

#[derive(Debug, Default)]
struct Channel {
    bell: Option<watch::Sender<Rung>>,
    mailboxes: Vec<(u64, mpsc::Sender<Mail>)>,
    listeners: usize,
    next_mailbox: u64,
}

/// The last that was rung on a channel.
#[derive(Clone, Debug, Default)]
struct Rung {
    payload: Option<Bytes>,
}

impl Bells {
    pub(crate) fn start(access: Access, time_limit: Duration, meter: Arc<Meter>) -> Self {
        let (changed, changes) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { channels: Mutex::default(), changed });
        let keeper = connection::Keeper::new(Arc::downgrade(&shared), access, time_limit, meter);
        tokio::spawn(keeper.run(changes));
        Self { shared }
    }

    /// Listens for bells: many that ring at once wake it once. It also wakes
    /// once as soon as the channel is subscribed.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> Bell {
        let (receiver, listening) = self.listen(channel, |entry| {
            let sender = entry.bell.get_or_insert_with(|| watch::channel(Rung::default()).0);
            let mut receiver = sender.subscribe();
            if entry.listeners > 1 {
                // Already subscribed by another: it can have missed nothing, but
                // its caller looks after it listens, as with the first.
                receiver.mark_changed();
            }
            receiver
        });
        Bell { receiver, _listening: listening }
    }

    /// Listens for every message, in order; up to `capacity` may wait. What
    /// does not fit is dropped and told as [`Mail::Missed`].
    #[must_use]
    pub fn subscribe_all(&self, channel: &str, capacity: usize) -> Mailbox {
        let (sender, receiver) = mpsc::channel(capacity.max(2));
        let (id, mut listening) = self.listen(channel, |entry| {
            let id = entry.next_mailbox;
            entry.next_mailbox += 1;
            entry.mailboxes.push((id, sender));
            id
        });
        listening.mailbox = Some(id);
        Mailbox { receiver, _listening: listening }
    }

    /// Counts a listener and puts in what wakes it, at once: a channel that was
    /// subscribed before it has its bell would not ring it.
    fn listen<T>(&self, channel: &str, add: impl FnOnce(&mut Channel) -> T) -> (T, Listening) {
        let name: Arc<str> = channel.into();
        let mut channels = self.shared.channels();
        let entry = channels.entry(Arc::clone(&name)).or_default();
        entry.listeners += 1;
        let added = add(entry);
        if entry.listeners == 1 {
            // The task is gone only when the process ends.
            let _ = self.shared.changed.send(Arc::clone(&name));
        }
        drop(channels);
        (added, Listening { shared: Arc::clone(&self.shared), name, mailbox: None })
    }
}

impl Shared {
    fn channels(&self) -> MutexGuard<'_, HashMap<Arc<str>, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message came in.
    fn deliver(&self, name: &str, payload: &[u8]) {
        let mut channels = self.channels();
        let Some(channel) = channels.get_mut(name) else {
            return;
        };
        let payload = Bytes::copy_from_slice(payload);
        for (_, mailbox) in &channel.mailboxes {
            offer(mailbox, Mail::Message(payload.clone()));
        }
        if let Some(bell) = &channel.bell {
            bell.send_replace(Rung { payload: Some(payload) });
        }
    }

    /// The channels were subscribed just now.
    fn subscribed(&self, names: &[Arc<str>]) {
        let channels = self.channels();
        for channel in names.iter().filter_map(|name| channels.get(name)) {
            for (_, mailbox) in &channel.mailboxes {
                offer(mailbox, Mail::Missed);
            }
            if let Some(bell) = &channel.bell {
                bell.send_replace(Rung { payload: None });
            }
        }
    }
}

/// Puts mail into a box; one place is kept for saying that some is missing.
fn offer(mailbox: &mpsc::Sender<Mail>, mail: Mail) {
    let mail = match mailbox.capacity() {
        0 => return,
        1 => Mail::Missed,
        _ => mail,
    };
    // Full or closed: it was told already, or nobody reads it.
    let _ = mailbox.try_send(mail);
}

/// Keeps a channel subscribed.
#[derive(Debug)]
struct Listening {
    shared: Arc<Shared>,
    name: Arc<str>,
    mailbox: Option<u64>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut channels = self.shared.channels();
        let Some(entry) = channels.get_mut(&self.name) else {
            return;
        };
        entry.listeners -= 1;
        if let Some(id) = self.mailbox {
            entry.mailboxes.retain(|(other, _)| *other != id);
        }
        if entry.listeners == 0 {
            channels.remove(&self.name);
            let _ = self.shared.changed.send(Arc::clone(&self.name));
        }
    }
}

/// Wakes its owner when something was published on its channel.
#[derive(Debug)]
pub struct Bell {
    receiver: watch::Receiver<Rung>,
    _listening: Listening,
}

impl Bell {
    /// Waits until the bell rang since the last call. Cancel-safe.
    pub async fn rung(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender lives as long as this listens.
            std::future::pending::<()>().await;
        }
    }

    /// As [`Bell::rung`]; answers the last payload, or none if nothing came since the channel was
    /// subscribed: there may have been anything before.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.rung().await;
        self.receiver.borrow_and_update().payload.clone()
    }
}

/// What arrives in a [`Mailbox`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mail {
    /// A message.
    Message(Bytes),
    /// The channel was (re)subscribed, or the box was full: there may have
    /// been messages that are not in it.
    Missed,
}

/// Every message of a channel, in order.
#[derive(Debug)]
pub struct Mailbox {
    receiver: mpsc::Receiver<Mail>,
    _listening: Listening,
}

impl Mailbox {
    /// The next one. Cancel-safe.
    pub async fn recv(&mut self) -> Mail {
        match self.receiver.recv().await {
            Some(mail) => mail,
            // The sender lives as long as this listens.
            None => std::future::pending().await,
        }
    }
}
