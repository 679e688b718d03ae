//! Every metric: name, kind, labels, help, and the buckets of histograms. Those by name are in
//! [`super::series`].
//!
//! Units are base units and part of the name, as Prometheus wants it (`_seconds`, `_bytes`).

use metrics::Unit;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by how large they are.
    Histogram,
}

impl Kind {
    /// As the text format says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric and what is said about it.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// With its unit at the end.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

impl Described {
    /// In what it counts, as the name says.
    #[must_use]
    pub fn unit(&self) -> Unit {
        let name = self.name.trim_end_matches("_total");
        if name.ends_with("_seconds") {
            Unit::Seconds
        } else if name.ends_with("_bytes") {
            Unit::Bytes
        } else {
            Unit::Count
        }
    }

    /// Tells the facade.
    pub(super) fn describe(&self) {
        let (name, unit, help) = (self.name, self.unit(), self.help);
        match self.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

/// 100 µs to 10 s: a lone call on an idle machine takes 0.2 ms, one that waits for a group of
/// others some ms, and one that waits for Redis to come back some seconds.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// One item to the most that a batch has.
pub const ITEM_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Histograms of items; all others are of seconds.
pub const ITEM_HISTOGRAMS: &[&str] = &["lane_batch_items", "eventstore_append_batch_events"];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described { name, kind: Kind::Counter, labels, help }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described { name, kind: Kind::Histogram, labels, help }
}

const METHOD: &[&str] = &["service", "method"];

/// What is recorded through the facade, as it happens.
pub const RECORDED: &[Described] = &[
    counter(
        "grpc_server_handled_total",
        &["service", "method", "code"],
        "Calls that ended, streams included, by gRPC status code.",
    ),
    histogram(
        "grpc_server_handling_seconds",
        METHOD,
        "How long calls took; of a stream, how long it was open.",
    ),
    gauge("grpc_server_streams", METHOD, "Calls that are open now, streams and others."),
    histogram("eventstore_append_seconds", &[], "How long appends took, queueing included."),
    histogram(
        "eventstore_append_batch_events",
        &[],
        "Events that went to Redis in one script call.",
    ),
    gauge("eventstore_subscribers", &[], "Subscriptions that are open now."),
    histogram("messagequeue_send_seconds", &[], "How long sends took, queueing included."),
    histogram("lane_batch_items", &["lane"], "Items that shared a round trip."),
    histogram("lane_wait_seconds", &["lane"], "How long the first item of a batch had waited."),
    histogram(
        "redis_round_trip_seconds",
        &["command"],
        "How long Redis took to answer, by command or script.",
    ),
    counter("redis_errors_total", &["kind"], "Failed calls to Redis, by kind of error."),
    counter("redis_reconnects_total", &[], "Connections to Redis that were made anew."),
    gauge("build_info", &["version", "service"], "1; what runs is in the labels."),
];

/// What is asked for at scrape time.
pub mod collected {
    use super::{Described, counter, gauge};

    const TOPIC: &[&str] = &["topic"];
    const GROUP: &[&str] = &["topic", "group"];
    const QUEUE: &[&str] = &["queue"];
    const COLLECTOR: &[&str] = &["collector"];

    /// `eventstore_topic_events`
    pub const TOPIC_EVENTS: Described =
        gauge("eventstore_topic_events", TOPIC, "Events that a topic holds.");
    /// `eventstore_topic_bytes`
    pub const TOPIC_BYTES: Described =
        gauge("eventstore_topic_bytes", TOPIC, "Bytes of the events that a topic holds.");
    /// `eventstore_group_lag_events`
    pub const GROUP_LAG_EVENTS: Described =
        gauge("eventstore_group_lag_events", GROUP, "Events that a group was not delivered yet.");
    /// `eventstore_group_pending_events`
    pub const GROUP_PENDING_EVENTS: Described =
        gauge("eventstore_group_pending_events", GROUP, "Events delivered and not yet acked.");
    /// `eventstore_group_parked_events`
    pub const GROUP_PARKED_EVENTS: Described =
        gauge("eventstore_group_parked_events", GROUP, "Events that a group has parked.");
    /// `eventstore_group_oldest_pending_seconds`
    pub const GROUP_OLDEST_PENDING_SECONDS: Described = gauge(
        "eventstore_group_oldest_pending_seconds",
        GROUP,
        "Age of the oldest event that is delivered and not yet acked.",
    );
    /// `messagequeue_ready_messages`
    pub const READY_MESSAGES: Described =
        gauge("messagequeue_ready_messages", QUEUE, "Messages that wait for a consumer.");
    /// `messagequeue_leased_messages`
    pub const LEASED_MESSAGES: Described =
        gauge("messagequeue_leased_messages", QUEUE, "Messages that consumers are working on.");
    /// `messagequeue_delayed_messages`
    pub const DELAYED_MESSAGES: Described =
        gauge("messagequeue_delayed_messages", QUEUE, "Messages that are not due yet.");
    /// `messagequeue_dead_letters`
    pub const DEAD_LETTERS: Described =
        gauge("messagequeue_dead_letters", QUEUE, "Dead letters that are kept.");
    /// `messagequeue_oldest_message_seconds`
    pub const OLDEST_MESSAGE_SECONDS: Described = gauge(
        "messagequeue_oldest_message_seconds",
        QUEUE,
        "Age of the oldest message that waits for a consumer.",
    );
    /// `redis_up`
    pub const REDIS_UP: Described = gauge("redis_up", &[], "1 when Redis answers, 0 when not.");
    /// `redis_pool_connections`
    pub const REDIS_POOL_CONNECTIONS: Described = gauge(
        "redis_pool_connections",
        &["state"],
        "Connections for blocking commands, in use or idle.",
    );
    /// `redis_memory_used_bytes`
    pub const REDIS_MEMORY_USED_BYTES: Described =
        gauge("redis_memory_used_bytes", &[], "Memory that Redis uses.");
    /// `redis_memory_max_bytes`
    pub const REDIS_MEMORY_MAX_BYTES: Described =
        gauge("redis_memory_max_bytes", &[], "Memory that Redis may use; 0 when no limit is set.");

