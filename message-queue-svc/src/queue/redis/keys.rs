//! Every name of a key or channel in Redis.
//!
//! `{queue}` is a hash tag: all that belongs to a queue is in one slot.

use redis_link::Call;

use crate::model::QueueName;

/// What the name of a reply's channel ends with.
const REPLY_BELL: &str = ":bell";

/// The ZSET of the names of all queues, all with score 0; written before a
/// queue's first message.
pub const REGISTRY: &str = "mq:queues";

/// Held by the replica that looks through the registry.
pub const KEEPER: &str = "mq:keeper";

/// What the keys of a queue are called, in the order in which `lib.lua` names them.
const PARTS: [&str; 24] = [
    "meta",
    "body",
    "ready",
    "ready:high",
    "ready:low",
    "handoff",
    "leased",
    "delayed",
    "again",
    "errors",
    "expiry",
    "heads",
    "waiting",
    "waiting:since",
    "dead",
    "dead:body",
    "done:0",
    "done:1",
    "dedup:0",
    "dedup:1",
    "stats",
    "consumers",
    "takes",
    "bell",
];

/// How many keys a script of a queue gets at least.
pub const OF_QUEUE: usize = PARTS.len();

/// The keys of a queue, as every script of it gets them; the last is a channel.
#[must_use]
pub fn of_queue(queue: &QueueName) -> Vec<String> {
    PARTS.iter().map(|part| key(queue, part)).collect()
}

/// Gives the keys of a queue to a call, without a string for each.
pub fn give(call: &mut Call<'_>, queue: &QueueName) {
    let mut key = key(queue, "");
    let start = key.len();
    for part in PARTS {
        key.truncate(start);
        key.push_str(part);
        call.arg(&key);
    }
}

/// Gives the key of a reply, and the channel of those who wait for it by id.
pub fn give_reply(call: &mut Call<'_>, queue: &QueueName, id: &str) {
    let mut key = reply(queue, id);
    call.arg(&key);
    key.push_str(REPLY_BELL);
    call.arg(&key);
}

/// The HASH of id → record.
#[must_use]
pub fn body(queue: &QueueName) -> String {
    key(queue, "body")
}

/// The HASH of id → dead letter's record.
#[must_use]
pub fn dead_body(queue: &QueueName) -> String {
    key(queue, "dead:body")
}

/// The LIST of normal messages that are ready.
#[must_use]
pub fn ready(queue: &QueueName) -> String {
    key(queue, "ready")
}

/// The LIST that the blocking take moves to.
#[must_use]
pub fn handoff(queue: &QueueName) -> String {
    key(queue, "handoff")
}

/// The channel that rings when something became ready.
#[must_use]
pub fn bell(queue: &QueueName) -> String {
    key(queue, "bell")
}

/// The reply to a message.
#[must_use]
pub fn reply(queue: &QueueName, id: &str) -> String {
    key(queue, &format!("reply:{id}"))
}

/// The channel that rings when a message was replied to.
#[must_use]
pub fn reply_bell(queue: &QueueName, id: &str) -> String {
    reply(queue, id) + REPLY_BELL
}

/// The channel on which a replica gets the replies to its calls.
#[must_use]
pub fn replies(replica: &str) -> String {
    format!("mq:replies:{replica}")
}

fn key(queue: &QueueName, part: &str) -> String {
    format!("mq:{{{queue}}}:{part}")
}
