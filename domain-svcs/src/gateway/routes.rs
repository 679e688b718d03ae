//! The routes. Results are `{"result": …}`, errors `{"error": "…"}`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use svc_runtime::health::Readiness;
use svc_runtime::shutdown::Shutdown;

use super::backend::{Backend, Trace};
use super::error::ApiError;
use super::reports;
use crate::model::{self, ENTITY_ID, Kind, Violation};

/// What handlers need.
pub(super) struct App {
    pub(super) backend: Backend,
    pub(super) readiness: Readiness,
    pub(super) shutdown: Shutdown,
}

type Answer = Result<Json<Value>, ApiError>;
type Body = Result<Bytes, BytesRejection>;

fn result(value: impl Into<Value>) -> Answer {
    Ok(Json(json!({ "result": value.into() })))
}

pub(super) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/livez", get(|| async { result("alive") }))
        .route("/readyz", get(readyz))
        .route("/report", get(reports::report))
        .route("/report/orders", get(reports::orders))
        .route("/orders/unbilled", orders_by_id("get_unbilled_orders"))
        .route("/orders/unshipped", orders_by_id("get_unshipped_orders"))
        .route("/orders/delivered", list_of("get_delivered_orders"))
        .route("/mails/sent", list_of("get_mails"));
    for kind in Kind::ALL {
        router = router
            .route(&format!("/{}", kind.plural()), entities(kind))
            .route(&format!("/{}", kind.name()), entity_new(kind))
            .route(&format!("/{}/{{id}}", kind.name()), entity(kind));
    }
    router.fallback(no_route).method_not_allowed_fallback(no_method)
}

async fn readyz(State(app): State<Arc<App>>) -> Answer {
    if app.readiness.is_ready() && !app.shutdown.is_triggered() {
        return result("ready");
    }
    Err(ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not connected to the event store and the message queue",
    ))
}

async fn no_route(uri: Uri) -> ApiError {
    let message = format!("there is no {}; GET / lists what there is", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message)
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} cannot be done to {}; GET / lists what can", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

type AppRoute = MethodRouter<Arc<App>>;

fn list_of(query: &'static str) -> AppRoute {
    get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
        result(app.backend.list(query, json!({}), &Trace::of(&headers)).await?)
    })
}

fn orders_by_id(query: &'static str) -> AppRoute {
    get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
        let orders = app.backend.list(query, json!({}), &Trace::of(&headers)).await?;
        let by_id = orders
            .into_iter()
            .filter_map(|order| Some((order[ENTITY_ID].as_str()?.to_owned(), order)));
        result(by_id.collect::<Map<_, _>>())
    })
}

/// `/customers`: all of them, and more of them without waiting.
fn entities(kind: Kind) -> AppRoute {
    get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
        let query = json!({ "name": kind.name() });
        result(app.backend.list("get_entities", query, &Trace::of(&headers)).await?)
    })
    .post(move |State(app): State<Arc<App>>, headers: HeaderMap, body: Body| async move {
        let entities = new_entities(kind, json_body(body)?)?;
        let command = format!("create_{}", kind.plural());
        let trace = Trace::of(&headers);
        result(app.backend.send(kind.service(), &command, &entities, &trace).await?)
    })
}

/// `/customer`: one more (or a list of them), once it is there.
fn entity_new(kind: Kind) -> AppRoute {
    post(move |State(app): State<Arc<App>>, headers: HeaderMap, body: Body| async move {
        let entities = new_entities(kind, json_body(body)?)?;
        let command = format!("create_{}", kind.plural());
        let trace = Trace::of(&headers);
        result(app.backend.command(kind.service(), &command, &entities, &trace).await?)
    })
}

/// `/customer/{id}`
fn entity(kind: Kind) -> AppRoute {
    get(move |State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap| async move {
        let query = json!({ "name": kind.name(), "id": id });
        result(app.backend.query("get_entity", query, &Trace::of(&headers)).await?)
    })
    .put(
        move |State(app): State<Arc<App>>,
              Path(id): Path<String>,
              headers: HeaderMap,
              body: Body| async move {
            let patch = changes(kind, &id, &json_body(body)?)?;
            let command = format!("update_{}", kind.name());
            let trace = Trace::of(&headers);
            result(app.backend.command(kind.service(), &command, &patch, &trace).await?)
        },
    )
    .delete(
        move |State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap| async move {
            let command = format!("delete_{}", kind.name());
            let (body, trace) = (json!({ ENTITY_ID: id }), Trace::of(&headers));
            result(app.backend.command(kind.service(), &command, &body, &trace).await?)
        },
    )
}

fn json_body(body: Body) -> Result<Value, ApiError> {
    serde_json::from_slice(&body?)
        .map_err(|error| ApiError::bad_request(format!("the request body is not JSON: {error}")))
}

/// Checks what is to be created, so that also who does not wait hears of faults.
fn new_entities(kind: Kind, body: Value) -> Result<Value, ApiError> {
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

fn changes(kind: Kind, id: &str, body: &Value) -> Result<Value, ApiError> {
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
