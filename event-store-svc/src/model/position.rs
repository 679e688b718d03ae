//! Where an event stands in its topic.

use std::fmt;
use std::time::Duration;

/// `<milliseconds>-<sequence>`, compared as two integers. The order of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970, by Redis' clock.
    pub ms: u64,
    /// The event's dense number in its topic: 1, 2, 3 …
    pub sequence: u64,
}

impl Position {
    /// Before every event.
    pub const ZERO: Self = Self { ms: 0, sequence: 0 };
    /// After every event.
    pub const MAX: Self = Self { ms: u64::MAX, sequence: u64::MAX };

    /// What a position must look like, for messages.
    pub const RULE: &str = "must be a position as the service gave it, as in 1700000000000-0";

    /// Before the events of a millisecond.
    #[must_use]
    pub fn at(ms: u64) -> Self {
        Self { ms, sequence: 0 }
    }

    /// Reads a position.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        };
        let (ms, sequence) = text.split_once('-')?;
        Some(Self { ms: digits(ms)?, sequence: digits(sequence)? })
    }

    /// The next one that could be.
    #[must_use]
    pub fn after(self) -> Self {
        match (self.sequence.checked_add(1), self.ms.checked_add(1)) {
            (Some(sequence), _) => Self { ms: self.ms, sequence },
            (None, Some(ms)) => Self::at(ms),
            (None, None) => Self::MAX,
        }
    }

    /// The last one that could be before.
    #[must_use]
    pub fn before(self) -> Self {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Self { ms: self.ms, sequence },
            None if self.ms == 0 => Self::ZERO,
            None => Self { ms: self.ms - 1, sequence: u64::MAX },
        }
    }

    /// When it was recorded, since 1970.
    #[must_use]
    pub fn time(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_two_integers() {
        let position = Position { ms: 12, sequence: 3 };
        assert_eq!(Position::parse("12-3"), Some(position));
        assert_eq!(position.to_string(), "12-3");
        assert!(Position::at(9) < Position::at(10));
        for bad in ["", "1", "-", "1-", "-1", "+1-2", "1-2-3", "a-1", "99999999999999999999-1"] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn neighbours() {
        assert_eq!(Position::at(5).before(), Position { ms: 4, sequence: u64::MAX });
        assert_eq!(Position::at(5).before().after(), Position::at(5));
        assert_eq!(Position::ZERO.before(), Position::ZERO);
        assert_eq!(Position::MAX.after(), Position::MAX);
    }
}
