//! Where an event stands in its topic.

use std::fmt;
use std::time::Duration;

/// `<milliseconds>-<number>`, compared as two integers. The order of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970, by Redis' clock.
    pub ms: u64,
    /// Tells events of one millisecond apart.
    pub n: u64,
}

impl Position {
    /// Before every event.
    pub const ZERO: Self = Self { ms: 0, n: 0 };
    /// After every event.
    pub const MAX: Self = Self { ms: u64::MAX, n: u64::MAX };

    /// What a position must look like, for messages.
    pub const RULE: &str = "must be a position as the service gave it, as in 1700000000000-0";

    /// The first position of a millisecond.
    #[must_use]
    pub fn at(ms: u64) -> Self {
        Self { ms, n: 0 }
    }

    /// Reads a position.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        };
        let (ms, n) = text.split_once('-')?;
        Some(Self { ms: digits(ms)?, n: digits(n)? })
    }

    /// The next one that could be.
    #[must_use]
    pub fn after(self) -> Self {
        match self.n.checked_add(1) {
            Some(n) => Self { ms: self.ms, n },
            None => Self::at(self.ms.saturating_add(1)),
        }
    }

    /// The last one that could be before.
    #[must_use]
    pub fn before(self) -> Self {
        match self.n.checked_sub(1) {
            Some(n) => Self { ms: self.ms, n },
            None if self.ms == 0 => Self::ZERO,
            None => Self { ms: self.ms - 1, n: u64::MAX },
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
        write!(f, "{}-{}", self.ms, self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_two_integers() {
        let position = Position { ms: 12, n: 3 };
        assert_eq!(Position::parse("12-3"), Some(position));
        assert_eq!(position.to_string(), "12-3");
        assert!(Position::at(9) < Position::at(10));
        for bad in ["", "1", "-", "1-", "-1", "+1-2", "1-2-3", "a-1", "99999999999999999999-1"] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn neighbours() {
        assert_eq!(Position::at(5).before(), Position { ms: 4, n: u64::MAX });
        assert_eq!(Position::at(5).before().after(), Position::at(5));
        assert_eq!(Position::ZERO.before(), Position::ZERO);
    }
}
