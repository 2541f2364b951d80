//! Asks a pod for its load. One connection is kept for each, and every wait and every byte is bounded.

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use lexiscale_wire::LOAD_PATH;
use serde::de::DeserializeOwned;

const PATIENCE: Duration = Duration::from_millis(1500);
/// A thousand busy endpoints are a third of a megabyte.
const LARGEST_ANSWER: usize = 16 << 20;
/// Below the 10 s after which workers close a connection that sends nothing.
const POOL_IDLE: Duration = Duration::from_secs(5);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LoadClient(Client<HttpConnector, Empty<Bytes>>);

#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("does not answer")]
    Silent,
    #[error("answered with status {0}")]
    Status(u16),
    #[error("answered what cannot be read")]
    Unreadable,
}

impl LoadClient {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Self(client)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, ip: IpAddr, port: u16) -> Result<T, AskError> {
        let uri: Uri = format!("http://{}{LOAD_PATH}", SocketAddr::new(ip, port))
            .parse()
            .expect("an address is an authority, and the path is ours");
        let answer = async {
            let response = self.0.get(uri).await.map_err(|_| AskError::Silent)?;
            if !response.status().is_success() {
                return Err(AskError::Status(response.status().as_u16()));
            }
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect();
            let body = body.await.map_err(|_| AskError::Unreadable)?.to_bytes();
            serde_json::from_slice(&body).map_err(|_| AskError::Unreadable)
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(AskError::Silent))
    }
}
