//! Checks of what is special to consumer groups: settings, receipts, nacks, selections.

use std::time::Duration;

use proto::server::eventstore::v1 as pb;

use svc_runtime::checks::{Checks, MAX_ITEMS, MAX_LEASE};

use super::check::EventChecks as _;
use crate::model::{GroupSettings, NackAction, Name, Ordering, ParkedSelection, Receipt, Settle};
use crate::store::GroupChange;

const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=MAX_LEASE;
const WAITS: std::ops::RangeInclusive<Duration> = Duration::ZERO..=MAX_LEASE;
/// Bytes of a reason at most.
const MAX_REASON: usize = 1_024;
/// How long a Fetch may wait.
pub const MAX_WAIT: Duration = Duration::from_secs(20);

/// Checks the settings of a new group.
pub fn settings(checks: &mut Checks, settings: Option<pb::GroupSettings>) -> GroupSettings {
    let settings = settings.unwrap_or_default();
    let start = checks.start("settings.start", settings.start.clone(), false);
    let change = change_of(checks, &settings);
    let default = GroupSettings::default();
    let backoff_initial = change.backoff_initial.unwrap_or(default.backoff_initial);
    GroupSettings {
        start: start.unwrap_or_default(),
        ack_timeout: change.ack_timeout.unwrap_or(default.ack_timeout),
        max_deliveries: change.max_deliveries.unwrap_or(default.max_deliveries),
        backoff_initial,
        backoff_max: change.backoff_max.unwrap_or(default.backoff_max.max(backoff_initial)),
        backoff_multiplier: change.backoff_multiplier.unwrap_or(default.backoff_multiplier),
        ordering: change.ordering.unwrap_or(default.ordering),
        max_in_flight: change.max_in_flight.unwrap_or(default.max_in_flight),
    }
}

/// Checks what is to change.
pub fn change(checks: &mut Checks, settings: Option<pb::GroupSettings>) -> GroupChange {
    let Some(settings) = settings else {
        checks.wrong("settings", "must be given: what is to change");
        return GroupChange::default();
    };
    if settings.start.is_some() {
        checks.wrong("settings.start", "cannot be changed; use ResetGroup");
    }
    change_of(checks, &settings)
}

fn change_of(checks: &mut Checks, settings: &pb::GroupSettings) -> GroupChange {
    let pb::Backoff { initial, max, multiplier } = settings.retry_backoff.unwrap_or_default();
    let backoff = checks.backoff("settings.retry_backoff", initial, max, multiplier);
    if backoff.initial.zip(backoff.max).is_some_and(|(initial, max)| max < initial) {
        checks.wrong("settings.retry_backoff.max", "must be at least initial");
    }
    let ordering = match pb::Ordering::try_from(settings.ordering) {
        Ok(pb::Ordering::Unspecified) => None,
        Ok(pb::Ordering::None) => Some(Ordering::None),
        Ok(pb::Ordering::Subject) => Some(Ordering::Subject),
        Err(_) => {
            checks.wrong("settings.ordering", "must be a value of eventstore.v1.Ordering");
            None
        }
    };
    GroupChange {
        ack_timeout: checks.duration("settings.ack_timeout", settings.ack_timeout, LEASES),
        max_deliveries: checks.number(
            "settings.max_deliveries",
            settings.max_deliveries,
            1..=1_000,
        ),
        backoff_initial: backoff.initial,
        backoff_max: backoff.max,
        backoff_multiplier: backoff.multiplier,
        ordering,
        max_in_flight: checks.number("settings.max_in_flight", settings.max_in_flight, 1..=10_000),
    }
}

/// Receipts as they came, and what each of them names: nothing, if it is none of this group.
pub type Receipts = Vec<(String, Option<Receipt>)>;

/// Checks how many there are; which of them are no receipts is told one by one.
pub fn receipts(
    checks: &mut Checks,
    field: &str,
    receipts: Vec<String>,
    topic: &Name,
    group: &Name,
) -> Receipts {
    if !checks.length(field, receipts.len(), MAX_ITEMS) {
        return Vec::new();
    }
    let read = |text: String| {
        let receipt = Receipt::decode(&text, topic, group);
        (text, receipt)
    };
    receipts.into_iter().map(read).collect()
}

/// Checks what a nack asks for.
pub fn nack(
    checks: &mut Checks,
    prefix: &str,
    action: i32,
    delay: Option<prost_types::Duration>,
    reason: String,
) -> Option<Settle> {
    let delayed = delay.is_some();
    let delay = checks.duration(&format!("{prefix}delay"), delay, WAITS);
    if reason.len() > MAX_REASON {
        checks.wrong(format!("{prefix}reason"), "must be at most 1,024 bytes");
    }
    let action = match pb::NackAction::try_from(action) {
        Ok(pb::NackAction::Unspecified | pb::NackAction::Retry) => NackAction::Retry { delay },
        Ok(pb::NackAction::Park) => NackAction::Park,
        Ok(pb::NackAction::Skip) => NackAction::Skip,
        Err(_) => {
            checks.wrong(format!("{prefix}action"), "must be a value of eventstore.v1.NackAction");
            return None;
        }
    };
    if delayed && !matches!(action, NackAction::Retry { .. }) {
        checks.wrong(format!("{prefix}delay"), "can only be used with a retry");
    }
    Some(Settle::Nack { action, reason })
}

/// Checks by how much leases are extended.
pub fn extend(checks: &mut Checks, prefix: &str, by: Option<prost_types::Duration>) -> Settle {
    Settle::Extend { by: checks.duration(&format!("{prefix}by"), by, LEASES) }
}

/// Checks which parked events are meant: a limit or receipts.
pub fn selection(
    checks: &mut Checks,
    limit: Option<u32>,
    named: Vec<String>,
    topic: &Name,
    group: &Name,
) -> Option<ParkedSelection> {
    match (limit, named.is_empty()) {
        (Some(_), true) => checks.number("limit", limit, 1..=1_000).map(ParkedSelection::Oldest),
        (None, false) => {
            let read = receipts(checks, "receipts", named, topic, group);
            let found: Vec<_> = read.iter().filter_map(|(_, receipt)| *receipt).collect();
            if found.len() < read.len() {
                checks.wrong("receipts", Receipt::RULE);
            }
            Some(ParkedSelection::Receipts(found))
        }
        _ => {
            checks.wrong("limit", "or receipts must be given, and not both");
            None
        }
    }
}
