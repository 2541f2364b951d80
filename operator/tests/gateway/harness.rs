//! A gateway on ports of its own, and a client that speaks to it as curl would.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lexiscale_operator::gateway::{self, Settings};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::{Cluster, INSTANCE, PATIENCE};

#[derive(Parser)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<anyhow::Result<()>>,
    client: Client<HttpConnector, Full<Bytes>>,
    _stop: DropGuard,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and type of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"]["type"].as_str().unwrap_or_default().to_owned())
    }
}

impl Gateway {
    pub(crate) async fn start(cluster: &Cluster, flags: &[&str]) -> Self {
        let settings = settings(cluster, flags);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, admin_address) = (listener.local_addr().unwrap(), admin.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let ended =
            tokio::spawn(gateway::serve(settings, cluster.client.clone(), listener, admin, shutdown.clone()));
        let gateway = Self {
            address,
            admin: admin_address,
            _stop: shutdown.clone().drop_guard(),
            shutdown,
            ended,
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
        };
        gateway.until("the gateway is ready", async || gateway.is_ready().await).await;
        gateway
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.admin_get("/readyz").await.is_ok_and(|answer| answer.status == StatusCode::OK)
    }

    pub(crate) async fn metrics(&self) -> String {
        self.admin_get("/metrics").await.unwrap().text().to_owned()
    }

    /// What the controller reads.
    pub(crate) async fn load(&self) -> Value {
        self.admin_get("/load").await.unwrap().json()
    }

    async fn admin_get(&self, path: &str) -> Result<Answer, hyper_util::client::legacy::Error> {
        let uri: Uri = format!("http://{}{path}", self.admin).parse().unwrap();
        answer(self.client.request(Request::get(uri).body(Full::default()).unwrap()).await?).await
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let poll = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }

    pub(crate) async fn request(&self, mut request: Request<Bytes>) -> Answer {
        let path = request.uri().path_and_query().unwrap().clone();
        *request.uri_mut() = format!("http://{}{path}", self.address).parse().unwrap();
        let response = tokio::time::timeout(PATIENCE * 2, self.client.request(request.map(Full::new))).await;
        answer(response.unwrap().unwrap()).await.unwrap()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.request(request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "").await
    }
}

fn settings(cluster: &Cluster, flags: &[&str]) -> Settings {
    let ours = ["gateway", "--namespace", &cluster.namespace, "--instance", INSTANCE, "--drain-delay", "0s"];
    Arguments::parse_from([&ours, flags].concat()).settings
}

/// Why a gateway ends that cannot begin.
pub(crate) async fn refuses_to_start(cluster: &Cluster, flags: &[&str]) -> String {
    let [listener, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0"));
    let (listener, admin) = (listener.await.unwrap(), admin.await.unwrap());
    let served = gateway::serve(
        settings(cluster, flags),
        cluster.client.clone(),
        listener,
        admin,
        CancellationToken::new(),
    );
    let error = tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap_err();
    format!("{error:#}")
}

async fn answer(
    response: http::Response<hyper::body::Incoming>,
) -> Result<Answer, hyper_util::client::legacy::Error> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body })
}
