//! Talking to worker pods: one pool of kept-alive connections for each, every wait bounded by the request's
//! deadline.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lexiscale_wire::{TIMEOUT_HEADER, WorkerError, WorkerErrorKind};
use tokio::time::{Instant, Sleep, timeout_at};

use super::admission::Admitted;
use super::pod::InFlight;

/// Pods answer a connection within a millisecond or are gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Well below the 10 seconds after which workers close a connection that sends no request: one that is taken
/// out of the pool must not be about to close.
const POOL_IDLE: Duration = Duration::from_secs(5);
const POOL_CONNECTIONS: usize = 64;
/// A worker's error is a sentence; more is a mistake.
const LARGEST_ERROR: usize = 64 << 10;
/// Trace context goes on to the worker.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[derive(Clone)]
pub(crate) struct WorkerClient(Client<HttpConnector, Full<Bytes>>);

/// Why there is no vector.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection: the worker never saw the request.
    Unreachable,
    /// The connection broke before an answer: the worker may have died of it.
    Lost,
    /// The worker refused.
    Refused { error: WorkerError, retry_after: Option<HeaderValue> },
    /// No answer in time.
    DeadlinePassed,
}

/// What a worker can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// Tokens and weights.
    Inference,
    /// Token ids and weights.
    EmbedSparse,
}

impl Route {
    const fn path(self) -> &'static str {
        match self {
            Self::Inference => "/_inference",
            Self::EmbedSparse => "/embed_sparse",
        }
    }
}

/// What is sent: the body for the worker, and the headers that it may want.
#[derive(Clone)]
pub(crate) struct Message {
    route: Route,
    body: Bytes,
    headers: HeaderMap,
}

impl Message {
    pub(crate) fn new(body: Vec<u8>, client: &HeaderMap) -> Self {
        Self::to(Route::Inference, body, client)
    }

    pub(crate) fn to(route: Route, body: Vec<u8>, client: &HeaderMap) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for name in [TRACEPARENT, TRACESTATE] {
            if let Some(value) = client.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        Self { route, body: Bytes::from(body), headers }
    }
}

impl WorkerClient {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_CONNECTIONS)
            .build(connector);
        Self(client)
    }

    /// Dropping the future closes the connection, which tells the worker to stop.
    pub(crate) async fn infer(
        &self,
        pod: SocketAddr,
        message: Message,
        deadline: Instant,
    ) -> Result<Incoming, Failure> {
        let mut request = Request::new(Full::new(message.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(pod, message.route);
        *request.headers_mut() = message.headers;
        let time_left = HeaderValue::from(milliseconds_left(deadline, Instant::now()));
        request.headers_mut().insert(TIMEOUT_HEADER, time_left);
        let response = match timeout_at(deadline, self.0.request(request)).await {
            Err(_) => return Err(Failure::DeadlinePassed),
            Ok(Err(error)) if error.is_connect() => return Err(Failure::Unreachable),
            Ok(Err(_)) => return Err(Failure::Lost),
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        let body = timeout_at(deadline, Limited::new(response.into_body(), LARGEST_ERROR).collect()).await;
        let body = body.map_err(|_| Failure::DeadlinePassed)?.map_err(|_| Failure::Lost)?.to_bytes();
        Err(Failure::Refused { error: read_error(status, &body), retry_after })
    }
}

/// Rounded up, so that the gateway is the first to say that the time is over.
fn milliseconds_left(deadline: Instant, now: Instant) -> u64 {
    let left = deadline.saturating_duration_since(now).as_millis();
    u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1)
}

fn uri(pod: SocketAddr, route: Route) -> Uri {
    Uri::builder()
        .scheme("http")
        .authority(pod.to_string())
        .path_and_query(route.path())
        .build()
        .expect("a socket address is an authority")
}

/// A worker says what happened; anything in between (a proxy, a crash handler) says it by status only.
fn read_error(status: StatusCode, body: &[u8]) -> WorkerError {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let kind = match status.as_u16() {
            429 => WorkerErrorKind::Overloaded,
            503 => WorkerErrorKind::NotReady,
            _ => WorkerErrorKind::Internal,
        };
        WorkerError::new(kind, format!("the worker answered with status {}", status.as_u16()))
    })
}

/// A worker's answer on its way to the client. Holds the request's place and the pod's count until it is
/// through, and breaks off at the deadline: a half answer must not look like a whole one.
pub(crate) struct Relay {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    _admitted: Admitted,
    _in_flight: InFlight,
}

impl Relay {
    pub(crate) fn body(body: Incoming, admitted: Admitted, in_flight: InFlight) -> Body {
        let deadline = Box::pin(tokio::time::sleep_until(admitted.deadline.at));
        Body::new(Self { body, deadline, _admitted: admitted, _in_flight: in_flight })
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("failed to read the worker's answer")]
    Worker(#[source] hyper::Error),
    #[error("the deadline passed within the worker's answer")]
    DeadlinePassed,
}

impl hyper::body::Body for Relay {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(RelayError::Worker))),
            Poll::Pending => {
                self.deadline.as_mut().poll(context).map(|()| Some(Err(RelayError::DeadlinePassed)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_the_workers_words_is_read_by_its_status() {
        let kind = |status, body: &[u8]| read_error(StatusCode::from_u16(status).unwrap(), body).kind;
        assert_eq!(kind(503, b"<html>"), WorkerErrorKind::NotReady);
        assert_eq!(kind(429, b""), WorkerErrorKind::Overloaded);
        assert_eq!(kind(418, b""), WorkerErrorKind::Internal);
        assert_eq!(kind(500, br#"{"error":"e","type":"too_large"}"#), WorkerErrorKind::TooLarge);
    }

    #[test]
    fn the_worker_is_told_no_less_time_than_is_left() {
        let now = Instant::now();
        assert_eq!(milliseconds_left(now + Duration::from_micros(1_500), now), 2);
        assert_eq!(milliseconds_left(now, now + Duration::from_secs(1)), 1);
    }

    #[test]
    fn pods_of_both_families_have_an_address() {
        let uri = |pod: &str, route| uri(pod.parse().unwrap(), route).to_string();
        assert_eq!(uri("10.0.0.1:8080", Route::Inference), "http://10.0.0.1:8080/_inference");
        assert_eq!(uri("[fd00::1]:8080", Route::EmbedSparse), "http://[fd00::1]:8080/embed_sparse");
    }
}
