//! Every answer of a route that embeds says how much the worker still has to do.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use lexiscale_wire::LOAD_HEADER;

use super::handlers::Shared;

pub(super) async fn tell(State(state): Shared, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Ok(embedder) = state.lifecycle.embedder() {
        response.headers_mut().insert(LOAD_HEADER, HeaderValue::from(embedder.load()));
    }
    response
}
