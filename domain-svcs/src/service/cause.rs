//! What caused an event. Ids are derived from it, so that whatever happens
//! twice for one cause has the same ids and is stored once.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use proto::eventstore::v1 as es;
use proto::messagequeue::v1 as mq;
use svc_observe::context::{self, TRACEPARENT};
use uuid::Uuid;

/// The root of all derived ids. Changing it would make known work look new.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f72_6465_7273_686f_7000_0000_0000_0001);

/// The header of an event that names its cause.
pub(crate) const CAUSATION_ID: &str = "causation_id";
/// The header of a command that identifies it across several sends.
pub(crate) const COMMAND_ID: &str = "command_id";

/// An id that is the same for the same parts.
#[must_use]
pub fn derive_id(parts: &[&str]) -> String {
    // Lengths keep ("ab", "c") and ("a", "bc") apart.
    let name: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string()
}

/// A command or an event that makes something happen.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Identifies it, however often it is delivered.
    pub id: String,
    /// When it happened. What it causes carries this time: one that is looked
    /// up anew would make a repeated event differ from the first.
    pub time: Option<Timestamp>,
    /// The trace that it came with, which is the same however often it comes.
    pub traceparent: Option<String>,
}

impl Cause {
    /// A command as cause.
    #[must_use]
    pub fn of_message(message: &mq::Message, sent_at: Option<Timestamp>) -> Self {
        let id = message.headers.get(COMMAND_ID).or(message.id.as_ref());
        Self {
            id: id.cloned().unwrap_or_default(),
            time: sent_at,
            traceparent: message.headers.get(TRACEPARENT).cloned(),
        }
    }

    /// An event as cause.
    #[must_use]
    pub fn of_event(recorded: &es::RecordedEvent) -> Self {
        let event = recorded.event.as_ref();
        Self {
            id: event
                .and_then(|event| event.id.clone())
                .unwrap_or_else(|| format!("{}/{}", recorded.topic, recorded.position)),
            time: recorded.recorded_at,
            traceparent: event.and_then(|event| event.headers.get(TRACEPARENT).cloned()),
        }
    }

    /// The id of what is done in one step for this cause.
    #[must_use]
    pub fn step(&self, step: &str) -> String {
        derive_id(&[&self.id, step])
    }

    /// Headers for what this causes, in the trace that is current.
    #[must_use]
    pub fn headers(&self) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::from([(CAUSATION_ID.to_owned(), self.id.clone())]);
        context::inject(&mut headers);
        headers
    }

    /// When it happened, in seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.time.map_or(0.0, |time| seconds(&time))
    }
}

/// A time in seconds since 1970, to the millisecond.
#[allow(clippy::cast_precision_loss, reason = "milliseconds fit an f64 for 285,000 years")]
pub(crate) fn seconds(time: &Timestamp) -> f64 {
    (time.seconds * 1000 + i64::from(time.nanos) / 1_000_000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_every_part_and_nothing_else() {
        assert_eq!(derive_id(&["a", "b"]), derive_id(&["a", "b"]));
        assert_ne!(derive_id(&["ab", "c"]), derive_id(&["a", "bc"]));
        // Stored events carry these ids: they must never change.
        assert_eq!(derive_id(&["a"]), derive_id(&["a"]));
    }
}
