//! Load: requests that come at random times whatever became of the earlier ones, or as fast as they are answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::figures::percentile;

const BODY: &[u8] = br#"{"input":"The quick brown fox jumps over the lazy dog"}"#;

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
}

#[derive(Clone)]
pub(crate) struct Client(hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>);

/// Latencies in milliseconds, ascending.
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        percentile(&self.0, share)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector))
    }

    pub(crate) async fn get(&self, target: &Target) -> Result<StatusCode> {
        self.send(Method::GET, target, Bytes::new()).await
    }

    pub(crate) async fn infer(&self, target: &Target) -> Result<()> {
        match self.send(Method::POST, target, Bytes::from_static(BODY)).await? {
            StatusCode::OK => Ok(()),
            status => bail!("{} answered {status}", target.address),
        }
    }

    /// What a GET answers.
    pub(crate) async fn text(&self, target: &Target) -> Result<String> {
        let uri = format!("http://{}{}", target.address, target.path);
        let response = self.0.request(Request::get(uri).body(Full::new(Bytes::new()))?).await?;
        Ok(String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned())
    }

    async fn send(&self, method: Method, target: &Target, body: Bytes) -> Result<StatusCode> {
        let uri = format!("http://{}{}", target.address, target.path);
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let response = self.0.request(request.body(Full::new(body))?).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }
}

/// Poisson arrivals at `rate` a second, each sent to one of `targets` at random. The time counts from the moment of sending:
/// the timer that wakes the sender is coarser than what is measured.
pub(crate) async fn open(targets: &[Target], rate: f64, duration: Duration) -> Result<Latencies> {
    let client = Client::new();
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let mut requests = JoinSet::new();
    let mut next = Instant::now();
    let end = next + duration;
    // Connections and caches fill first.
    let measured_from = next + duration.mul_f64(0.2);
    while next < end {
        sleep_until(next).await;
        let (client, latencies) = (client.clone(), Arc::clone(&latencies));
        let target = targets[fastrand::usize(..targets.len())].clone();
        let counts = next >= measured_from;
        requests.spawn(async move {
            let began = std::time::Instant::now();
            client.infer(&target).await?;
            if counts {
                let mut all = latencies.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(())
        });
        next += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / rate);
        while let Some(done) = requests.try_join_next() {
            done??;
        }
    }
    while let Some(done) = requests.join_next().await {
        done??;
    }
    let mut all = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
    all.sort_by(f64::total_cmp);
    Ok(Latencies(all))
}

/// Requests a second that `connections` clients get, each sending as soon as it is answered.
pub(crate) async fn closed(target: &Target, connections: usize, duration: Duration) -> Result<f64> {
    let end = Instant::now() + duration;
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        clients.spawn(async move {
            let client = Client::new();
            let mut count = 0_u32;
            while Instant::now() < end {
                client.infer(&target).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut total = 0.0;
    while let Some(count) = clients.join_next().await {
        total += f64::from(count??);
    }
    Ok(total / duration.as_secs_f64())
}
