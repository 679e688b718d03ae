//! Why a command or an event could not be handled: because it must not be
//! (telling so is the answer), or because something is away (trying again is).

use svc_runtime::rpc_error::RpcError;
use tonic::{Code, Status};

use crate::model::Violation;

/// The domain of the shop's own reasons.
pub const DOMAIN: &str = "ordershop";

/// Why something was not done.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// It must not be done; asking again changes nothing.
    Refused(Box<RpcError>),
    /// Something is away; it is to be tried again.
    Transient(String),
}

impl Failure {
    /// There is no such entity; `kind` is what it would be, as in `order`.
    #[must_use]
    pub fn not_found(kind: &str, id: &str) -> Self {
        let message = format!("there is no {kind} {id}");
        Self::refused(Code::NotFound, "ENTITY_NOT_FOUND", message)
    }

    /// A field names an entity that is not there.
    #[must_use]
    pub fn dangling(field: &str, kind: &str, id: &str) -> Self {
        let description = format!("there is no {kind} {id}");
        Self::invalid(vec![Violation { field: field.to_owned(), description }])
    }

    /// One field is wrong.
    #[must_use]
    pub fn field(field: &str, description: impl Into<String>) -> Self {
        let (field, description) = (field.to_owned(), description.into());
        Self::invalid(vec![Violation { field, description }])
    }

    /// Fields are wrong.
    #[must_use]
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let list: Vec<_> =
            violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
        let mut error =
            RpcError::new(Code::InvalidArgument, "INVALID_ARGUMENT", DOMAIN, list.join("; "));
        for violation in violations {
            error = error.violation(violation.field, violation.description);
        }
        Self::Refused(Box::new(error))
    }

    /// The state of the shop does not allow it.
    #[must_use]
    pub fn conflict(reason: &'static str, message: impl Into<String>) -> Self {
        Self::refused(Code::FailedPrecondition, reason, message)
    }

    /// A refusal of any kind.
    #[must_use]
    pub fn refused(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self::Refused(Box::new(RpcError::new(code, reason, DOMAIN, message)))
    }

    /// Whether it is a refusal.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Whether a call that ended so may go well when it is made again. Calls here
/// carry ids, so that one whose outcome is unknown may be repeated.
#[must_use]
pub(crate) fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Internal => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// What a call to the event store or the message queue failed with.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::InvalidArgument => Self::refused(
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
                format!("the storage refuses it: {}", status.message()),
            ),
            // Anything else that is wrong is wrong with the system, not with the
            // command: it waits until somebody puts that right.
            code => Self::Transient(format!("{code:?}: {}", status.message())),
        }
    }
}
