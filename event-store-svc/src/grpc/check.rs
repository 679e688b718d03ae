//! Requests become the domain's types here, or an error that names every field that is wrong.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::server::eventstore::v1 as pb;
use svc_observe::context;
use svc_runtime::checks::{Checks, MAX_ITEMS};
use svc_runtime::rpc_error::RpcError;
use xxhash_rust::xxh3::Xxh3;

use super::Limits;
use super::status::DOMAIN;
use crate::model::event::{HEADERS, MalformedEvent};
use crate::model::{
    Append, Direction, Durability, EventFilter, EventView, Expectation, Expected, Name, NewEvent,
    Position, Start, Subject,
};

/// Entries of one list of a filter at most.
const MAX_FILTER: usize = 100;
/// Bytes of ids, types, content types and header names at most.
const MAX_TEXT: usize = 256;
/// Seconds and their parts in a `google.protobuf.Timestamp`: the years 1 to 9999.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS: std::ops::Range<i32> = 0..1_000_000_000;
const MAX_SOURCE: usize = 1_024;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_VALUE: usize = 4_096;

/// Begins the checks of a request.
pub fn begin() -> Checks {
    Checks::of(DOMAIN)
}

/// The checks of what only requests of this service have.
pub trait EventChecks {
    /// A name of a topic, group or consumer.
    fn name(&mut self, field: &str, text: &str) -> Option<Name>;

    /// A subject that must be there.
    fn subject(&mut self, field: &str, text: &str) -> Option<Subject>;

    /// A time since 1970.
    fn time(&mut self, field: &str, value: prost_types::Timestamp) -> Option<Duration>;

    /// A position.
    fn position(&mut self, field: &str, text: &str) -> Option<Position>;

    /// A start; where no subject is read there are no revisions.
    fn start(&mut self, field: &str, start: Option<pb::Start>, subject: bool) -> Option<Start>;

    /// A filter.
    fn filter(&mut self, filter: Option<pb::EventFilter>) -> EventFilter;
}

impl EventChecks for Checks {
    fn name(&mut self, field: &str, text: &str) -> Option<Name> {
        let name = Name::parse(text);
        if name.is_none() {
            self.because("INVALID_NAME", field, Name::RULE);
        }
        name
    }

    fn subject(&mut self, field: &str, text: &str) -> Option<Subject> {
        let subject = Subject::parse(text);
        if subject.is_none() {
            self.because("INVALID_NAME", field, Subject::RULE);
        }
        subject
    }

    fn time(&mut self, field: &str, value: prost_types::Timestamp) -> Option<Duration> {
        let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        // The last second of the year 9999, as the well-known type has it.
        let seconds =
            u64::try_from(value.seconds).ok().filter(|seconds| *seconds <= 253_402_300_799);
        let time = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
        if time.is_none() {
            self.wrong(field, "must be a time between the years 1970 and 9999");
        }
        time
    }

    fn position(&mut self, field: &str, text: &str) -> Option<Position> {
        let position = Position::parse(text);
        if position.is_none() {
            self.wrong(field, Position::RULE);
        }
        position
    }

    fn start(&mut self, field: &str, start: Option<pb::Start>, subject: bool) -> Option<Start> {
        use pb::start::At;
        let Some(at) = start?.at else {
            self.wrong(format!("{field}.at"), "must be set: give one of beginning, end, after_position, from_time, from_sequence, from_revision, or leave start out");
            return None;
        };
        Some(match at {
            At::Beginning(()) => Start::Beginning,
            At::End(()) => Start::End,
            At::AfterPosition(text) => {
                Start::After(self.position(&format!("{field}.after_position"), &text)?)
            }
            At::FromTime(time) => Start::Time(self.time(&format!("{field}.from_time"), time)?),
            At::FromSequence(0) => {
                self.wrong(format!("{field}.from_sequence"), "must be at least 1");
                return None;
            }
            At::FromSequence(sequence) => Start::Sequence(sequence),
            At::FromRevision(revision) if subject => Start::Revision(revision),
            At::FromRevision(_) => {
                self.wrong(
                    format!("{field}.from_revision"),
                    "can only be used where a subject is read",
                );
                return None;
            }
        })
    }

    fn filter(&mut self, filter: Option<pb::EventFilter>) -> EventFilter {
        let filter = filter.unwrap_or_default();
        let lists = [
            ("filter.types", &filter.types),
            ("filter.type_prefixes", &filter.type_prefixes),
            ("filter.subjects", &filter.subjects),
            ("filter.subject_prefixes", &filter.subject_prefixes),
        ];
        for (field, list) in lists {
            if list.len() > MAX_FILTER {
                self.length(field, list.len(), MAX_FILTER);
            }
            if let Some(at) = list.iter().position(|entry| !(1..=MAX_TEXT).contains(&entry.len())) {
                self.wrong(format!("{field}[{at}]"), "must be 1 to 256 bytes");
            }
        }
        let pb::EventFilter { types, type_prefixes, subjects, subject_prefixes } = filter;
        EventFilter { types, type_prefixes, subjects, subject_prefixes }
    }
}

