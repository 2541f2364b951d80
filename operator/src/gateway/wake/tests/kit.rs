//! An API server of which only the one object exists, and gateways whose watches deliver when the test says so.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use clap::Parser;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::*;
use super::key;
use crate::gateway::directory::Builder;
use crate::gateway::error::Error;
use crate::gateway::page::Page;
use crate::gateway::settings::Settings;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

/// The one object, and what the API server was asked.
pub(super) struct Store {
    pub(super) object: Value,
    pub(super) stored_patches: usize,
    pub(super) refused_patches: usize,
    /// Requests that fail before the API server is back.
    pub(super) away_for: usize,
}

#[derive(Clone)]
pub(super) struct ApiServer(Arc<Mutex<Store>>);

impl ApiServer {
    pub(super) fn new(decision: &Value) -> Self {
        let object = json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "InferenceEndpoint",
            "metadata": {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "10"},
            "spec": {"taskType": "sparse_embedding", "service": "elser",
                     "serviceSettings": {"numThreads": 1, "adaptiveAllocations": {"enabled": true}}},
            "status": {"decision": decision, "allocations": {"desired": 0, "current": 0, "ready": 0}},
        });
        Self(Arc::new(Mutex::new(Store { object, stored_patches: 0, refused_patches: 0, away_for: 0 })))
    }

    pub(super) fn store<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    pub(super) fn patches(&self) -> (usize, usize) {
        self.store(|store| (store.stored_patches, store.refused_patches))
    }

    /// Somebody else writes: the version moves on.
    pub(super) fn touch(&self) {
        self.store(|store| bump(&mut store.object));
    }

    async fn answer(self, request: Request<kube::client::Body>) -> std::io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        // Both gateways have decided by the time the first patch arrives.
        tokio::task::yield_now().await;
        self.store(|store| {
            if store.away_for > 0 {
                store.away_for -= 1;
                return Err(std::io::Error::other("connection refused"));
            }
            if head.method != Method::PATCH {
                return Ok(json_response(StatusCode::OK, &store.object));
            }
            let patch: Value = serde_json::from_slice(&body)?;
            if patch["metadata"]["resourceVersion"] != store.object["metadata"]["resourceVersion"] {
                store.refused_patches += 1;
                let status = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "changed"});
                return Ok(json_response(StatusCode::CONFLICT, &status));
            }
            store.stored_patches += 1;
            store.object["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
            bump(&mut store.object);
            Ok(json_response(StatusCode::OK, &store.object))
        })
    }

    pub(super) fn gateway(&self, flags: &[&str]) -> Watched {
        let server = self.clone();
        let service = tower::service_fn(move |request| server.clone().answer(request));
        let settings = Arguments::parse_from([&["gateway"], flags].concat()).settings;
        let mut builder = Builder::default();
        builder.endpoint(Event::Init);
        builder.endpoint(Event::InitDone);
        builder.slice(Event::InitDone);
        let (sender, directory) = watch::channel(Arc::default());
        let (registry, metrics) = crate::gateway::metrics::registry();
        let client = Client::new(service, "default");
        let page = Page::new(kube::runtime::reflector::store().0);
        let workers = crate::gateway::worker::WorkerClient::plain();
        let observers = crate::gateway::Observers { metrics, ..Default::default() };
        let gateway =
            Gateway::new(settings, client, directory, observers, workers, page, CancellationToken::new());
        tokio::spawn(follow(gateway.clone(), gateway.watch_directory()));
        let mut watched = Watched { gateway, builder, sender, server: self.clone(), registry };
        watched.look();
        watched
    }
}

fn bump(object: &mut Value) {
    let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// A gateway whose watch delivers when the test says so.
pub(super) struct Watched {
    pub(super) gateway: Gateway,
    pub(super) builder: Builder,
    pub(super) sender: watch::Sender<Arc<Directory>>,
    pub(super) server: ApiServer,
    registry: Arc<prometheus_client::registry::Registry>,
}

impl Watched {
    /// What the watch would show now.
    pub(super) fn seen(&mut self) -> Arc<Directory> {
        let object = self.server.store(|store| store.object.clone());
        self.builder.endpoint(Event::Apply(serde_json::from_value(object).unwrap()));
        Arc::new(self.builder.build(Instant::now()))
    }

    pub(super) fn show(&self, directory: Arc<Directory>) {
        self.sender.send_replace(directory);
    }

    pub(super) fn look(&mut self) {
        let seen = self.seen();
        self.show(seen);
    }

    /// What the watch would show with an allocation that is ready.
    pub(super) fn seen_started(&mut self) -> Arc<Directory> {
        let slice = serde_json::from_value(json!({
            "metadata": {"name": "a-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "a"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
        }));
        self.builder.slice(Event::Apply(slice.unwrap()));
        self.seen()
    }

    /// A request that waits as the dispatcher lets it, for so long.
    pub(super) async fn request(&self, patience: Duration) -> axum::response::Response {
        self.request_to(&key(), patience).await
    }

    pub(super) async fn request_to(&self, key: &EndpointKey, patience: Duration) -> axum::response::Response {
        let waiter = Waiter::new(&self.gateway, key);
        let mut directory = self.gateway.watch_directory();
        let outcome = {
            let _waiting = waiter.begin();
            let started = directory.wait_for(|directory| !directory.get(key).unwrap().pods.is_empty());
            tokio::time::timeout(patience, started).await.map(drop)
        };
        let too_late =
            Error::InferTimeout { id: key.id.clone(), timeout: patience, waited_for: "a ready allocation" };
        let result = outcome.map(|()| axum::response::Response::default()).map_err(|_| too_late);
        waiter.answer(result).unwrap()
    }

    /// Labels and value of each series.
    pub(super) fn metric(&self, name: &str) -> Vec<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.gateway.wakes.lock().is_empty()
    }
}
