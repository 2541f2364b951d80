//! Asks a running download how far it is, and a worker what it measured of itself. Every wait and every byte is bounded: the
//! pass that asks has better things to do.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use lexiscale_core::{
    desired::job::PROGRESS_PORT,
    sizing::{Asked, Told},
};
use lexiscale_wire::{INFO_PATH, Progress, WorkerInfo};
use serde::de::DeserializeOwned;

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
        let port = u16::try_from(PROGRESS_PORT).ok()?;
        let answer = self.ask(pod_ip, port, "/progress").await;
        if answer.is_none() {
            tracing::debug!(pod_ip, "the download does not tell its progress");
        }
        answer
    }

    /// What a worker has measured, once it has.
    pub(super) async fn sizing(&self, asked: &Asked) -> Option<Told> {
        let info: WorkerInfo = self.ask(&asked.ip, asked.port, INFO_PATH).await?;
        Some(Told { revision: asked.revision.clone(), sizing: info.sizing? })
    }

    async fn ask<T: DeserializeOwned>(&self, pod_ip: &str, port: u16, path: &str) -> Option<T> {
        let host = if pod_ip.contains(':') { format!("[{pod_ip}]") } else { pod_ip.to_owned() };
        let uri: Uri = format!("http://{host}:{port}{path}").parse().ok()?;
        let answer = async {
            let response = self.0.get(uri).await.ok().filter(|response| response.status().is_success())?;
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await.ok()?;
            serde_json::from_slice(&body.to_bytes()).ok()
        };
        tokio::time::timeout(PATIENCE, answer).await.ok().flatten()
    }
}
