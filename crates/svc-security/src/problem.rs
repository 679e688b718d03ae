//! Everything that is wrong with the configuration at once.

pub use svc_runtime::problem::Problem;

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
