//! What an error of the services tells: code, reason, facts and fields, as design and protos say.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An error, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// `ErrorInfo.reason`; none where the error carries no details.
    pub reason: Option<String>,
    /// `ErrorInfo.domain`.
    pub domain: Option<String>,
    /// `ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// Fields named by `BadRequest`.
    pub fields: Vec<String>,
    /// What it says to people.
    pub message: String,
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let fields = status.get_details_bad_request().map(|bad| {
            let violations = bad.field_violations.into_iter();
            violations.map(|violation| violation.field).collect()
        });
        Self {
            code: status.code(),
            reason: info.as_ref().map(|info| info.reason.clone()),
            domain: info.as_ref().map(|info| info.domain.clone()),
            metadata: info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default(),
            fields: fields.unwrap_or_default(),
            message: status.message().to_owned(),
        }
    }
}

impl Failure {
    /// Whether the documents allow a call to fail so while Redis is away: nothing was written, or
    /// it is not known.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(
            (self.code, self.reason.as_deref()),
            (Code::Unavailable, Some("STORAGE_UNAVAILABLE"))
                | (Code::Unknown, Some("OUTCOME_UNKNOWN"))
        )
    }
}
