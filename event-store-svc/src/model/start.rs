//! Where to start reading, and which way.

use std::time::Duration;

use super::Position;

/// Where to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The oldest event that is kept; for a backward read the newest.
    #[default]
    Beginning,
    /// After the newest event; a backward read starts with it.
    End,
    /// After this position, in the direction of reading.
    After(Position),
    /// At this time since 1970 or later (backward: or earlier).
    Time(Duration),
    /// At the event with this sequence.
    Sequence(u64),
    /// At the event with this revision of the subject that is read.
    Revision(u64),
}

/// Which way to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From old to new.
    #[default]
    Forward,
    /// From new to old.
    Backward,
}
