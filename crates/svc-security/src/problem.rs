//! What is wrong with a configuration: every problem at once, each with its flag and with what
//! would be right. Never the content of a secret.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The flag, as in `--tls-cert`.
    pub flag: &'static str,
    /// What is wrong with it and what would be right.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(flag: &'static str, what: impl Into<String>) -> Self {
        Self { flag, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flag, self.what)
    }
}

/// Why security could not be set up: all that is wrong, one a line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", lines(.problems))]
pub struct SecurityError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl SecurityError {
    /// Whether there is nothing wrong.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

impl From<Problem> for SecurityError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Takes the value, or notes what is wrong.
pub(crate) fn noted<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}
