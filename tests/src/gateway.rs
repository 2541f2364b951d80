//! The gateway as a client sees it: through `kubectl port-forward`, which works on every cluster.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use lexiscale_crds::ServedPrecision;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::cluster::kubeconfig;

/// An answer of the gateway.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The `Warning` header.
    pub warning: Option<String>,
    /// How long the request waited for a first allocation, in milliseconds.
    pub cold_start: Option<u64>,
    /// What the vectors were computed with.
    pub precision: Option<ServedPrecision>,
    /// Body as it came.
    pub text: String,
    /// Body as JSON, null if it is none.
    pub body: Value,
}

/// A connection to the gateway of the installed chart. The forwarding ends with the value.
pub struct Gateway {
    /// Base URL, `http://127.0.0.1:PORT`.
    pub url: String,
    agent: ureq::Agent,
    _forwarding: Child,
}

impl Gateway {
    /// Opens a way to the gateway that all tests share.
    pub async fn open() -> Result<Self> {
        Self::of("lexiscale-system", "lexiscale-gateway").await
    }

    /// Opens a way to the gateway of a release.
    pub async fn of(namespace: &str, service: &str) -> Result<Self> {
        let mut forwarding = Command::new("kubectl")
            .args(["--namespace", namespace, "port-forward", &format!("service/{service}"), ":9200"])
            .env("KUBECONFIG", kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to run kubectl; `make test-cluster` puts it into the PATH")?;
        let stdout = forwarding.stdout.take().context("kubectl has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line())
            .await
            .context("kubectl port-forward said nothing for 20 s")??
            .context("kubectl port-forward ended; is the chart installed?")?;
        let Some((_, rest)) = line.split_once("127.0.0.1:") else {
            bail!("unexpected line of kubectl: {line}")
        };
        let port = rest.split(' ').next().unwrap_or_default();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A server may close after a refusal for which it did not read the body, while the next request is on its way.
            .max_idle_connections(0)
            .timeout_global(Some(Duration::from_mins(3)))
            .build()
            .into();
        Ok(Self { url: format!("http://127.0.0.1:{port}"), agent, _forwarding: forwarding })
    }

    /// Sends one request with an optional JSON body.
    pub async fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer> {
        self.send_as("", method, path, body).await
    }

    /// The same with credentials, as the `Authorization` header has them; empty for none.
    pub async fn send_as(
        &self,
        credentials: &str,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<Answer> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !credentials.is_empty() {
            request = request.header("authorization", credentials);
        }
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_owned())?,
            None => request.body(String::new())?,
        };
        let agent = self.agent.clone();
        tokio::task::spawn_blocking(move || {
            let mut response = agent.run(request)?;
            let header = |name: &str| {
                response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
            };
            let warning = header("warning");
            let cold_start = header("x-inference-cold-start-ms").and_then(|text| text.parse().ok());
            let precision = header("x-lexiscale-precision").and_then(|text| text.parse().ok());
            let text = response.body_mut().read_to_string()?;
            let body = serde_json::from_str(&text).unwrap_or_default();
            Ok(Answer { status: response.status().as_u16(), warning, cold_start, precision, text, body })
        })
        .await?
    }

    /// Sends one request and requires status 200.
    pub async fn call(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer> {
        let answer = self.send(method, path, body).await?;
        if answer.status == 200 {
            Ok(answer)
        } else {
            bail!("{method} {path}: {} {}", answer.status, answer.text)
        }
    }
}
