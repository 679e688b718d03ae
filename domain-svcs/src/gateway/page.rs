//! The page at `/`: its files, which are in the program, and what it asks for
//! beside the REST API: events by number, the state as of a position, and the
//! story of an order.

mod files;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use futures::TryStreamExt;
use futures::future::try_join_all;
use proto::eventstore::v1 as es;
use serde::Deserialize;
use serde_json::{Value, json};
use svc_runtime::shutdown::Shutdown;
use tokio::sync::broadcast;
use tonic::Code;

use super::error::ApiError;
use super::live::{frame, listen};
use super::observe::Observer;
use crate::model::{self, MAIL_TOPIC};
use crate::read_model;
use crate::service::{Clients, RemoteError, call, head};
use crate::shop;

/// Events that are given at once; the page shows no more of them anyway.
const MAX_EVENTS: u64 = 500;
/// Events of one subject in an order's story: more than an order can have.
const STORY: u64 = 100;

/// What the page needs.
pub(super) struct Page {
    pub(super) clients: Clients,
    pub(super) events: broadcast::Sender<Utf8Bytes>,
    pub(super) observer: Arc<Observer>,
    pub(super) timeout: Duration,
    pub(super) shutdown: Shutdown,
}

type Answer = Result<Json<Value>, ApiError>;

pub(super) fn routes(page: Page) -> Router {
    let mut router = Router::new()
        .route("/ws", get(listen))
        .route("/page/events/{topic}", get(events))
        .route("/page/state/{topic}", get(state))
        .route("/page/story/{order_id}", get(story));
    for (path, file) in files::all() {
        router =
            router.route(path, get(move |headers: HeaderMap| async move { file.answer(&headers) }));
    }
    router.with_state(Arc::new(page))
}

fn result(value: impl Into<Value>) -> Answer {
    Ok(Json(json!({ "result": value.into() })))
}

/// A topic of the shop, by its name in the path.
fn topic(name: &str) -> Result<&'static str, ApiError> {
    model::topics().find(|topic| *topic == name).ok_or_else(|| {
        let message = format!("the shop has no topic {name}");
        ApiError::new(StatusCode::NOT_FOUND, message)
    })
}

/// Which events.
#[derive(Debug, Deserialize)]
struct Range {
    /// The sequence of the last of them.
    to: u64,
    limit: u64,
}

/// `/page/events/{topic}?to=9&limit=3`: events 7, 8, 9 of a topic.
async fn events(
    State(page): State<Arc<Page>>,
    Path(name): Path<String>,
    Query(range): Query<Range>,
) -> Answer {
    let request = es::ReadRequest {
        topic: topic(&name)?.to_owned(),
        direction: es::Direction::Backward.into(),
        start: Some(es::Start { at: Some(es::start::At::FromSequence(range.to)) }),
        limit: Some(range.limit.clamp(1, MAX_EVENTS)),
        ..es::ReadRequest::default()
    };
    let mut frames = page.read(request).await?;
    frames.reverse();
    result(frames)
}

/// As of when, and which page of it.
#[derive(Debug, Deserialize)]
struct AsOf {
    at: Option<String>,
    after: Option<String>,
}

/// `/page/state/{topic}?at=1-0`: the entities of a topic (or the mails), with all
/// that the events up to a position say, page by page.
async fn state(
    State(page): State<Arc<Page>>,
    Path(name): Path<String>,
    Query(as_of): Query<AsOf>,
) -> Answer {
    let topic = topic(&name)?;
    let mut query = json!({ "name": topic, "page": true });
    if let Some(at) = as_of.at {
        query["positions"] = json!({ topic: at });
    }
    if let Some(after) = as_of.after {
        query["after"] = after.into();
    }
    let function = if topic == MAIL_TOPIC { "get_mails" } else { "get_entities" };
    let queue = page.clients.message_queue.clone();
    let headers = std::collections::BTreeMap::new();
    let reply = call(queue, read_model::SERVICE, function, &query, headers, page.timeout).await?;
    result(reply.result)
}

/// `/page/story/{order_id}`: what happened to an order, in time: to itself, its
/// stock, its billing and its shipping.
async fn story(State(page): State<Arc<Page>>, Path(order_id): Path<String>) -> Answer {
    let subjects = shop::subjects_of_order(&order_id);
    let reads = subjects.into_iter().map(|(kind, subject)| {
        let request = es::ReadRequest {
            topic: kind.name().to_owned(),
            subject: Some(subject),
            limit: Some(STORY),
            ..es::ReadRequest::default()
        };
        page.read(request)
    });
    let mut frames = try_join_all(reads).await?.concat();
    let time = |frame: &Value| frame["ts"].as_f64().unwrap_or_default();
    frames.sort_by(|a, b| time(a).total_cmp(&time(b)));
    result(frames)
}

impl Page {
    /// Events as frames: none where there are none, or none are kept.
    async fn read(&self, request: es::ReadRequest) -> Result<Vec<Value>, ApiError> {
        let store = self.clients.event_store.clone();
        let mut store = es::event_store_client::EventStoreClient::new(store);
        let mut request = tonic::Request::new(request);
        request.set_timeout(self.timeout);
        let read = async {
            let events = store.read(request).await?.into_inner();
            let frames = events.try_filter_map(async |response| {
                Ok(response.event.map(|recorded| frame(&head(recorded))))
            });
            frames.try_collect().await
        };
        match read.await {
            Ok(frames) => Ok(frames),
            Err(status) if matches!(status.code(), Code::NotFound | Code::OutOfRange) => {
                Ok(Vec::new())
            }
            Err(status) => Err(RemoteError::Call(status).into()),
        }
    }
}
