//! What is wrong with a configuration: every problem with its flag and with what would be right.
//! Never the content of a secret.

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
    /// What is wrong with this flag.
    pub fn new(flag: &'static str, what: impl Into<String>) -> Self {
        Self { flag, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flag, self.what)
    }
}
