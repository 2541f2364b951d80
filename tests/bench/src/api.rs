//! As much of an API server as the gateway looks at: three lists, their watches, one kind of patch. The real one refuses
//! slices with loopback addresses, load is sent to nothing else here, and it is not on the path that is measured.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;

pub(crate) const NAMESPACE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(20);
const VERSION: &str = "inference.lexiscale.io/v1alpha1";

pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Endpoints by name, with the addresses of their pods.
    endpoints: std::sync::Mutex<Vec<(String, Vec<SocketAddr>)>>,
    patches: std::sync::Mutex<Vec<(String, Instant)>>,
    /// Each patch.
    patched: Notify,
    events: broadcast::Sender<(Kind, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Endpoint,
    Slice,
    Cache,
}

impl Api {
    /// Serves these endpoints; one without pods is asleep.
    pub(crate) async fn start(endpoints: Vec<(String, Vec<SocketAddr>)>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            endpoints: std::sync::Mutex::new(endpoints),
            patches: std::sync::Mutex::default(),
            patched: Notify::new(),
            events: broadcast::channel(1024).0,
        });
        let router = Router::new()
            .route(&format!("/apis/{VERSION}/namespaces/{NAMESPACE}/inferenceendpoints"), get(list_endpoints))
            .route(
                &format!("/apis/{VERSION}/namespaces/{NAMESPACE}/inferenceendpoints/{{name}}"),
                patch(wake).get(show),
            )
            .route(
                &format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"),
                get(list_slices),
            )
            .route(&format!("/apis/{VERSION}/namespaces/{NAMESPACE}/modelcaches"), get(list_caches))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, shared })
    }

    /// When each patch of an endpoint came.
    pub(crate) fn patches(&self, name: &str) -> Vec<Instant> {
        let patches = self.shared.patches.lock().unwrap_or_else(PoisonError::into_inner);
        patches.iter().filter(|(patched, _)| patched == name).map(|(_, at)| *at).collect()
    }

    /// When the first patch of an endpoint came, which is waited for.
    pub(crate) async fn patched(&self, name: &str) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before the look, or a patch might come between the two.
            let next = self.shared.patched.notified();
            if let Some(first) = self.patches(name).first() {
                return Ok(*first);
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            timeout(patience, next).await.with_context(|| format!("nobody woke {name}"))?;
        }
    }

    /// A pod of the endpoint gets ready.
    pub(crate) fn ready(&self, name: &str, pod: SocketAddr) {
        let mut endpoints = self.shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, pods)) = endpoints.iter_mut().find(|(known, _)| known == name) else { return };
        pods.push(pod);
        let slice = slice(name, pods.len() - 1, pod);
        let _ = self.shared.events.send((Kind::Endpoint, endpoint(name, pods)));
        let _ = self.shared.events.send((Kind::Slice, slice));
    }
}

type Parameters = Query<Vec<(String, String)>>;

async fn list_endpoints(State(shared): State<Arc<Shared>>, query: Parameters) -> Response {
    let known = shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    let items: Vec<_> = known.iter().map(|(name, pods)| endpoint(name, pods)).collect();
    list(&shared, Kind::Endpoint, &query, "InferenceEndpointList", VERSION, &items)
}

async fn list_slices(State(shared): State<Arc<Shared>>, query: Parameters) -> Response {
    let known = shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    let slices = known
        .iter()
        .flat_map(|(name, pods)| pods.iter().enumerate().map(move |(number, pod)| slice(name, number, *pod)));
    list(
        &shared,
        Kind::Slice,
        &query,
        "EndpointSliceList",
        "discovery.k8s.io/v1",
        &slices.collect::<Vec<_>>(),
    )
}

/// There is none, and nothing that is measured looks at them.
async fn list_caches(State(shared): State<Arc<Shared>>, query: Parameters) -> Response {
    list(&shared, Kind::Cache, &query, "ModelCacheList", VERSION, &[])
}

fn list(
    shared: &Shared,
    kind: Kind,
    query: &Parameters,
    list: &str,
    version: &str,
    items: &[Value],
) -> Response {
    if query.iter().any(|(key, value)| key == "watch" && value != "false" && value != "0") {
        let events = futures::stream::unfold(shared.events.subscribe(), |mut events| async {
            events.recv().await.ok().map(|event| (event, events))
        });
        let lines = events.filter_map(move |(of, object)| async move {
            (of == kind).then(|| {
                Ok::<_, std::io::Error>(Bytes::from(format!(
                    "{}\n",
                    json!({"type": "MODIFIED", "object": object})
                )))
            })
        });
        return ([(CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response();
    }
    let body =
        json!({"kind": list, "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items});
    Json(body).into_response()
}

async fn show(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Json<Value> {
    let known = shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    let pods = known.iter().find(|(known, _)| *known == name).map(|(_, pods)| pods.clone());
    Json(endpoint(&name, &pods.unwrap_or_default()))
}

async fn wake(State(shared): State<Arc<Shared>>, Path(name): Path<String>, body: Bytes) -> Json<Value> {
    shared.patches.lock().unwrap_or_else(PoisonError::into_inner).push((name.clone(), Instant::now()));
    shared.patched.notify_waiters();
    let mut object = endpoint(&name, &[]);
    let patch: Value = serde_json::from_slice(&body).unwrap_or_default();
    object["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
    object["metadata"]["resourceVersion"] = json!("2");
    let _ = shared.events.send((Kind::Endpoint, object.clone()));
    Json(object)
}

fn endpoint(name: &str, pods: &[SocketAddr]) -> Value {
    let allocations = pods.len();
    let reason = if pods.is_empty() { "Idle" } else { "Serving" };
    json!({
        "apiVersion": VERSION, "kind": "InferenceEndpoint",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": "1", "generation": 1},
        "spec": {"taskType": "sparse_embedding", "service": "elasticsearch", "serviceSettings": {
            "modelId": "m", "numThreads": 1,
            "adaptiveAllocations": {"enabled": true, "minNumberOfAllocations": 0, "maxNumberOfAllocations": 8}}},
        "status": {
            "observedGeneration": 1,
            "allocations": {"desired": allocations, "current": allocations, "ready": allocations},
            "decision": {"allocations": allocations, "reason": reason, "message": reason, "time": "2026-01-01T00:00:00Z"},
            "conditions": [{"type": "Ready", "status": "True", "reason": reason, "message": reason,
                            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    })
}

/// A slice has one port for all its addresses, the stubs have one each.
fn slice(name: &str, number: usize, pod: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{name}-{number}"), "namespace": NAMESPACE, "resourceVersion": "1",
                     "labels": {"kubernetes.io/service-name": name, "inference.lexiscale.io/endpoint": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": pod.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [pod.ip().to_string()], "conditions": {"ready": true}}],
    })
}
