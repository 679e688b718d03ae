//! The routes. Results are `{"result": …}`, errors `{"error": "…"}`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::routing::{self, MethodRouter, get, post, put};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use svc_runtime::health::Readiness;
use svc_runtime::shutdown::Shutdown;

use super::backend::{Backend, CommandId};
use super::error::ApiError;
use super::openapi::{Described, operations};
use super::reports;
use super::request::{Id, JsonBody, changes, new_entities};
use crate::model::{ENTITY_ID, Kind};

/// What handlers need.
pub(super) struct App {
    pub(super) backend: Backend,
    pub(super) readiness: Readiness,
    pub(super) shutdown: Shutdown,
}

type Answer = Result<Json<Value>, ApiError>;

fn result(value: impl Into<Value>) -> Answer {
    Ok(Json(json!({ "result": value.into() })))
}

pub(super) fn routes() -> Router<Arc<App>> {
    let mut all = Described::new()
        .route("get", "/livez", get(|| async { result("alive") }), operations::livez())
        .route("get", "/readyz", get(readyz), operations::readyz())
        .route("get", "/report", get(reports::report), operations::report())
        .route("get", "/report/orders", get(reports::orders), operations::report_orders())
        .route("get", "/orders/unbilled", by_id("get_unbilled_orders"), operations::unbilled())
        .route("get", "/orders/unshipped", by_id("get_unshipped_orders"), operations::unshipped())
        .route("get", "/orders/delivered", list_of("get_delivered_orders"), operations::delivered())
        .route("get", "/mails/sent", list_of("get_mails"), operations::mails())
        .describe("get", "/", operations::page())
        .describe("get", "/ws", operations::websocket());
    for kind in Kind::ALL {
        let told = operations::entities(kind);
        let (one, many) = (format!("/{}", kind.name()), format!("/{}", kind.plural()));
        let with_id = format!("{one}/{{id}}");
        all = all
            .route("get", &many, list(kind), told.list)
            .route("post", &many, send(kind), told.send)
            .route("post", &one, create(kind), told.create)
            .route("get", &with_id, entity(kind), told.get)
            .route("put", &with_id, change(kind), told.change)
            .route("delete", &with_id, delete(kind), told.delete);
    }
    all.finish().fallback(no_route).method_not_allowed_fallback(no_method)
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
    let message = format!("there is no {}; see /docs", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message)
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} cannot be done to {}; see /docs", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

type AppRoute = MethodRouter<Arc<App>>;

fn list_of(query: &'static str) -> AppRoute {
    get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
        result(app.backend.list(query, json!({}), &CommandId::of(&headers)).await?)
    })
}

fn by_id(query: &'static str) -> AppRoute {
    get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
        let orders = app.backend.list(query, json!({}), &CommandId::of(&headers)).await?;
        let by_id = orders
            .into_iter()
            .filter_map(|order| Some((order[ENTITY_ID].as_str()?.to_owned(), order)));
        result(by_id.collect::<Map<_, _>>())
    })
}

/// `GET /customers`
fn list(kind: Kind) -> AppRoute {
    get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
        let query = json!({ "name": kind.name() });
        result(app.backend.list("get_entities", query, &CommandId::of(&headers)).await?)
    })
}

/// `POST /customers`: more of them, without waiting.
fn send(kind: Kind) -> AppRoute {
    post(
        move |State(app): State<Arc<App>>, headers: HeaderMap, JsonBody(body): JsonBody| async move {
            let (entities, command_id) = (new_entities(kind, body)?, CommandId::of(&headers));
            let command = format!("create_{}", kind.plural());
            result(app.backend.send(kind.service(), &command, &entities, &command_id).await?)
        },
    )
}

/// `POST /customer`: one more (or a list of them), once it is there.
fn create(kind: Kind) -> AppRoute {
    post(
        move |State(app): State<Arc<App>>, headers: HeaderMap, JsonBody(body): JsonBody| async move {
            let (entities, command_id) = (new_entities(kind, body)?, CommandId::of(&headers));
            let command = format!("create_{}", kind.plural());
            result(app.backend.command(kind.service(), &command, &entities, &command_id).await?)
        },
    )
}

/// `GET /customer/{id}`
fn entity(kind: Kind) -> AppRoute {
    get(move |State(app): State<Arc<App>>, Id(id): Id, headers: HeaderMap| async move {
        let query = json!({ "name": kind.name(), "id": id });
        result(app.backend.query("get_entity", query, &CommandId::of(&headers)).await?)
    })
}

/// `PUT /customer/{id}`
fn change(kind: Kind) -> AppRoute {
    put(
        move |State(app): State<Arc<App>>,
              Id(id): Id,
              headers: HeaderMap,
              JsonBody(body): JsonBody| async move {
            let (patch, command_id) = (changes(kind, &id, &body)?, CommandId::of(&headers));
            let command = format!("update_{}", kind.name());
            result(app.backend.command(kind.service(), &command, &patch, &command_id).await?)
        },
    )
}

/// `DELETE /customer/{id}`
fn delete(kind: Kind) -> AppRoute {
    routing::delete(move |State(app): State<Arc<App>>, Id(id): Id, headers: HeaderMap| async move {
        let (body, command_id) = (json!({ ENTITY_ID: id }), CommandId::of(&headers));
        let command = format!("delete_{}", kind.name());
        result(app.backend.command(kind.service(), &command, &body, &command_id).await?)
    })
}
