//! Positions of events, compared as the event store defines them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where an event stands in its topic: `<milliseconds>-<number>`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position(u64, u64);

/// How far each of several topics got.
pub type Positions = BTreeMap<String, Position>;

/// The text is no position.
#[derive(Debug, thiserror::Error)]
#[error("not a position, which looks like 1700000000000-0")]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, number) = text.split_once('-').ok_or(NoPosition)?;
        Ok(Self(ms.parse().map_err(|_| NoPosition)?, number.parse().map_err(|_| NoPosition)?))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_compare_as_two_integers() {
        let position = |text: &str| text.parse::<Position>().unwrap();
        assert!(position("9-0") < position("10-0"));
        assert!(position("10-2") < position("10-10"));
        assert_eq!(position("10-2").to_string(), "10-2");
        assert!("10".parse::<Position>().is_err());
    }
}
