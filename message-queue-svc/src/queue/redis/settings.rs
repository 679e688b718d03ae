//! Settings as fields of a queue's META; a limit that there is not has no field.

use std::collections::HashMap;
use std::time::Duration;

use super::record::millis;
use crate::model::QueueSettings;

/// Fields that are always there, and those of limits.
pub fn to_fields(settings: &QueueSettings) -> Vec<(&'static str, String)> {
    let all = all_fields(settings).into_iter();
    all.filter_map(|(field, value)| Some((field, value?))).collect()
}

/// Every field, `None` for what is to be removed.
pub fn all_fields(settings: &QueueSettings) -> [(&'static str, Option<String>); 11] {
    let ms = |duration| Some(millis(duration).to_string());
    [
        ("lease", ms(settings.lease)),
        ("max_attempts", Some(settings.max_attempts.to_string())),
        ("backoff_initial", ms(settings.backoff_initial)),
        ("backoff_max", ms(settings.backoff_max)),
        ("backoff_multiplier", Some(settings.backoff_multiplier.to_string())),
        ("dedup_window", ms(settings.dedup_window)),
        ("reply_retention", ms(settings.reply_retention)),
        ("retention", settings.message_retention.and_then(ms)),
        ("max_messages", settings.max_messages.map(|n| n.to_string())),
        ("max_in_flight", settings.max_in_flight.map(|n| n.to_string())),
        ("max_rate", settings.max_rate.map(|n| n.to_string())),
    ]
}

/// The settings in META; what is absent or unreadable is the default.
pub fn from_fields(fields: &HashMap<String, String>) -> QueueSettings {
    let default = QueueSettings::default();
    let ms = |name: &str| fields.get(name)?.parse().ok().map(Duration::from_millis);
    QueueSettings {
        lease: ms("lease").unwrap_or(default.lease),
        max_attempts: number(fields, "max_attempts").unwrap_or(default.max_attempts),
        backoff_initial: ms("backoff_initial").unwrap_or(default.backoff_initial),
        backoff_max: ms("backoff_max").unwrap_or(default.backoff_max),
        backoff_multiplier: number(fields, "backoff_multiplier")
            .unwrap_or(default.backoff_multiplier),
        dedup_window: ms("dedup_window").unwrap_or(default.dedup_window),
        reply_retention: ms("reply_retention").unwrap_or(default.reply_retention),
        message_retention: ms("retention"),
        max_messages: number(fields, "max_messages"),
        max_in_flight: number(fields, "max_in_flight"),
        max_rate: number(fields, "max_rate"),
    }
}

fn number<T: std::str::FromStr>(fields: &HashMap<String, String>, name: &str) -> Option<T> {
    fields.get(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_being_stored() {
        let settings = QueueSettings {
            max_rate: Some(0.25),
            message_retention: Some(Duration::from_secs(3)),
            backoff_multiplier: 1.5,
            ..QueueSettings::default()
        };
        let fields = to_fields(&settings);
        let stored = fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        assert_eq!(from_fields(&stored), settings);
    }
}
