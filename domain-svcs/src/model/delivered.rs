//! When a shipping arrived, in whatever form the client tells it.

use serde::{Deserialize, Serialize};

/// A time of arrival: seconds since 1970, or text such as RFC 3339. Kept as given.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Delivered {
    /// Seconds since 1970.
    Seconds(serde_json::Number),
    /// Any other notation.
    Text(String),
}
