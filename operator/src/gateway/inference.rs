//! `POST _inference/{id}`: read, admit, hand on.

use axum::extract::{Request, State};
use axum::response::Response;
use http::Uri;

use super::Gateway;
use super::arrived::Arrived;
use super::auth::Caller;
use super::dispatch::embed;
use super::elastic::infer;
use super::elastic::service_settings::service_name;
use super::error::Error;
use super::presentation::ok;
use super::request::{self, Target};
use super::wake::Waiter;
use super::work::{Form, Work};

pub(crate) async fn infer(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    // Boxed, as whatever else is over before the request waits: it may wait for long, and many with it.
    let arrived = Box::pin(Arrived::read(&gateway, &target.id, &[], request)).await;
    let Arrived { query: _, admitted, headers, body } = arrived?;
    let request = infer::parse(target.task, &body)?;
    drop(body);
    gateway.find(&target)?;
    let form = Form::Inference { input_type: request.input_type() };
    let work = Work::new(request.into_texts(), form, &headers);
    drop(headers);
    let key = target.key();
    let waiter = Waiter::new(&gateway, &key);
    let answer = embed(&waiter, work, admitted).await.map(ok);
    waiter.answer(answer)
}

/// Sparse embeddings come as one answer; there is nothing to stream. What is wrong with the request is told first, as by
/// Elasticsearch, which asks the service last.
pub(crate) async fn stream(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Error> {
    request::query(&uri, &[])?;
    let (parts, body) = request.into_parts();
    let body = request::body(&parts, body, &gateway.settings).await?;
    infer::parse(target.task, &body)?;
    let entry = gateway.find(&target)?;
    Err(Error::Streaming { service: service_name(entry.endpoint.spec.service) })
}
