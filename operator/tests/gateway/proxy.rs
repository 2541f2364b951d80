//! Between gateways and the API server: counts what becomes of their patches, and refuses them when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use kube::{Client, Config};
use tokio::net::TcpListener;

use crate::cluster::Cluster;

#[derive(Clone)]
pub(crate) struct Proxy(Arc<Shared>);

struct Shared {
    client: Client,
    refuses: AtomicBool,
    stored: AtomicUsize,
    refused: AtomicUsize,
}

impl Proxy {
    /// The same cluster, seen through the proxy.
    pub(crate) async fn start(cluster: &Cluster) -> (Self, Cluster) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Self(Arc::new(Shared {
            client: cluster.client.clone(),
            refuses: AtomicBool::new(false),
            stored: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }));
        let router = Router::new().fallback(forward).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
        (proxy, Cluster { client, namespace: cluster.namespace.clone() })
    }

    /// From now on every patch is answered 503, or is not any more.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.0.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Patches that the API server stored, and those that it or this proxy refused.
    pub(crate) fn patches(&self) -> (usize, usize) {
        (self.0.stored.load(Ordering::SeqCst), self.0.refused.load(Ordering::SeqCst))
    }
}

async fn forward(State(Proxy(shared)): State<Proxy>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let is_patch = head.method == Method::PATCH;
    if is_patch && shared.refuses.load(Ordering::SeqCst) {
        shared.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut forwarded =
        http::Request::builder().method(head.method).uri(head.uri.path_and_query().unwrap().as_str());
    for name in [http::header::CONTENT_TYPE, http::header::ACCEPT] {
        if let Some(value) = head.headers.get(&name) {
            forwarded = forwarded.header(name, value);
        }
    }
    let forwarded = forwarded.body(kube::client::Body::from(body.to_vec())).unwrap();
    match shared.client.send(forwarded).await {
        Ok(response) => {
            if is_patch {
                let count = if response.status().is_success() { &shared.stored } else { &shared.refused };
                count.fetch_add(1, Ordering::SeqCst);
            }
            response.map(Body::new)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
