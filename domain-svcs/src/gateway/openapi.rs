//! The OpenAPI document of the REST API, served at `/openapi.json`, and a page to
//! browse it at `/docs` (Swagger UI, whose files are part of the program).
//!
//! - [`Described`] routes, none of which can be added without its description
//! - [`operations`] what can be asked and what is answered
//! - [`schemas`] what requests and answers are made of

pub(super) mod operations;
mod schemas;

use std::sync::Arc;

use axum::routing::MethodRouter;
use axum::{Router, middleware};
use serde_json::{Map, Value, json};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::routes::App;
use super::trace::traced;
use crate::model::Kind;

/// Where the document is.
pub(super) const DOCUMENT: &str = "/openapi.json";
/// Where it can be browsed.
const BROWSE: &str = "/docs";

/// Routes and what the document says of them.
pub(super) struct Described {
    router: Router<Arc<App>>,
    paths: Map<String, Value>,
}

impl Described {
    pub(super) fn new() -> Self {
        Self { router: Router::new(), paths: Map::new() }
    }

    /// Adds a route for one method, as in `get`. The path is written as axum and
    /// OpenAPI both write it: `/order/{id}`.
    pub(super) fn route(
        mut self,
        method: &str,
        path: &str,
        handler: MethodRouter<Arc<App>>,
        operation: Value,
    ) -> Self {
        self.router = self.router.route(path, handler);
        self.describe(method, path, operation)
    }

    /// Describes a route that is served elsewhere in the gateway.
    pub(super) fn describe(mut self, method: &str, path: &str, operation: Value) -> Self {
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = operation;
        self
    }

    /// The routes, each request in its trace, with the document and its page among them.
    pub(super) fn finish(self) -> Router<Arc<App>> {
        let page = SwaggerUi::new(BROWSE)
            .external_url_unchecked(DOCUMENT, document(&self.paths))
            .config(Config::default().validator_url("none").try_it_out_enabled(true));
        self.router.route_layer(middleware::from_fn(traced)).merge(page)
    }
}

fn document(paths: &Map<String, Value>) -> Value {
    let tags = Kind::ALL.map(|kind| json!({ "name": kind.plural() }));
    let others = ["reports", "live", "health"].map(|name| json!({ "name": name }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "OrderShop",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A shop made of small services. Results are `{\"result\": …}`, errors \
                `{\"error\": \"…\"}` with the status that says whose fault it is: 4xx the request's, \
                and repeating it changes nothing; 503 and 504 that something behind the gateway is \
                away or slow, and repeating it is safe with the same `Idempotency-Key`. \
                An unknown path is 404, a method that a path does not have 405. \
                A read sees the writes made through the same gateway before it. \
                Money is whole euros.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags.into_iter().chain(others).collect::<Vec<_>>(),
        "paths": paths,
        "components": { "schemas": schemas::all(), "parameters": operations::parameters() },
    })
}
