//! Requests that are no message of this API at all: the transport refuses them before a handler
//! sees them. Here they get the code and the details that every other wrong request gets.

use http::Response;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::rpc_error::{INVALID_ARGUMENT, RpcError};

/// An answer of a service of a package, `eventstore.v1`, with a refused request explained.
pub fn explain_answer(domain: &'static str, answer: Response<Body>) -> Response<Body> {
    let status = Status::from_header_map(answer.headers());
    match status.and_then(|status| refused(domain, &status)) {
        Some(error) => Status::from(error).into_http(),
        None => answer,
    }
}

/// A status, explained if it refuses a request that could not be read.
#[must_use]
pub fn explain(domain: &'static str, status: Status) -> Status {
    refused(domain, &status).map_or(status, Status::from)
}

/// What a status is to say that refuses a request that could not be read; of any other nothing.
#[must_use]
pub fn refused(domain: &'static str, status: &Status) -> Option<RpcError> {
    if !is_of_transport(status) {
        return None;
    }
    let invalid = |reason, message| RpcError::new(Code::InvalidArgument, reason, domain, message);
    if status.code() == Code::OutOfRange {
        let message = "the request is too large; send less at once".to_owned();
        return Some(invalid("TOO_MANY_ITEMS", message));
    }
    let description = format!("must be encoded as {domain} has it, texts in UTF-8");
    let field = field(status.message());
    let named = if field.is_empty() { "the request" } else { &field };
    let message = format!("{named} {description}");
    Some(invalid(INVALID_ARGUMENT, message).violation(field, description))
}

/// Every error of the service carries details; without them it comes from reading the request.
fn is_of_transport(status: &Status) -> bool {
    status.details().is_empty() && matches!(status.code(), Code::Internal | Code::OutOfRange)
}

/// The field that could not be read, as far as the decoder tells: its message lists the way there,
/// from the inside, as `Message.field: `.
fn field(message: &str) -> String {
    let fields = message.split(": ").filter_map(|part| {
        let (message, field) = part.split_once('.')?;
        let name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        (name(message) && name(field)).then_some(field)
    });
    let mut fields: Vec<_> = fields.collect();
    fields.reverse();
    fields.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc_error::ErrorFacts;

    const DOMAIN: &str = "test.v1";

    #[test]
    fn the_field_is_named() {
        #[derive(Clone, PartialEq, prost::Message)]
        struct Start {
            #[prost(string, tag = "1")]
            topic: String,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct Subscribe {
            #[prost(message, repeated, tag = "1")]
            topics: Vec<Start>,
        }
        // One of the topics is not UTF-8.
        let bytes = &b"\x0a\x03\x0a\x01\xff"[..];
        let unread = <Subscribe as prost::Message>::decode(bytes).unwrap_err();
        let status = explain(DOMAIN, Status::internal(unread.to_string()));
        assert_eq!(status.code(), Code::InvalidArgument);
        let facts = ErrorFacts::of(&status).unwrap();
        assert_eq!((&*facts.reason, &*facts.domain), (INVALID_ARGUMENT, DOMAIN));
        assert_eq!(facts.violations[0].0, "topics.topic");
    }

    #[test]
    fn errors_of_the_service_stay_as_they_are() {
        let error = RpcError::new(Code::Internal, "INTERNAL", DOMAIN, "the service failed");
        assert_eq!(ErrorFacts::of(&explain(DOMAIN, error.into())).unwrap().reason, "INTERNAL");
        assert_eq!(refused(DOMAIN, &Status::unavailable("gone")), None);
    }
}
