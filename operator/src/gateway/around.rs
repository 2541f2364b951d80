//! What every request passes on its way to its handler and back: it is counted and logged, a bad head is refused, the bytes of
//! its body are counted, and the answer is dressed. One service and not a row of `from_fn` layers, each of which holds
//! copies of request and route for as long as the request waits.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};

use super::Gateway;
use super::budget::count_body;
use super::observe::Watch;
use super::presentation::Dress;
use super::server::refuse_bad_head;

#[derive(Clone)]
pub(crate) struct AroundLayer(pub(crate) Gateway);

impl<S> Layer<S> for AroundLayer {
    type Service = Around<S>;

    fn layer(&self, inner: S) -> Around<S> {
        Around { gateway: self.0.clone(), inner }
    }
}

#[derive(Clone)]
pub(crate) struct Around<S> {
    gateway: Gateway,
    inner: S,
}

impl<S> Service<Request> for Around<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that is ready takes the request, its copy the next one.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let gateway = self.gateway.clone();
        // Before there is a future, so that nothing of the request stays behind while its answer is waited for.
        let (mut request, watch) = Watch::begin(&gateway, request);
        let (dress, acceptable) = Dress::of(&gateway, &request);
        let handed = acceptable.and_then(|()| refuse_bad_head(&mut request)).map(|()| {
            let counted = count_body(&gateway, &mut request);
            (counted, Box::pin(inner.call(request)))
        });
        Box::pin(async move {
            let response = match handed {
                Ok((counted, answer)) => {
                    let response = answer.await?;
                    counted.note(&gateway);
                    response
                }
                Err(error) => error.into_response(),
            };
            Ok(watch.end(dress.put_on(&gateway, response).await))
        })
    }
}
