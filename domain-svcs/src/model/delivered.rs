//! When a shipping arrived, in whatever form the client tells it.

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A time of arrival: seconds since 1970, or text such as RFC 3339. Kept as given.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Delivered {
    /// Seconds since 1970.
    Seconds(serde_json::Number),
    /// Any other notation.
    Text(String),
}

impl PartialSchema for Delivered {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(kind);
        OneOfBuilder::new()
            .description(Some("When it arrived: seconds since 1970, or text such as RFC 3339."))
            .item(of(Type::Number))
            .item(of(Type::String).min_length(Some(1)).max_length(Some(256)))
            .into()
    }
}

impl ToSchema for Delivered {}
