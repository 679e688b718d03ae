//! What is counted of this replica's work, for metrics: once a batch, never once an event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram, gauge, histogram};
use svc_observe::metrics::Metrics;
use svc_observe::metrics::series::{GroupCounters, Groups, TopicCounters, Topics};

use crate::model::{Append, Appended, Delivery, Name};
use crate::store::Result;

/// Counters and histograms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Figures {
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    append_seconds: Histogram,
    append_batch_events: Histogram,
    subscribers: Gauge,
}

impl Figures {
    /// Those of a service.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            topics: metrics.topics().clone(),
            groups: metrics.groups().clone(),
            append_seconds: histogram!("eventstore_append_seconds"),
            append_batch_events: histogram!("eventstore_append_batch_events"),
            subscribers: gauge!("eventstore_subscribers"),
        }
    }

    /// Those by topic.
    #[must_use]
    pub fn topics(&self) -> &Arc<Topics> {
        &self.topics
    }

    /// Those by topic and group.
    #[must_use]
    pub fn groups(&self) -> &Arc<Groups> {
        &self.groups
    }

    /// The counters of a topic.
    #[must_use]
    pub fn of_topic(&self, topic: &Name) -> Arc<TopicCounters> {
        self.topics.of([topic.as_str()])
    }

    /// The counters of a group.
    #[must_use]
    pub fn of_group(&self, topic: &Name, group: &Name) -> Arc<GroupCounters> {
        self.groups.of([topic.as_str(), group.as_str()])
    }

    /// A batch was answered by Redis.
    pub(crate) fn appended(&self, topic: &Name, items: &[Append], answers: &[Result<Appended>]) {
        let is_new = |answer: &Result<Appended>| answer.as_ref().is_ok_and(|a| !a.deduplicated);
        let new = items.iter().zip(answers).filter(|(_, answer)| is_new(answer));
        let events: usize = new.map(|(item, _)| item.events.len()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a batch has a few thousand at most")]
        self.append_batch_events.record(events as f64);
        if events > 0 {
            self.of_topic(topic).appended.add(events as u64);
        }
    }

    /// Appends are answered, however that may be.
    pub(crate) fn answered(&self, items: &[Append]) {
        let now = Instant::now();
        for item in items {
            let took: Duration = now.saturating_duration_since(item.begun);
            self.append_seconds.record(took);
        }
    }

    /// Counts a subscription as long as what this returns is there.
    pub(crate) fn subscriber(&self) -> Subscriber {
        self.subscribers.increment(1);
        Subscriber(self.subscribers.clone())
    }
}

/// These go to a member of a group.
pub(crate) fn delivered(counters: &GroupCounters, deliveries: &[Delivery]) {
    let again = deliveries.iter().filter(|delivery| delivery.delivery_count > 1).count();
    counters.delivered.add(deliveries.len() as u64);
    counters.redelivered.add(again as u64);
}

/// See [`Figures::subscriber`].
#[derive(Debug)]
pub(crate) struct Subscriber(Gauge);

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
