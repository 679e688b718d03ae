//! The settings of a queue: defaults, ranges, changes.

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The shortest lease.
pub const MIN_LEASE: Duration = SECOND;
/// The longest delay, time to live and retention.
pub const MAX_KEPT: Duration = Duration::from_secs(90 * 86_400);

/// How a queue works. `None`: no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// How long a consumer may take unless it says so itself.
    pub lease: Duration,
    /// After how many failed attempts a message becomes a dead letter.
    pub max_attempts: u32,
    /// The wait before the first retry.
    pub backoff_initial: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// The growth from one wait to the next.
    pub backoff_multiplier: f64,
    /// How long a message is kept for handling.
    pub message_retention: Option<Duration>,
    /// How many messages there may be.
    pub max_messages: Option<u64>,
    /// How long dedup keys are remembered; zero: not at all.
    pub dedup_window: Duration,
    /// How long a reply is kept.
    pub reply_retention: Duration,
    /// How many messages may be in flight.
    pub max_in_flight: Option<u64>,
    /// How many messages may be delivered a second.
    pub max_rate: Option<f64>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            max_attempts: 5,
            backoff_initial: SECOND,
            backoff_max: Duration::from_secs(300),
            backoff_multiplier: 2.0,
            message_retention: None,
            max_messages: None,
            dedup_window: Duration::from_secs(120),
            reply_retention: Duration::from_secs(60),
            max_in_flight: None,
            max_rate: None,
        }
    }
}

/// What a request says about settings, each in its range: what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingsChange {
    /// See [`QueueSettings::lease`].
    pub lease: Option<Duration>,
    /// See [`QueueSettings::max_attempts`].
    pub max_attempts: Option<u32>,
    /// See [`QueueSettings::backoff_initial`].
    pub backoff_initial: Option<Duration>,
    /// See [`QueueSettings::backoff_max`].
    pub backoff_max: Option<Duration>,
    /// See [`QueueSettings::backoff_multiplier`].
    pub backoff_multiplier: Option<f64>,
    /// See [`QueueSettings::message_retention`]; zero: for ever.
    pub message_retention: Option<Duration>,
    /// See [`QueueSettings::max_messages`]; zero: no limit.
    pub max_messages: Option<u64>,
    /// See [`QueueSettings::dedup_window`].
    pub dedup_window: Option<Duration>,
    /// See [`QueueSettings::reply_retention`].
    pub reply_retention: Option<Duration>,
    /// See [`QueueSettings::max_in_flight`]; zero: no limit.
    pub max_in_flight: Option<u64>,
    /// See [`QueueSettings::max_rate`]; zero: no limit.
    pub max_rate: Option<f64>,
}

/// A setting that does not fit the others: its name in the API, and what it must be.
pub type Problem = (&'static str, &'static str);

impl SettingsChange {
    /// The settings after the change.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn apply(&self, to: &QueueSettings) -> Result<QueueSettings, Problem> {
        let limit = |change: Option<u64>, was: Option<u64>| {
            change.map_or(was, |n| Some(n).filter(|n| *n > 0))
        };
        let mut settings = QueueSettings {
            lease: self.lease.unwrap_or(to.lease),
            max_attempts: self.max_attempts.unwrap_or(to.max_attempts),
            backoff_initial: self.backoff_initial.unwrap_or(to.backoff_initial),
            backoff_max: self.backoff_max.unwrap_or(to.backoff_max),
            backoff_multiplier: self.backoff_multiplier.unwrap_or(to.backoff_multiplier),
            message_retention: self
                .message_retention
                .map_or(to.message_retention, |kept| Some(kept).filter(|kept| !kept.is_zero())),
            max_messages: limit(self.max_messages, to.max_messages),
            dedup_window: self.dedup_window.unwrap_or(to.dedup_window),
            reply_retention: self.reply_retention.unwrap_or(to.reply_retention),
            max_in_flight: limit(self.max_in_flight, to.max_in_flight),
            max_rate: self.max_rate.map_or(to.max_rate, |n| Some(n).filter(|n| *n > 0.0)),
        };
        if settings.backoff_max < settings.backoff_initial {
            if self.backoff_max.is_some() {
                return Err(("retry_backoff.max", "must be at least retry_backoff.initial"));
            }
            // Only the first wait was named, and it is above the default's longest.
            settings.backoff_max = settings.backoff_initial;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_stays_and_zero_lifts_limits() {
        let some =
            SettingsChange { max_messages: Some(3), max_rate: Some(0.5), ..Default::default() };
        let limited = some.apply(&QueueSettings::default()).unwrap();
        assert_eq!((limited.max_messages, limited.max_rate), (Some(3), Some(0.5)));
        let lifted = SettingsChange { max_messages: Some(0), ..Default::default() };
        let lifted = lifted.apply(&limited).unwrap();
        assert_eq!((lifted.max_messages, lifted.max_rate), (None, Some(0.5)));
    }

    #[test]
    fn a_longest_wait_below_the_first_is_refused() {
        let contradiction = SettingsChange {
            backoff_initial: Some(Duration::from_secs(3_600)),
            backoff_max: Some(SECOND),
            ..Default::default()
        };
        assert!(contradiction.apply(&QueueSettings::default()).is_err());
    }
}
