//! How every answer is dressed: the product header, the media type that the client accepts, `pretty` and
//! `filter_path`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use tokio::time::Instant;

use super::Gateway;
use super::admission::Began;
use super::elastic::json::Json;
use super::elastic::media_type::MediaType;
use super::elastic::query::Presentation;
use super::error::Error;
use super::metrics::Rejection;
use super::page;
use super::request::{pairs, text};
use super::sending::Sending;
use super::tenancy::Tenant;
use super::writing;

/// Official clients refuse a server whose answers lack it.
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
/// Sent back as it came, so that clients can tie an answer to their own task.
const OPAQUE_ID: HeaderName = HeaderName::from_static("x-opaque-id");

/// Answers are written anew only up to this size: they are for people to read, and held whole.
const LARGEST_REWRITTEN: usize = 16 << 20;
/// What an answer takes as a tree and once more as text, for each of its bytes.
const TREE_FACTOR: usize = 8;
/// Larger ones are rewritten off the threads that serve everybody.
const SMALL: usize = 64 << 10;

/// What a request says of the look of its answer.
pub(crate) struct Dress {
    /// Boxed, as few wish for it.
    rewriting: Option<Box<Rewriting>>,
    media_type: MediaType,
    opaque_id: Option<HeaderValue>,
}

/// The wish for an answer that looks otherwise.
struct Rewriting {
    presentation: Presentation,
    /// Whose turn it takes.
    tenant: Tenant,
    /// Until when it may be read, as no request may take longer.
    deadline: Instant,
}

impl Rewriting {
    fn of(gateway: &Gateway, request: &Request) -> Option<Self> {
        request.uri().query()?;
        let presentation = Presentation::parse(&pairs(request.uri()));
        let own = |_| Tenant(gateway.settings.namespace.clone());
        let tenant = || Tenant::of(request.extensions(), gateway).unwrap_or_else(own);
        let Began(began) = Began::of(request.extensions());
        let deadline = began + gateway.settings.drain_timeout;
        (presentation != Presentation::default()).then(|| Self { presentation, tenant: tenant(), deadline })
    }
}

impl Dress {
    /// An error, which is an answer too, where the client accepts no media type that there is.
    pub(crate) fn of(gateway: &Gateway, request: &Request) -> (Self, Result<(), Error>) {
        let rewriting = Rewriting::of(gateway, request).map(Box::new);
        let opaque_id = request.headers().get(&OPAQUE_ID).cloned();
        let (media_type, acceptable) = match MediaType::of_answer(text(request.headers(), &ACCEPT)) {
            Ok(media_type) => (media_type, Ok(())),
            Err(_) if page::is_part(request) => (MediaType::default(), Ok(())),
            Err(error) => (MediaType::default(), Err(Error::from(error))),
        };
        (Self { rewriting, media_type, opaque_id }, acceptable)
    }

    pub(crate) async fn put_on(self, gateway: &Gateway, response: Response) -> Response {
        let Self { rewriting, media_type, opaque_id } = self;
        let mut response = match rewriting {
            None => response,
            Some(rewriting) => Box::pin(rewrite(gateway, response, *rewriting)).await,
        };
        let headers = response.headers_mut();
        headers.insert(PRODUCT, HeaderValue::from_static("Elasticsearch"));
        // The page is no JSON, and its parts have types of their own.
        if headers.get(CONTENT_TYPE).is_some_and(|value| value == MediaType::Json.as_str()) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type.as_str()));
        }
        if let Some(id) = opaque_id {
            headers.insert(OPAQUE_ID, id);
        }
        if gateway.is_draining() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

async fn rewrite(gateway: &Gateway, response: Response, rewriting: Rewriting) -> Response {
    let Rewriting { presentation, tenant, deadline } = rewriting;
    let (mut head, body) = response.into_parts();
    let bytes = match Limited::new(body, LARGEST_REWRITTEN).collect().await {
        Ok(read) => read.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Error::AnswerTooLarge { limit: LARGEST_REWRITTEN }.into_response();
        }
        Err(_) => return Error::AnswerCut.into_response(),
    };
    head.headers.remove(CONTENT_LENGTH);
    let counted = gateway.budget.begin(&tenant.0);
    if counted.grow(TREE_FACTOR * bytes.len()).is_err() {
        gateway.metrics.rejected(Rejection::Bytes);
        return Error::TooManyBytes { limit: gateway.budget.limit() }.into_response();
    }
    let rewritten = if bytes.len() <= SMALL {
        Ok(presented(bytes, presentation))
    } else {
        writing::write(&tenant, Arc::clone(&counted), move || presented(bytes, presentation)).await
    };
    match rewritten {
        Ok(bytes) => Response::from_parts(head, Sending::dressed(bytes, deadline, counted)),
        Err(_) => Error::AnswerBroken.into_response(),
    }
}

fn presented(bytes: Bytes, Presentation { pretty, filter }: Presentation) -> Bytes {
    // An answer without a body (HEAD, OPTIONS) has nothing to rewrite.
    let Ok(value) = Json::parse(&bytes) else { return bytes };
    let value = match filter {
        Some(filter) => filter.apply(value),
        None => value,
    };
    if pretty { indented(&value) } else { Bytes::from(json(&value)) }
}

fn indented(value: &Json) -> Bytes {
    let mut bytes = serde_json::to_vec_pretty(value).expect("a value that was read can be written");
    bytes.push(b'\n');
    Bytes::from(bytes)
}

/// A body as JSON.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("answers hold nothing but strings, numbers and lists of them")
}

/// An answer of status 200.
pub(crate) fn ok(body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.into()).into_response()
}
