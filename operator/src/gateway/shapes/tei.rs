//! The routes of Text Embeddings Inference, for one endpoint each: `POST /embed_sparse`, `GET /info`, `GET /health`.

mod wire;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use lexiscale_wire::TOKENS_HEADER;
use serde_json::Value;

use self::wire::{Failure, Info, Translated};
use super::{Arrived, Call, Error, Gateway, Target};
use crate::gateway::auth::Caller;
use crate::gateway::elastic::endpoint::State as EndpointState;
use crate::gateway::embed;
use crate::gateway::presentation::{json, ok};
use crate::gateway::request;

/// Where that server tells how many tokens it has computed.
const COMPUTE_TOKENS: HeaderName = HeaderName::from_static("x-compute-tokens");

/// An error is a sentence.
const LARGEST_ERROR: usize = 64 << 10;

pub(super) async fn embed_sparse(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    request: Request,
) -> Result<Response, Response> {
    let arrived = Arrived::read(&gateway, &target.id, &[], request).await;
    let Arrived { query: _, admitted, headers, body } = arrived.map_err(IntoResponse::into_response)?;
    let asked = wire::parse(&body).map_err(IntoResponse::into_response)?;
    drop(body);
    gateway.find(&target).map_err(IntoResponse::into_response)?;
    let call = Call { key: &target.key(), admitted, headers: &headers };
    let mut response =
        embed::embed_sparse(&gateway, call, asked).await.map_err(IntoResponse::into_response)?;
    let tokens = response.headers().get(TOKENS_HEADER).cloned();
    if let Some(tokens) = tokens {
        response.headers_mut().insert(COMPUTE_TOKENS, tokens);
    }
    Ok(response)
}

pub(super) async fn info(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    let entry = gateway.find(&target)?;
    Ok(match Info::of(entry.deployment(), gateway.settings.max_requests) {
        Some(info) => ok(json(&info)),
        None => Failure::unhealthy("the model is not there yet").into_response(),
    })
}

/// An endpoint at zero is healthy: the next request wakes it, and none would come if it were said to be down.
pub(super) async fn health(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    let entry = gateway.find(&target)?;
    Ok(match EndpointState::of(entry.deployment()) {
        _ if !entry.pods.is_empty() => StatusCode::OK.into_response(),
        EndpointState::Idle => StatusCode::OK.into_response(),
        EndpointState::Ready | EndpointState::Deploying | EndpointState::Failed => {
            Failure::unhealthy("unhealthy").into_response()
        }
    })
}

/// Whatever refuses a request on its way says so in Elasticsearch's words; here they are said in those of the other server.
pub(super) async fn translate_errors(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<Translated>().is_some() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let reason = to_bytes(body, LARGEST_ERROR).await.ok().and_then(|bytes| reason(&bytes));
    let failure = Failure::translated(status, reason.unwrap_or_else(|| status.to_string()));
    head.status = failure.status;
    head.headers.remove(CONTENT_LENGTH);
    if failure.status == StatusCode::TOO_MANY_REQUESTS {
        // A deadline that passed carries none.
        head.headers.entry(RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    Response::from_parts(head, Body::from(failure.body()))
}

fn reason(envelope: &[u8]) -> Option<String> {
    let envelope: Value = serde_json::from_slice(envelope).ok()?;
    envelope["error"]["reason"].as_str().map(str::to_owned)
}
