//! Errors as REST clients see them: a status and `{"error": "…"}`.

use std::any::Any;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::{Code, Status};

use crate::service::RemoteError;

/// An error to answer with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        let message = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "the request body is too large",
            _ => "the request body could not be read",
        };
        Self::new(rejection.status(), message)
    }
}

impl From<RemoteError> for ApiError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Refused(status) => refused(&status),
            RemoteError::Call(status) => call_failed(&status),
        }
    }
}

/// What the service that handled it answered.
fn refused(status: &Status) -> ApiError {
    let code = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    ApiError::new(code, status.message())
}

/// What the way to that service failed with. What the storage says of itself
/// is for the log, not for the client.
fn call_failed(status: &Status) -> ApiError {
    let reason = ErrorFacts::of(status).map(|facts| facts.reason);
    tracing::warn!(code = ?status.code(), reason, error = status.message(), "call failed");
    let (code, message) = match status.code() {
        Code::DeadlineExceeded => (
            StatusCode::GATEWAY_TIMEOUT,
            "the service did not answer in time; the command may still be carried out",
        ),
        Code::InvalidArgument => {
            (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large to be sent on")
        }
        Code::AlreadyExists => {
            (StatusCode::CONFLICT, "the idempotency key was used for another request before")
        }
        Code::ResourceExhausted => {
            (StatusCode::SERVICE_UNAVAILABLE, "too much is waiting: try again later")
        }
        Code::Unknown | Code::Internal | Code::Cancelled => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the message queue went away: the command may or may not be carried out",
        ),
        Code::Unavailable | Code::Aborted | Code::NotFound => {
            (StatusCode::SERVICE_UNAVAILABLE, "the message queue is not available: try again")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the request could not be sent on"),
    };
    ApiError::new(code, message)
}

/// The answer to a request whose handler panicked; the panic is in the log.
#[allow(clippy::needless_pass_by_value, reason = "the layer hands it over")]
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the gateway made a mistake").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_http() {
        let refused = |code| ApiError::from(RemoteError::Refused(Status::new(code, "why")));
        let call = |code| ApiError::from(RemoteError::Call(Status::new(code, "redis at 10.0.0.1")));
        assert_eq!(refused(Code::InvalidArgument), ApiError::new(StatusCode::BAD_REQUEST, "why"));
        assert_eq!(refused(Code::FailedPrecondition).status, StatusCode::CONFLICT);
        assert_eq!(refused(Code::NotFound).status, StatusCode::NOT_FOUND);
        assert_eq!(call(Code::Unavailable).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(call(Code::DeadlineExceeded).status, StatusCode::GATEWAY_TIMEOUT);
        assert!(!call(Code::Unavailable).message.contains("redis"));
    }
}
