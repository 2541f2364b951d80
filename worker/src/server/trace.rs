//! A span for each request that embeds, as a child of the caller's.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use lexiscale_trace::{Kind, attribute};

use super::handlers::Shared;

pub(super) async fn trace(State(state): Shared, path: MatchedPath, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let mut span =
        state.traces.begin(Kind::Server, || format!("{method} {}", path.as_str()), request.headers());
    span.describe(|| {
        vec![
            attribute("http.request.method", method.to_string()),
            attribute("http.route", path.as_str().to_owned()),
        ]
    });
    let response = next.run(request).await;
    let status = response.status();
    span.describe(|| vec![attribute("http.response.status_code", i64::from(status.as_u16()))]);
    if status.is_server_error() {
        span.failed(|| status.as_u16().to_string());
    }
    response
}
