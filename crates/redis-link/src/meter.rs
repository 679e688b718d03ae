//! What is counted of Redis: how long it takes to answer, by command or script; what fails; how
//! often connections are made anew. Handles are taken once, with the link: a recorder has to be there
//! before it.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Instant,
};

use metrics::{Counter, Histogram, counter, histogram};
use redis::{Arg, Cmd};

use crate::{Call, LinkError};

const ROUND_TRIPS: &str = "redis_round_trip_seconds";

/// The commands that a service uses are far fewer; what is beyond counts as `other`.
const MOST_COMMANDS: usize = 100;

/// The handles of a link.
pub(crate) struct Meter {
    pipelines: Histogram,
    commands: RwLock<HashMap<Box<[u8]>, Histogram>>,
    unavailable: Counter,
    outcome_unknown: Counter,
    full: Counter,
    refused: Counter,
    protocol: Counter,
    reconnects: Counter,
}

impl Default for Meter {
    fn default() -> Self {
        let errors = |kind| counter!("redis_errors_total", "kind" => kind);
        Self {
            pipelines: histogram!(ROUND_TRIPS, "command" => "pipeline"),
            commands: RwLock::default(),
            unavailable: errors("unavailable"),
            outcome_unknown: errors("outcome_unknown"),
            full: errors("full"),
            refused: errors("refused"),
            protocol: errors("protocol"),
            reconnects: counter!("redis_reconnects_total"),
        }
    }
}

impl Meter {
    /// A script's, which it keeps.
    pub(crate) fn of_script(name: &'static str) -> Histogram {
        histogram!(ROUND_TRIPS, "command" => name)
    }

    pub(crate) fn called(call: &Call<'_>, begun: Instant) {
        call.script().round_trips().record(begun.elapsed());
    }

    pub(crate) fn piped(&self, begun: Instant) {
        self.pipelines.record(begun.elapsed());
    }

    pub(crate) fn commanded(&self, cmd: &Cmd, begun: Instant) {
        let took = begun.elapsed();
        let Some(Arg::Simple(name)) = cmd.args_iter().next() else { return };
        let known = self.commands.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = known.get(name) {
            histogram.record(took);
            return;
        }
        drop(known);
        let mut known = self.commands.write().unwrap_or_else(PoisonError::into_inner);
        let label = match std::str::from_utf8(name) {
            Ok(name) if known.len() < MOST_COMMANDS => name.to_ascii_lowercase(),
            _ => "other".to_owned(),
        };
        let histogram = histogram!(ROUND_TRIPS, "command" => label);
        histogram.record(took);
        if known.len() < MOST_COMMANDS {
            known.insert(name.into(), histogram);
        }
    }

    pub(crate) fn failed(&self, error: &LinkError) {
        let kind = match error {
            LinkError::Unavailable(_) => &self.unavailable,
            LinkError::OutcomeUnknown(_) => &self.outcome_unknown,
            LinkError::Full(_) => &self.full,
            LinkError::Refused { .. } => &self.refused,
            LinkError::Protocol(_) => &self.protocol,
        };
        kind.increment(1);
    }

    /// A connection was made that was there before.
    pub(crate) fn reconnected(&self) {
        self.reconnects.increment(1);
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}
