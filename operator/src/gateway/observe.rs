//! One access log line and one count for every request, once its last byte is sent or its client has left.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::RequestPartsExt;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, RawPathParams, Request};
use axum::response::Response;
use futures::FutureExt;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::{Frame, SizeHint};
use lexiscale_trace::{Kind, Span, attribute};
use tokio::time::Instant;

use super::Gateway;
use super::admission::Began;
use super::auth::Identified;
use super::directory::EndpointKey;
use super::metrics::{Operation, Outcome, Raised};
use super::shapes;
use super::tenancy::Tenant;

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];

/// A request under way; dropping it writes the line.
pub(crate) struct Watch {
    gateway: Gateway,
    method: Method,
    path: String,
    operation: Operation,
    /// As the path names it, whether it exists or not.
    named: Option<EndpointKey>,
    /// The endpoint that exists.
    key: Option<EndpointKey>,
    began: Instant,
    status: Option<StatusCode>,
    is_complete: bool,
    caller: Identified,
    trace_id: Option<String>,
    span: Span,
    _in_flight: Raised,
}

impl Watch {
    pub(crate) fn begin(gateway: &Gateway, request: Request) -> (Request, Self) {
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let route = parts.extensions.get::<MatchedPath>();
        let operation = operation(&parts.method, route);
        let span = begin(gateway, &parts, route);
        let trace_id = span.trace_id().or_else(|| lexiscale_trace::trace_id(&parts.headers));
        // From here on the request's own headers say whose child is what is done for it.
        span.enter(&mut parts.headers);
        let tenant = Tenant::of(&parts.extensions, gateway).ok();
        // The router has put them there, so there is nothing to wait for.
        let id = id(parts.extract::<RawPathParams>().now_or_never().and_then(Result::ok));
        let named = tenant.zip(id).map(|(Tenant(namespace), id)| EndpointKey { namespace, id });
        let key = known(gateway, named.as_ref());
        let in_flight = gateway.metrics.in_flight(operation, key.as_ref());
        let watch = Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            operation,
            named,
            key,
            began,
            status: None,
            is_complete: false,
            caller: Identified::default(),
            trace_id,
            span,
            _in_flight: in_flight,
            gateway: gateway.clone(),
        };
        parts.extensions.insert(watch.caller.clone());
        parts.extensions.insert(Began(began));
        (Request::from_parts(parts, body), watch)
    }

    /// Goes with the answer, to its end.
    pub(crate) fn end(mut self, response: Response) -> Response {
        self.status = Some(response.status());
        response.map(|body| {
            self.is_complete = hyper::body::Body::is_end_stream(&body);
            Body::new(Watched { body, watch: self })
        })
    }
}

fn begin(gateway: &Gateway, parts: &Parts, route: Option<&MatchedPath>) -> Span {
    // Names of spans are few, whatever a client calls its method.
    let method = || if METHODS.contains(&parts.method) { parts.method.as_str() } else { "_OTHER" };
    let route = route.map(MatchedPath::as_str);
    let name = || route.map_or_else(|| method().to_owned(), |route| format!("{} {route}", method()));
    let mut span = gateway.traces.begin(Kind::Server, name, &parts.headers);
    span.describe(|| {
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.map(|agent| attribute("user_agent.original", agent.to_owned()));
        let route = route.map(|route| attribute("http.route", route.to_owned()));
        let asked = [
            attribute("http.request.method", method().to_owned()),
            attribute("url.path", parts.uri.path().to_owned()),
        ];
        asked.into_iter().chain(route).chain(agent).collect()
    });
    span
}

fn operation(method: &Method, path: Option<&MatchedPath>) -> Operation {
    let Some(path) = path.map(MatchedPath::as_str) else {
        return Operation::Other;
    };
    match (method.as_str(), path) {
        ("GET" | "HEAD", path) if path == "/" || path.starts_with("/_page/") => Operation::Info,
        ("GET" | "HEAD", _) => Operation::Get,
        ("PUT", "/_inference/{id}" | "/_inference/{task_type}/{id}") => Operation::Create,
        ("PUT", _) => Operation::Update,
        ("DELETE", _) => Operation::Delete,
        ("POST", "/_inference/{id}" | "/_inference/{task_type}/{id}") => Operation::Infer,
        ("POST", path) if shapes::INFERENCES.contains(&path) => Operation::Infer,
        _ => Operation::Other,
    }
}

fn id(parameters: Option<RawPathParams>) -> Option<String> {
    let parameters = parameters?;
    parameters.iter().find(|(name, _)| *name == "id").map(|(_, value)| value.to_owned())
}

/// What becomes a label: nothing for an endpoint that does not exist.
fn known(gateway: &Gateway, named: Option<&EndpointKey>) -> Option<EndpointKey> {
    named.filter(|key| gateway.directory().get(key).is_some()).cloned()
}

impl Drop for Watch {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let outcome = match self.status {
            Some(status) if self.is_complete && status.is_server_error() => Outcome::ServerError,
            Some(status) if self.is_complete && status.is_client_error() => Outcome::ClientError,
            Some(_) if self.is_complete => Outcome::Success,
            Some(_) | None => Outcome::Cancelled,
        };
        tracing::info!(
            target: "access",
            method = %self.method,
            path = %self.path,
            operation = self.operation.as_str(),
            trace_id = self.trace_id,
            user = self.caller.0.get().map(String::as_str),
            status = self.status.map_or(499, |status| status.as_u16()),
            complete = self.is_complete,
            milliseconds = seconds * 1000.0,
            "request"
        );
        self.span.describe(|| {
            let key = self.key.iter().flat_map(|EndpointKey { namespace, id }| {
                [
                    attribute("lexiscale.namespace", namespace.clone()),
                    attribute("lexiscale.endpoint", id.clone()),
                ]
            });
            let status =
                self.status.map(|status| attribute("http.response.status_code", i64::from(status.as_u16())));
            status.into_iter().chain(key).collect()
        });
        match outcome {
            Outcome::Success | Outcome::ClientError => {}
            Outcome::ServerError => self.span.failed(|| self.status.unwrap_or_default().as_u16().to_string()),
            Outcome::Cancelled => self.span.failed(|| "cancelled".to_owned()),
        }
        // A create makes the endpoint that it is counted for, a delete ends it.
        let key = known(&self.gateway, self.key.as_ref().or(self.named.as_ref()));
        self.gateway.metrics.finished(self.operation, key.as_ref(), outcome, seconds);
    }
}

/// The body of an answer, with the watch that ends when it does.
struct Watched {
    body: Body,
    watch: Watch,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None))
            || (matches!(polled, Poll::Ready(Some(Ok(_)))) && self.body.is_end_stream())
        {
            self.watch.is_complete = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
