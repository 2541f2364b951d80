//! How spans reach the collector: blocking, because OpenTelemetry sends from a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

/// Of one batch. The specification's default.
const PATIENCE: Duration = Duration::from_secs(10);
/// A collector answers with a sentence at most.
const LARGEST_ANSWER: u64 = 64 << 10;

#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    /// A collector that is away is news once, not with each batch.
    is_away: AtomicBool,
}

impl Client {
    pub(crate) fn new() -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .new_agent();
        Self { agent, is_away: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let mut response = self.agent.run(Request::from_parts(head, &body[..]))?;
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec()?;
        let (head, _) = response.into_parts();
        Ok(Response::from_parts(head, Bytes::from(body)))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().clone();
        let sent = self.send(request);
        let trouble = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        match trouble {
            Some(trouble) if !self.is_away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%url, "failed to send spans, later ones may be lost too: {trouble}");
            }
            None if self.is_away.swap(false, Ordering::Relaxed) => {
                tracing::info!(%url, "spans are taken again");
            }
            Some(_) | None => {}
        }
        Ok(sent?)
    }
}