    /// `grpc_server_connections`
    pub const SERVER_CONNECTIONS: Described =
        gauge("grpc_server_connections", &[], "Connections that are open now.");
    /// `auth_denied_total`, which counts where it happens
    pub const AUTH_DENIED: Described =
        counter("auth_denied_total", &["reason"], "What was refused, by reason.");

    /// `collector_success`
    pub const COLLECTOR_SUCCESS: Described = gauge(
        "collector_success",
        COLLECTOR,
        "1 when gauges asked for at this scrape are here, 0 when that failed or took too long.",
    );
    /// `collector_duration_seconds`
    pub const COLLECTOR_DURATION_SECONDS: Described =
        gauge("collector_duration_seconds", COLLECTOR, "How long it took to ask for gauges.");
    /// `collector_last_success_timestamp_seconds`
    pub const COLLECTOR_LAST_SUCCESS: Described = gauge(
        "collector_last_success_timestamp_seconds",
        COLLECTOR,
        "When gauges could be asked for last, as a Unix time; absent when never.",
    );
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::names::Series as _;
    use super::super::series::{GroupCounters, QueueCounters, TopicCounters};
    use super::collected::*;
    use super::*;

    fn all() -> Vec<Described> {
        let collected = [
            TOPIC_EVENTS,
            TOPIC_BYTES,
            GROUP_LAG_EVENTS,
            GROUP_PENDING_EVENTS,
            GROUP_PARKED_EVENTS,
            GROUP_OLDEST_PENDING_SECONDS,
            READY_MESSAGES,
            LEASED_MESSAGES,
            DELAYED_MESSAGES,
            DEAD_LETTERS,
            OLDEST_MESSAGE_SECONDS,
            REDIS_UP,
            REDIS_POOL_CONNECTIONS,
            REDIS_MEMORY_USED_BYTES,
            REDIS_MEMORY_MAX_BYTES,
            SERVER_CONNECTIONS,
            AUTH_DENIED,
            COLLECTOR_SUCCESS,
            COLLECTOR_DURATION_SECONDS,
            COLLECTOR_LAST_SUCCESS,
        ];
        let named = [TopicCounters::METRICS, GroupCounters::METRICS, QueueCounters::METRICS];
        [RECORDED, &collected, &named.concat()].concat()
    }

    /// docs/metrics.md, which dashboards and alerts are checked against: name, kind, labels.
    fn documented() -> Vec<(String, String, Vec<String>)> {
        let page = include_str!("../../../../docs/metrics.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let text = |cell: &str| cell.trim_matches('`').to_owned();
        cells
            .map(|cells| {
                let labels = cells[3].split(',').map(|label| label.trim().to_owned());
                let labels = labels.filter(|label| !label.is_empty()).collect();
                (text(cells[1]), text(cells[2]), labels)
            })
            .collect()
    }

    #[test]
    fn the_page_of_metrics_tells_of_these_and_no_others() {
        let documented = documented();
        assert!(documented.len() > 40, "{documented:?}");
        let own = |metric: &Described| {
            let labels = metric.labels.iter().map(|label| (*label).to_owned()).collect();
            (metric.name.to_owned(), metric.kind.as_str().to_owned(), labels)
        };
        let all: Vec<_> = all().iter().map(own).collect();
        for row in &documented {
            assert!(all.contains(row), "docs/metrics.md has {row:?}");
        }
        for metric in &all {
            assert!(documented.contains(metric), "docs/metrics.md does not have {metric:?}");
        }
    }

    /// What `promtool check metrics` would say, and that no name is taken twice.
    #[test]
    fn metrics_are_named_as_prometheus_wants_it() {
        let mut names = HashSet::new();
        for metric in all() {
            let Described { name, kind, labels, help } = metric;
            assert!(names.insert(name), "{name} twice");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{name}: {help}");
            assert!(!labels.contains(&"le") && !labels.contains(&"quantile"), "{name}");
            for foreign in ["_milliseconds", "_ms", "_kilobytes", "_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(foreign), "{name}");
            }
        }
        for name in ITEM_HISTOGRAMS {
            assert!(names.contains(name), "{name}");
        }
        assert_eq!(REDIS_MEMORY_USED_BYTES.unit(), Unit::Bytes);
        assert_eq!(names.len(), 44);
    }
}
