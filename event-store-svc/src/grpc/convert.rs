//! The domain's types as answers.

use std::time::Duration;

use proto::server::eventstore::v1 as pb;

use super::status;
use crate::error::StoreError;
use crate::model::{
    Appended, Delivery, Durability, Group, GroupSettings, Name, Ordering, ParkedEvent, Start, Topic,
};

/// A time since 1970.
pub fn timestamp(time: Duration) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
    }
}

/// A duration; those here are hours at most.
pub fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// The answer to an append.
pub fn appended(appended: Appended) -> pb::AppendResponse {
    pb::AppendResponse {
        first_position: appended.first.to_string(),
        last_position: appended.last.to_string(),
        first_sequence: appended.first_sequence,
        subject_revisions: appended.subject_revisions.into_iter().collect(),
        deduplicated: appended.deduplicated,
        durability: match appended.durability {
            Durability::Memory => pb::Durability::Unspecified,
            Durability::Fsynced => pb::Durability::Fsynced,
            Durability::Replicated => pb::Durability::Replicated,
        }
        .into(),
    }
}

/// A topic.
pub fn topic(topic: &Topic) -> pb::Topic {
    pb::Topic {
        topic: topic.name.to_string(),
        settings: Some(pb::TopicSettings {
            retention: Some(pb::Retention {
                max_events: topic.retention.max_events,
                max_age: topic.retention.max_age.map(duration),
                max_bytes: topic.retention.max_bytes,
                keep_unacknowledged: Some(topic.retention.keep_unacknowledged),
            }),
            dedup_window: Some(duration(topic.dedup_window)),
        }),
        events: topic.events,
        first_position: topic.first.map(|position| position.to_string()),
        last_position: topic.last.map(|position| position.to_string()),
        bytes: topic.bytes,
        subjects: topic.subjects,
        groups: topic.groups.iter().map(ToString::to_string).collect(),
        appended_per_second: topic.appended_per_second,
        last_sequence: topic.last_sequence,
        created_at: Some(timestamp(topic.created)),
    }
}

/// A group.
pub fn group(group: Group) -> pb::Group {
    let consumers = group.consumers.into_iter().map(|consumer| pb::Consumer {
        name: consumer.name,
        in_flight: consumer.in_flight,
        last_seen: Some(timestamp(consumer.last_seen)),
    });
    pb::Group {
        topic: group.topic.to_string(),
        group: group.name.to_string(),
        settings: Some(group_settings(&group.settings)),
        lag: group.lag,
        pending: group.pending,
        oldest_pending_age: group.oldest_pending_age.map(duration),
        parked: group.parked,
        consumers: consumers.collect(),
        acked_per_second: group.acked_per_second,
        last_delivered_position: group.last_delivered.map(|position| position.to_string()),
    }
}

fn group_settings(settings: &GroupSettings) -> pb::GroupSettings {
    use pb::start::At;
    let at = match settings.start {
        // A group reads no subject: it has no revision to start from.
        Start::Beginning | Start::Revision(_) => At::Beginning(()),
        Start::End => At::End(()),
        Start::After(position) => At::AfterPosition(position.to_string()),
        Start::Time(time) => At::FromTime(timestamp(time)),
        Start::Sequence(sequence) => At::FromSequence(sequence),
    };
    pb::GroupSettings {
        start: Some(pb::Start { at: Some(at) }),
        ack_timeout: Some(duration(settings.ack_timeout)),
        max_deliveries: Some(settings.max_deliveries),
        retry_backoff: Some(pb::Backoff {
            initial: Some(duration(settings.backoff_initial)),
            max: Some(duration(settings.backoff_max)),
            multiplier: Some(settings.backoff_multiplier),
        }),
        ordering: match settings.ordering {
            Ordering::None => pb::Ordering::None,
            Ordering::Subject => pb::Ordering::Subject,
        }
        .into(),
        max_in_flight: Some(settings.max_in_flight),
    }
}

/// A delivery.
pub fn delivery(delivery: &Delivery, topic: &Name, group: &Name) -> pb::Delivery {
    pb::Delivery {
        event: delivery.event.to_recorded(topic),
        delivery_count: delivery.delivery_count,
        lease_expires_at: Some(timestamp(delivery.lease_expires_at)),
        receipt: delivery.receipt.encode(topic, group),
    }
}

/// A parked event.
pub fn parked(parked: &ParkedEvent, topic: &Name, group: &Name) -> pb::ParkedEvent {
    let event = parked.event.as_ref().map(|event| event.to_recorded(topic));
    pb::ParkedEvent {
        event: event.unwrap_or_default(),
        position: parked.position.to_string(),
        delivery_count: parked.delivery_count,
        reason: parked.reason.clone(),
        parked_at: Some(timestamp(parked.parked_at)),
        receipt: parked.receipt.encode(topic, group),
    }
}

/// What became of one receipt.
pub fn outcome<T>(receipt: String, result: Result<T, &StoreError>) -> pb::Outcome {
    pb::Outcome { receipt, error: result.err().map(|error| status::of(error).into()) }
}
