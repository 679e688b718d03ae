//! All key names. Those of a topic share a hash tag, and so a slot.

use crate::model::Name;

/// Names of all topics: a sorted set with equal scores, so sorted by name. Written before the
/// first event, so it may name a topic that is empty, and never misses one.
pub const TOPICS: &str = "es:topics";

/// Names of the topics that have a retention limit: a set.
pub const RETAINED: &str = "es:retained";

/// The keys of a topic.
#[derive(Clone, Debug)]
pub struct TopicKeys {
    prefix: String,
}

impl TopicKeys {
    /// The keys of this topic.
    #[must_use]
    pub fn new(topic: &Name) -> Self {
        Self { prefix: format!("es:{{{topic}}}:") }
    }

    fn key(&self, name: &str) -> String {
        [&self.prefix, name].concat()
    }

    /// STREAM: the events. Ids are `<milliseconds>-<sequence>`; fields: `r` revision and `s` subject
    /// if there is one, and last `e`, the encoded event.
    #[must_use]
    pub fn log(&self) -> String {
        self.key("log")
    }

    /// HASH: `created`, settings, `sequence`, `last`, `bytes`, `largest`, `trimmed`,
    /// `trimmed_sequence`, `dedup_epoch`, `deleting`.
    #[must_use]
    pub fn meta(&self) -> String {
        self.key("meta")
    }

    /// HASH: subject → last revision.
    #[must_use]
    pub fn rev(&self) -> String {
        self.key("rev")
    }

    /// LIST: positions of a subject's events, by revision; the oldest go with the events.
    #[must_use]
    pub fn subject(&self, subject: &str) -> String {
        [&self.prefix, "s:", subject].concat()
    }

    /// HASH: recent event ids; two buckets that take turns.
    #[must_use]
    pub fn ids(&self, bucket: usize) -> String {
        self.key(if bucket == 0 { "ids:0" } else { "ids:1" })
    }

    /// HASH: subject → newest snapshot.
    #[must_use]
    pub fn snap(&self) -> String {
        self.key("snap")
    }

    /// CHANNEL: rung once for each append script, and when a group has something to deliver.
    #[must_use]
    pub fn bell(&self) -> String {
        self.key("bell")
    }

    /// STRING: held by the replica that sweeps the topic.
    #[must_use]
    pub fn sweep(&self) -> String {
        self.key("sweep")
    }

    /// ZSET: names of the consumer groups, equal scores.
    #[must_use]
    pub fn groups(&self) -> String {
        self.key("groups")
    }

    /// HASH: settings of a group and how far it got.
    #[must_use]
    pub fn group_meta(&self, group: &Name) -> String {
        self.group(group, "meta")
    }

    /// See `scripts/group_common.lua`.
    #[must_use]
    pub fn group(&self, group: &Name, name: &str) -> String {
        [&self.prefix, "g:", group.as_str(), ":", name].concat()
    }

    /// The keys that the scripts of a group declare, in their order.
    #[must_use]
    pub fn group_all(&self, group: &Name) -> Vec<String> {
        let mut keys = vec![self.log(), self.meta()];
        keys.extend(GROUP_KEYS.iter().map(|name| self.group(group, name)));
        keys
    }
}

/// What a group has, in the order in which scripts declare it (after log and meta).
pub const GROUP_KEYS: [&str; 13] = [
    "meta",
    "leases",
    "retry",
    "tries",
    "busy",
    "waiting",
    "subjects",
    "parked",
    "parked_info",
    "done",
    "done_at",
    "acked",
    "calls",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_s_keys_share_a_hash_tag() {
        let keys = TopicKeys::new(&Name::parse("order").unwrap());
        let group = Name::parse("crm").unwrap();
        assert_eq!(keys.log(), "es:{order}:log");
        assert_eq!(keys.subject("order-1"), "es:{order}:s:order-1");
        for key in keys.group_all(&group) {
            assert!(key.starts_with("es:{order}:"), "{key}");
        }
    }
}
