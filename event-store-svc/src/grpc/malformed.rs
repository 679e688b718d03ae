//! Requests that are no message of this API at all: the transport refuses them before a handler
//! sees them. Here they get the code and the details that every other wrong request gets.

use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};

use super::status::error;

/// An answer, with a refused request explained.
pub fn explain_answer(answer: Response<Body>) -> Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(status) if is_of_transport(&status) => explain(status).into_http(),
        _ => answer,
    }
}

/// A status, explained if it refuses a request that could not be read.
pub fn explain(status: Status) -> Status {
    if !is_of_transport(&status) {
        return status;
    }
    if status.code() == Code::OutOfRange {
        let message = "the request is too large; send less at once";
        return error(Code::InvalidArgument, "TOO_MANY_ITEMS", message).into();
    }
    let description = "must be encoded as eventstore.v1 has it, texts in UTF-8";
    let field = field(status.message());
    let named = if field.is_empty() { "the request" } else { &field };
    let message = format!("{named} {description}");
    error(Code::InvalidArgument, "INVALID_ARGUMENT", message).violation(field, description).into()
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
    use prost::Message as _;
    use proto::server::eventstore::v1 as pb;
    use svc_runtime::rpc_error::ErrorFacts;

    use super::*;

    #[test]
    fn the_field_is_named() {
        // SubscribeRequest { topics: [TopicStart { topic: not UTF-8 }] }
        let refused = pb::SubscribeRequest::decode(&b"\x0a\x03\x0a\x01\xff"[..]).unwrap_err();
        let status = explain(Status::internal(refused.to_string()));
        assert_eq!(status.code(), Code::InvalidArgument);
        let facts = ErrorFacts::of(&status).unwrap();
        assert_eq!(facts.violations[0].0, "topics.topic");
    }

    #[test]
    fn errors_of_the_service_stay_as_they_are() {
        let status: Status = error(Code::Internal, "INTERNAL", "the service failed").into();
        assert_eq!(ErrorFacts::of(&explain(status)).unwrap().reason, "INTERNAL");
    }
}
