//! What requests say: JSON bodies that come whole, in time and of a decent size,
//! and the entities in them, checked field by field.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::Value;

use super::error::ApiError;
use super::routes::App;
use crate::model::{self, ENTITY_ID, Kind, Violation};

/// The id in the path.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|_| ApiError::bad_request("id: is not UTF-8"))
    }
}

/// A body that is JSON, whatever type it says that it is of.
pub(super) struct JsonBody(pub(super) Value);

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let patience = app.backend.timeout();
        let body = tokio::time::timeout(patience, Bytes::from_request(request, app));
        let late = |_| {
            let message = "the request body did not come in time";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
        };
        let body = body.await.map_err(late)??;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            ApiError::bad_request(format!("the request body is not JSON: {error}"))
        })
    }
}

/// Checks what is to be created, so that also who does not wait hears of faults.
pub(super) fn new_entities(kind: Kind, body: Value) -> Result<Value, ApiError> {
    let entities = match body {
        Value::Array(entities) => entities,
        entity => vec![entity],
    };
    if entities.is_empty() {
        return Err(ApiError::bad_request(format!("there are no {} in the list", kind.plural())));
    }
    let many = entities.len() > 1;
    let mut faults = Vec::new();
    for (index, entity) in entities.iter().enumerate() {
        for fault in model::check_new(kind, entity).err().into_iter().flatten() {
            let place = if many { format!("[{index}].") } else { String::new() };
            faults.push(format!("{place}{}", told(&fault)));
        }
    }
    if faults.is_empty() {
        Ok(entities.into())
    } else {
        Err(ApiError::bad_request(faults.join("; ")))
    }
}

/// Checks what is to be changed in the entity of this id.
pub(super) fn changes(kind: Kind, id: &str, body: &Value) -> Result<Value, ApiError> {
    let mut patch = model::check_patch(kind, body).map_err(|faults| {
        ApiError::bad_request(faults.iter().map(told).collect::<Vec<_>>().join("; "))
    })?;
    if patch.get(ENTITY_ID).is_some_and(|given| given != id) {
        return Err(ApiError::bad_request(format!("{ENTITY_ID} is not the one in the path")));
    }
    patch.insert(ENTITY_ID.to_owned(), id.into());
    Ok(patch.into())
}

fn told(fault: &Violation) -> String {
    format!("{}: {}", fault.field, fault.description)
}
