//! Talking to worker pods, every wait bounded by the request's deadline.

mod connections;

use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::RETRY_AFTER;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use lexiscale_trace::{Kind, Span, Traces, attribute};
use lexiscale_wire::{
    COUNTED_HEADER, LOAD_HEADER, READY_PATH, TIMEOUT_HEADER, TOKENS_HEADER, WORKED_HEADER, WorkerError,
    WorkerErrorKind,
};
use tokio::time::{Instant, Sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::connections::Connections;
pub(crate) use self::connections::Error as ConnectionsError;
use super::Observers;
use super::admission::Admitted;
use super::tls::WorkerSettings;
use super::work::Message;

/// A worker's error is a sentence; more is a mistake.
const LARGEST_ERROR: usize = 64 << 10;

#[derive(Clone)]
pub(crate) struct WorkerClient {
    connections: Connections,
    traces: Traces,
}

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

impl Failure {
    /// In a word, for a span.
    fn kind(&self) -> &str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Refused { error, retry_after: _ } => error.kind.as_str(),
            Self::DeadlinePassed => "deadline",
        }
    }
}

/// An answer whose head has arrived, and with it the end of the worker's arithmetic.
pub(crate) struct Answer {
    pub(crate) body: Incoming,
    /// Texts that the worker has left, where it says so.
    pub(crate) load: Option<usize>,
    /// What its model worked on this, where it says so.
    pub(crate) worked: Option<Duration>,
    /// Tokens that it came to, where it says so.
    pub(crate) tokens: Option<u64>,
}

impl WorkerClient {
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { connections: Connections::plain(), traces: Traces::default() }
    }

    /// Fails where workers are to be asked by TLS and there is no usable certificate for it.
    pub(crate) async fn load(
        settings: &WorkerSettings,
        observers: Observers,
    ) -> Result<Self, ConnectionsError> {
        let Observers { metrics, traces } = observers;
        Ok(Self { connections: Connections::load(settings, metrics).await?, traces })
    }

    pub(crate) async fn follow_certificate(&self, ended: CancellationToken) {
        self.connections.follow(ended).await;
    }

    /// Dropping the future closes the connection, which tells the worker to stop.
    pub(crate) async fn infer(
        &self,
        pod: SocketAddr,
        message: &Message,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let mut span = self.traces.begin(Kind::Client, || format!("POST {}", message.path), &message.headers);
        span.describe(|| {
            vec![
                attribute("http.request.method", "POST"),
                attribute("server.address", pod.ip().to_string()),
                attribute("server.port", i64::from(pod.port())),
                attribute("lexiscale.texts", i64::try_from(message.texts).unwrap_or(i64::MAX)),
            ]
        });
        let answer = self.ask(pod, message, deadline, &span).await;
        match &answer {
            Ok(_) => span.describe(|| vec![attribute("http.response.status_code", 200)]),
            Err(failure) => span.failed(|| failure.kind().to_owned()),
        }
        answer
    }

    /// Whether the worker says itself that it is ready.
    pub(crate) async fn is_ready(&self, pod: SocketAddr, deadline: Instant) -> bool {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri(self.connections.scheme(), pod, READY_PATH);
        let asked = timeout_at(deadline, self.connections.request(request)).await;
        matches!(asked, Ok(Ok(response)) if response.status() == StatusCode::OK)
    }

    async fn ask(
        &self,
        pod: SocketAddr,
        message: &Message,
        deadline: Instant,
        span: &Span,
    ) -> Result<Answer, Failure> {
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(self.connections.scheme(), pod, message.path);
        *request.headers_mut() = message.headers.clone();
        let time_left = HeaderValue::from(milliseconds_left(deadline, Instant::now()));
        request.headers_mut().insert(TIMEOUT_HEADER, time_left);
        span.enter(request.headers_mut());
        request.headers_mut().insert(COUNTED_HEADER, HeaderValue::from_static("1"));
        let response = match timeout_at(deadline, self.connections.request(request)).await {
            Err(_) => return Err(Failure::DeadlinePassed),
            Ok(Err(error)) => return Err(unanswered(pod, &error)),
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::OK {
            let load = number(response.headers(), LOAD_HEADER);
            let worked = number(response.headers(), WORKED_HEADER).map(Duration::from_micros);
            let tokens = number(response.headers(), TOKENS_HEADER);
            return Ok(Answer { body: response.into_body(), load, worked, tokens });
        }
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        let body = timeout_at(deadline, Limited::new(response.into_body(), LARGEST_ERROR).collect()).await;
        let body = body.map_err(|_| Failure::DeadlinePassed)?.map_err(|_| Failure::Lost)?.to_bytes();
        Err(Failure::Refused { error: read_error(status, &body), retry_after })
    }
}

fn unanswered(pod: SocketAddr, error: &hyper_util::client::legacy::Error) -> Failure {
    if let Some(refusal) = connections::refused(error) {
        // A pod is asked again only after a pause, so this cannot flood.
        tracing::warn!(%pod, "failed to agree with a worker on TLS: {refusal}");
        return Failure::Unreachable;
    }
    if error.is_connect() { Failure::Unreachable } else { Failure::Lost }
}

/// Rounded up, so that the gateway is the first to say that the time is over.
fn milliseconds_left(deadline: Instant, now: Instant) -> u64 {
    let left = deadline.saturating_duration_since(now).as_millis();
    u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1)
}

fn number<T: FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn uri(scheme: Scheme, pod: SocketAddr, path: &'static str) -> Uri {
    Uri::builder()
        .scheme(scheme)
        .authority(pod.to_string())
        .path_and_query(path)
        .build()
        .expect("a socket address is an authority, and the paths are ours")
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

/// A worker's answer on its way to the client. Holds the request's place until it is through, but no slot: the
/// worker is done, and a client that reads slowly must not keep it from others. Breaks off at the deadline: a
/// half answer must not look like a whole one.
pub(crate) struct Relay {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    _admitted: Admitted,
}

impl Relay {
    pub(crate) fn body(body: Incoming, admitted: Admitted) -> Body {
        let deadline = Box::pin(tokio::time::sleep_until(admitted.deadline.at));
        Body::new(Self { body, deadline, _admitted: admitted })
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
    fn a_worker_that_tells_no_load_has_none_that_is_known() {
        let mut headers = HeaderMap::new();
        let load = |headers: &HeaderMap| number::<usize>(headers, LOAD_HEADER);
        assert_eq!(load(&headers), None);
        headers.insert(LOAD_HEADER, HeaderValue::from_static("many"));
        assert_eq!(load(&headers), None);
        headers.insert(LOAD_HEADER, HeaderValue::from_static("7"));
        assert_eq!(load(&headers), Some(7));
    }

    #[test]
    fn pods_of_both_families_have_an_address() {
        let uri = |pod: &str| uri(Scheme::HTTP, pod.parse().unwrap(), "/_inference");
        assert_eq!(uri("10.0.0.1:8080"), "http://10.0.0.1:8080/_inference");
        assert_eq!(uri("[fd00::1]:8080"), "http://[fd00::1]:8080/_inference");
    }
}