/// Checks an append.
pub fn append(request: pb::AppendRequest, limits: Limits) -> Result<Append, RpcError> {
    let mut checks = begin();
    let topic = checks.name("topic", &request.topic);
    let durability = durability(&mut checks, request.durability);
    let trace = context::current();
    let headers = trace.as_ref().map(|_| context::map_entries(HEADERS)).unwrap_or_default();
    let mut events = Vec::with_capacity(request.events.len());
    let mut hash = Xxh3::new();
    let mut ids = HashSet::new();
    if checks.length("events", request.events.len(), MAX_ITEMS) {
        for (index, encoded) in request.events.iter().enumerate() {
            let Some(view) = event(&mut checks, index, encoded, limits) else {
                continue;
            };
            if let Some(id) = view.id
                && !ids.insert(id)
            {
                checks.wrong(format!("events[{index}].id"), "must not be used twice in one append");
            }
            events.push((encoded, view));
        }
    }
    let expectations = expectations(&mut checks, request.expectations);
    let with_ids = !ids.is_empty();
    let events: Vec<_> = events
        .into_iter()
        .map(|(encoded, view)| {
            if with_ids {
                view.fingerprint(&mut hash);
            }
            NewEvent::new(encoded, &view, &headers)
        })
        .collect();
    let fingerprint = with_ids.then(|| hash.digest128().to_be_bytes());
    let append = topic.zip(durability).map(|(topic, durability)| Append {
        topic,
        events,
        fingerprint,
        expectations,
        durability,
        stream: None,
        begun: Instant::now(),
        trace: trace.map(Box::new),
    });
    checks.done(append)
}

fn event<'a>(
    checks: &mut Checks,
    index: usize,
    encoded: &'a Bytes,
    limits: Limits,
) -> Option<EventView<'a>> {
    let field = |name: &str| format!("events[{index}].{name}");
    let view = match EventView::parse(encoded) {
        Ok(view) => view,
        Err(error @ (MalformedEvent::Utf8(name) | MalformedEvent::Field(name))) => {
            checks.wrong(field(name), error.to_string());
            return None;
        }
        Err(error @ (MalformedEvent::Encoding | MalformedEvent::Group)) => {
            checks.wrong(format!("events[{index}]"), error.to_string());
            return None;
        }
    };
    let length = |text: Option<&str>, range: std::ops::RangeInclusive<usize>| {
        text.is_none_or(|text| range.contains(&text.len()))
    };
    if !length(view.id, 1..=MAX_TEXT) {
        checks.wrong(field("id"), "must be 1 to 256 bytes, or absent");
    }
    if !length(Some(view.event_type), 1..=MAX_TEXT) {
        checks.wrong(field("type"), "must be 1 to 256 bytes");
    }
    if !length(view.source, 0..=MAX_SOURCE) {
        checks.wrong(field("source"), "must be at most 1,024 bytes");
    }
    if view.subject.is_some_and(|subject| !Subject::is_valid(subject)) {
        checks.because("INVALID_NAME", field("subject"), format!("{}, or absent", Subject::RULE));
    }
    if !length(view.content_type, 0..=MAX_TEXT) {
        checks.wrong(field("content_type"), "must be at most 256 bytes");
    }
    if view.time.is_some_and(|time| !TIMES.contains(&time.seconds) || !NANOS.contains(&time.nanos))
    {
        checks.wrong(field("time"), "must be a time between the years 1 and 9999");
    }
    if view.headers.len() > MAX_HEADERS {
        checks.because("TOO_MANY_ITEMS", field("headers"), "has more than 64 entries");
    }
    for (key, value) in &view.headers {
        if !(1..=MAX_TEXT).contains(&key.len()) {
            checks.wrong(field("headers"), "must have keys of 1 to 256 bytes");
        } else if value.len() > MAX_HEADER_VALUE {
            checks.wrong(field(&format!("headers[\"{key}\"]")), "must be at most 4,096 bytes");
        }
    }
    if let Some((data, text)) = view.data
        && data.len() > limits.max_event_bytes
    {
        let name = if text { "text_data" } else { "binary_data" };
        let (is, most) = (data.len(), limits.max_event_bytes);
        checks.because("EVENT_TOO_LARGE", field(name), format!("has {is} bytes; at most {most}"));
    }
    Some(view)
}

fn expectations(checks: &mut Checks, expectations: Vec<pb::Expectation>) -> Vec<Expectation> {
    use pb::expectation::Expected as Is;
    if expectations.len() > MAX_ITEMS {
        checks.length("expectations", expectations.len(), MAX_ITEMS);
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut checked = Vec::with_capacity(expectations.len());
    for (index, expectation) in expectations.into_iter().enumerate() {
        let field = format!("expectations[{index}].subject");
        let Some(subject) = checks.subject(&field, &expectation.subject) else {
            continue;
        };
        if !seen.insert(subject.clone()) {
            checks.wrong(field, "must not be expected twice in one append");
        }
        let expected = match expectation.expected {
            // Any state will do.
            None => continue,
            Some(Is::Revision(revision)) => Expected::Revision(revision),
            Some(Is::NoEvents(())) => Expected::NoEvents,
            Some(Is::Exists(())) => Expected::Exists,
        };
        checked.push(Expectation { subject, expected });
    }
    checked
}

fn durability(checks: &mut Checks, value: i32) -> Option<Durability> {
    match pb::Durability::try_from(value) {
        Ok(pb::Durability::Unspecified) => Some(Durability::Memory),
        Ok(pb::Durability::Fsynced) => Some(Durability::Fsynced),
        Ok(pb::Durability::Replicated) => Some(Durability::Replicated),
        Err(_) => {
            checks.wrong("durability", "must be a value of eventstore.v1.Durability");
            None
        }
    }
}

/// Checks a direction.
pub fn direction(checks: &mut Checks, value: i32) -> Option<Direction> {
    match pb::Direction::try_from(value) {
        Ok(pb::Direction::Unspecified | pb::Direction::Forward) => Some(Direction::Forward),
        Ok(pb::Direction::Backward) => Some(Direction::Backward),
        Err(_) => {
            checks.wrong("direction", "must be a value of eventstore.v1.Direction");
            None
        }
    }
}
