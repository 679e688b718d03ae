//! A span for each REST request, in the trace of its client if that gives one (`traceparent`).

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use svc_observe::context::context_of_http;
use svc_observe::trace::{Span, spans};

/// Probes ask all day.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// Handles a request in its trace.
pub(super) async fn traced(path: MatchedPath, request: Request, next: Next) -> Response {
    let (client, spans) = (context_of_http(request.headers()), spans());
    let route = path.as_str();
    if (client.is_none() && !spans.are_on()) || PROBES.contains(&route) {
        return next.run(request).await;
    }
    let method = request.method().as_str();
    let span = spans.server(&format!("{method} {route}"), client);
    // https://opentelemetry.io/docs/specs/semconv/http/http-spans/
    span.set("http.request.method", method.to_owned());
    span.set("http.route", route.to_owned());
    let tell = |span: &Span, response: &Response| {
        let status = response.status();
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail("the request failed");
        }
    };
    span.run_then(next.run(request), tell).await
}
