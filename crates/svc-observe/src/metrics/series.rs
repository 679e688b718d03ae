//! What is counted by topic, by group and by queue.

use super::catalog::{Described, Kind};
use super::names::{BoundedNames, Count, Series};

/// Counters by topic.
pub type Topics = BoundedNames<TopicCounters, 1>;
/// Counters by topic and group.
pub type Groups = BoundedNames<GroupCounters, 2>;
/// Counters by queue.
pub type Queues = BoundedNames<QueueCounters, 1>;

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described { name, kind: Kind::Counter, labels, help }
}

const TOPIC: &[&str] = &["topic"];
const GROUP: &[&str] = &["topic", "group"];
const QUEUE: &[&str] = &["queue"];

/// Counters of a topic.
#[derive(Debug, Default)]
pub struct TopicCounters {
    /// Events appended; repeats that were stored before are not.
    pub appended: Count,
    /// Events that readers and subscribers were sent, outside of groups.
    pub read: Count,
}

impl Series<1> for TopicCounters {
    const METRICS: &'static [Described] = &[
        counter(
            "eventstore_appended_events_total",
            TOPIC,
            "Events appended; repeats of stored ones are not counted.",
        ),
        counter(
            "eventstore_read_events_total",
            TOPIC,
            "Events sent to readers and subscribers, outside of consumer groups.",
        ),
    ];

    fn values(&self) -> impl Iterator<Item = u64> {
        [&self.appended, &self.read].into_iter().map(Count::get)
    }
}

/// Counters of a consumer group.
#[derive(Debug, Default)]
pub struct GroupCounters {
    /// Deliveries, first ones and others.
    pub delivered: Count,
    /// Events acked, each once.
    pub acked: Count,
    /// Deliveries that were not an event's first.
    pub redelivered: Count,
    /// Events parked.
    pub parked: Count,
}

impl Series<2> for GroupCounters {
    const METRICS: &'static [Described] = &[
        counter(
            "eventstore_delivered_events_total",
            GROUP,
            "Deliveries to consumer groups, first ones and redeliveries.",
        ),
        counter("eventstore_acked_events_total", GROUP, "Events acked by consumer groups."),
        counter(
            "eventstore_redelivered_events_total",
            GROUP,
            "Deliveries to consumer groups that were not an event's first.",
        ),
        counter("eventstore_parked_events_total", GROUP, "Events parked by consumer groups."),
    ];

    fn values(&self) -> impl Iterator<Item = u64> {
        [&self.delivered, &self.acked, &self.redelivered, &self.parked].into_iter().map(Count::get)
    }
}

/// Counters of a queue.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Messages sent; repeats that were stored before are not.
    pub sent: Count,
    /// Deliveries, first ones and others.
    pub delivered: Count,
    /// Messages acked, by ack or reply, each once.
    pub acked: Count,
    /// Deliveries after a failed attempt: a nack, or a lease that ran out.
    pub redelivered: Count,
    /// Messages that became dead letters.
    pub dead_lettered: Count,
}

impl Series<1> for QueueCounters {
    const METRICS: &'static [Described] = &[
        counter(
            "messagequeue_sent_messages_total",
            QUEUE,
            "Messages sent; repeats of stored ones are not counted.",
        ),
        counter(
            "messagequeue_delivered_messages_total",
            QUEUE,
            "Messages leased to consumers, first deliveries and others.",
        ),
        counter("messagequeue_acked_messages_total", QUEUE, "Messages acked, by ack or by reply."),
        counter(
            "messagequeue_redelivered_messages_total",
            QUEUE,
            "Deliveries of messages after a nack or a lease that ran out.",
        ),
        counter(
            "messagequeue_dead_lettered_messages_total",
            QUEUE,
            "Messages that became dead letters.",
        ),
    ];

    fn values(&self) -> impl Iterator<Item = u64> {
        [&self.sent, &self.delivered, &self.acked, &self.redelivered, &self.dead_lettered]
            .into_iter()
            .map(Count::get)
    }
}
