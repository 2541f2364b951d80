//! Asks a running download how far it is. Every wait and every byte is bounded: the pass that asks has better things to do.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lexiscale_core::desired::job::PROGRESS_PORT;
use lexiscale_wire::Progress;

const PATIENCE: Duration = Duration::from_secs(1);
const LARGEST_ANSWER: usize = 64 * 1024;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ProgressClient(Client<HttpConnector, Empty<Bytes>>);

impl ProgressClient {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    /// What the pod answers, if it does.
    pub(super) async fn get(&self, pod_ip: &str) -> Option<Progress> {
        let host = if pod_ip.contains(':') { format!("[{pod_ip}]") } else { pod_ip.to_owned() };
        let uri: Uri = format!("http://{host}:{PROGRESS_PORT}/progress").parse().ok()?;
        let answer = async {
            let response = self.0.get(uri).await.ok().filter(|response| response.status().is_success())?;
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.ok()?;
            serde_json::from_slice(&body.to_bytes()).ok()
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await.ok().flatten();
        if answer.is_none() {
            tracing::debug!(pod_ip, "the download does not tell its progress");
        }
        answer
    }
}
