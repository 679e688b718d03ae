//! Errors as clients of these services see them: a status code with
//! `google.rpc.ErrorInfo` (a reason, a domain, facts), and where they apply
//! `BadRequest` (fields) and `RetryInfo`. [`RpcError`] makes one,
//! [`ErrorFacts`] reads one.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The reason of a request that is wrong.
pub const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";

/// An error to answer with.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    /// The gRPC status code.
    pub code: Code,
    /// What happened, in capitals: what programs decide by.
    pub reason: &'static str,
    /// The package that the reason belongs to.
    pub domain: &'static str,
    /// What happened and what to do, for people.
    pub message: String,
    /// Facts, by name.
    pub metadata: Vec<(String, String)>,
    /// Fields of the request that are wrong, and why.
    pub violations: Vec<(String, String)>,
    /// When a retry makes sense.
    pub retry_after: Option<Duration>,
}

impl RpcError {
    /// An error without facts.
    pub fn new(
        code: Code,
        reason: &'static str,
        domain: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            reason,
            domain,
            message: message.into(),
            metadata: Vec::new(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// The error of a request with one field that is wrong.
    pub fn wrong(
        domain: &'static str,
        field: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        let (field, description) = (field.into(), description.into());
        let message = format!("{field} {description}");
        Self::new(Code::InvalidArgument, INVALID_ARGUMENT, domain, message)
            .violation(field, description)
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.metadata.push((name.into(), format!("{value}")));
        self
    }

    /// Adds a field of the request that is wrong.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push((field.into(), description.into()));
        self
    }

    /// Says when a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        let mut details = ErrorDetails::with_error_info(
            error.reason,
            error.domain,
            error.metadata.into_iter().collect::<HashMap<_, _>>(),
        );
        if !error.violations.is_empty() {
            let violations: Vec<_> = error
                .violations
                .into_iter()
                .map(|(field, description)| FieldViolation::new(field, description))
                .collect();
            details.set_bad_request(violations);
        }
        if error.retry_after.is_some() {
            details.set_retry_info(error.retry_after);
        }
        Self::with_error_details(error.code, error.message, details)
    }
}

/// As an error of one item inside a stream.
impl From<RpcError> for tonic_types::Status {
    fn from(error: RpcError) -> Self {
        item_error(&error.into())
    }
}

/// A status as the error of one item inside a stream or a batch, details
/// included.
#[must_use]
pub fn item_error(status: &Status) -> tonic_types::Status {
    // The details of a status are this message, encoded, if they are anything.
    match tonic_types::Status::decode(status.details()) {
        Ok(item) if !status.details().is_empty() => item,
        _ => tonic_types::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: Vec::new(),
        },
    }
}

/// The error of one item as a status: the reverse of [`item_error`].
#[must_use]
pub fn status_of(item: &tonic_types::Status) -> Status {
    let details = item.encode_to_vec();
    Status::with_details(Code::from_i32(item.code), item.message.clone(), details.into())
}

/// What an error of these services says, for whoever gets one.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorFacts {
    /// What happened, in capitals.
    pub reason: String,
    /// The package that the reason belongs to.
    pub domain: String,
    /// Facts, by name.
    pub metadata: HashMap<String, String>,
    /// Fields of the request that are wrong, and why.
    pub violations: Vec<(String, String)>,
    /// When a retry makes sense.
    pub retry_after: Option<Duration>,
}

impl ErrorFacts {
    /// The facts of a status; none if it carries no `ErrorInfo` and so comes
    /// from the transport rather than from a service.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info()?;
        Some(Self {
            reason: info.reason.clone(),
            domain: info.domain.clone(),
            metadata: info.metadata.clone(),
            violations: details.bad_request().map_or_else(Vec::new, |bad| {
                bad.field_violations
                    .iter()
                    .map(|v| (v.field.clone(), v.description.clone()))
                    .collect()
            }),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        })
    }

    /// The facts of an item's error.
    #[must_use]
    pub fn of_item(item: &tonic_types::Status) -> Option<Self> {
        Self::of(&status_of(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> RpcError {
        RpcError::new(Code::ResourceExhausted, "QUEUE_FULL", "messagequeue.v1", "the queue is full")
            .fact("queue", "orders")
            .fact("max_messages", 7)
            .violation("messages[2].body", "too large")
            .retry_after(Duration::from_millis(1500))
    }

    #[test]
    fn a_status_carries_everything() {
        let status = Status::from(error());
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "the queue is full");
        let facts = ErrorFacts::of(&status).unwrap();
        assert_eq!(facts.reason, "QUEUE_FULL");
        assert_eq!(facts.domain, "messagequeue.v1");
        assert_eq!(facts.metadata["queue"], "orders");
        assert_eq!(facts.metadata["max_messages"], "7");
        assert_eq!(facts.violations, [("messages[2].body".into(), "too large".into())]);
        assert_eq!(facts.retry_after, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn an_item_error_is_the_same_error() {
        let item = tonic_types::Status::from(error());
        assert_eq!(item.code, Code::ResourceExhausted as i32);
        assert_eq!(item.message, "the queue is full");
        assert_eq!(item.details.len(), 3);
        assert_eq!(ErrorFacts::of_item(&item), ErrorFacts::of(&Status::from(error())));
        let plain = item_error(&Status::not_found("nothing here"));
        assert_eq!((plain.code, plain.message.as_str()), (5, "nothing here"));
        assert!(ErrorFacts::of_item(&plain).is_none());
    }
}
