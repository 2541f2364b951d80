//! An ordinary HTTP client, for what is measured in milliseconds and not in microseconds.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::load::BODY;

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
}

#[derive(Clone)]
pub(crate) struct Client(hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>);

impl Target {
    fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector))
    }

    pub(crate) async fn infer(&self, target: &Target) -> Result<()> {
        match self.send(target).await? {
            StatusCode::OK => Ok(()),
            status => bail!("{} answered {status}", target.address),
        }
    }

    /// What a GET answers.
    pub(crate) async fn text(&self, target: &Target) -> Result<String> {
        let response = self.0.request(Request::get(target.url()).body(Full::new(Bytes::new()))?).await?;
        Ok(String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned())
    }

    async fn send(&self, target: &Target) -> Result<StatusCode> {
        let request = Request::post(target.url()).header("content-type", "application/json");
        let response = self.0.request(request.body(Full::from(BODY))?).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }
}
