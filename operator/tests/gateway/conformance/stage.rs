//! The controller, the kubelet and the worker while the lists are run: whatever endpoint is made serves at
//! once, and each text is answered by the same vector.

use std::net::SocketAddr;
use std::time::Duration;

use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use lexiscale_core::name::child_name;
use lexiscale_crds::InferenceEndpoint;
use lexiscale_wire::InferenceRequest;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::{Cluster, local_address};

/// Ends with the value.
pub(crate) struct Stage(#[expect(dead_code, reason = "held, not read")] DropGuard);

impl Stage {
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        let stop = CancellationToken::new();
        let listener = TcpListener::bind((local_address(), 0)).await.unwrap();
        let worker = listener.local_addr().unwrap();
        let router = Router::new().route("/_inference", post(embed));
        tokio::spawn(
            stop.clone().run_until_cancelled_owned(async move { axum::serve(listener, router).await }),
        );
        let cluster = cluster.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move { play(&cluster, worker).await }));
        Self(stop.drop_guard())
    }
}

/// As text, because the order of the keys is part of the answer.
async fn embed(Json(request): Json<InferenceRequest>) -> impl IntoResponse {
    let one = r#"{"is_truncated":false,"embedding":{"kubernetes":1.2345679}}"#;
    let all = vec![one; request.texts().len()].join(",");
    ([(CONTENT_TYPE, "application/json")], format!(r#"{{"sparse_embedding":[{all}]}}"#))
}

/// Errors are the next pass's matter: the object may be gone, or the slice already there.
async fn play(cluster: &Cluster, worker: SocketAddr) {
    loop {
        if let Ok(list) = cluster.endpoints().list(&ListParams::default()).await {
            for endpoint in list.iter().filter(|endpoint| !is_reported(endpoint)) {
                route(cluster, endpoint, worker).await;
                report(cluster, endpoint).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_reported(endpoint: &InferenceEndpoint) -> bool {
    let observed = endpoint.status.as_ref().and_then(|status| status.observed_generation);
    observed == endpoint.metadata.generation
}

async fn route(cluster: &Cluster, endpoint: &InferenceEndpoint, worker: SocketAddr) {
    let service = child_name(&endpoint.name_any());
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let slice = serde_json::from_value(json!({
        "metadata": {"name": service, "labels": {
            "kubernetes.io/service-name": service, "inference.lexiscale.io/endpoint": endpoint.name_any(),
        }},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": worker.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [worker.ip().to_string()], "conditions": {"ready": true}}],
    }));
    slices.create(&PostParams::default(), &slice.unwrap()).await.ok();
}

async fn report(cluster: &Cluster, endpoint: &InferenceEndpoint) {
    let settings = &endpoint.spec.service_settings;
    let least = settings.adaptive_allocations.and_then(|adaptive| adaptive.min_number_of_allocations);
    let number = settings.num_allocations.or(least).unwrap_or(1).max(1);
    let generation = endpoint.metadata.generation;
    let status = json!({"status": {
        "observedGeneration": generation,
        "allocations": {"desired": number, "current": number, "ready": number},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "",
                        "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }});
    let patch = Patch::Merge(status);
    cluster.endpoints().patch_status(&endpoint.name_any(), &PatchParams::default(), &patch).await.ok();
}
