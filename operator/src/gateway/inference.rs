//! `POST _inference/{id}`: read, admit, hand on.

use axum::extract::{Request, State};
use axum::response::Response;
use http::Uri;

use super::Gateway;
use super::admission::Admitted;
use super::arrived::Arrived;
use super::auth::Caller;
use super::directory::EndpointKey;
use super::dispatch::{Answered, embed};
use super::elastic::infer;
use super::elastic::service_settings::service_name;
use super::error::Error;
use super::request::{self, Target};
use super::wake::Waiter;
use super::work::{Form, Work};

/// It may wait for long, and many with it. So what is over before that is boxed, and this is no async function, which would have
/// room for its arguments until the answer.
pub(crate) fn infer(
    State(gateway): State<Gateway>,
    target: Target,
    _caller: Caller,
    request: Request,
) -> impl Future<Output = Result<Response, Error>> {
    let read = Box::pin(read(gateway.clone(), target, request));
    async move {
        let (key, work, admitted) = read.await?;
        let waiter = Waiter::new(&gateway, &key);
        let answer = embed(&waiter, work, admitted).await.map(Answered::into_response);
        waiter.answer(answer)
    }
}

async fn read(
    gateway: Gateway,
    target: Target,
    request: Request,
) -> Result<(EndpointKey, Box<Work>, Admitted), Error> {
    let Arrived { query: _, admitted, headers, body } =
        Arrived::read(&gateway, &target.id, &[], request).await?;
    let request = infer::parse(target.task, &body)?;
    gateway.find(&target)?;
    let (texts, input_type, options) = request.into_parts();
    let work = Box::new(Work::new(texts, Form::Inference { input_type }, options, &headers));
    Ok((target.key(), work, admitted))
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
