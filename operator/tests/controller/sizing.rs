//! What workers measure of themselves comes into the status, once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::get};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Event};
use kube::api::ListParams;
use lexiscale_crds::InferenceEndpoint;
use lexiscale_wire::{INFO_PATH, Precision, Sizing, WorkerInfo};
use serde_json::json;

use crate::{
    cluster::{World, eventually, with_operator},
    fixtures::succeeded,
    sources::listen,
};

const PATIENCE: Duration = Duration::from_secs(40);

/// What a worker says of itself, and how often it was asked.
type Said = Arc<Mutex<(WorkerInfo, usize)>>;

fn unmeasured() -> WorkerInfo {
    WorkerInfo {
        model: "hf://org/first".to_owned(),
        revision: "commit-of-first".to_owned(),
        digest: "sha256:first".to_owned(),
        max_tokens: 512,
        vocabulary_size: 30522,
        threads: 1,
        precision: Precision::Fp32,
        version: "0".to_owned(),
        sizing: None,
    }
}

impl World {
    /// As `start_workers`, with one that tells what it serves.
    async fn start_worker(&self) -> Said {
        let pod = self.pods("worker", 1).await.remove(0);
        let (ip, listener) = listen().await;
        let said: Said = Arc::new(Mutex::new((unmeasured(), 0)));
        let answer = |State(said): State<Said>| async move {
            let mut said = said.lock().unwrap();
            said.1 += 1;
            Json(said.0.clone())
        };
        let router = Router::new().route(INFO_PATH, get(answer)).with_state(Arc::clone(&said));
        tokio::spawn(axum::serve(listener, router).into_future());
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let status = json!({
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [ready, {"type": "PodScheduled", "status": "True", "reason": null, "message": null}],
            "containerStatuses": [{"name": "worker", "image": "w", "imageID": "w", "ready": true, "restartCount": 0, "state": running}],
        });
        self.set_status(&pod, status).await;
        said
    }
}

/// A status that is written again and again wakes everybody who watches; a worker that is asked again and again has other work.
#[tokio::test]
async fn what_a_worker_measured_is_asked_for_and_written_once() {
    with_operator(async |world| {
        let given = |endpoint: &mut serde_json::Value| {
            endpoint["spec"]["serviceSettings"]["numAllocations"] = json!(1);
            endpoint["spec"]["deployment"] = json!({"memory": "300Mi"});
        };
        world.create_endpoint("search", given).await;
        world.end_download(&succeeded("first")).await;
        let said = world.start_worker().await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
        let asked = eventually(async || (said.lock().unwrap().1 > 0).then_some(()));
        tokio::time::timeout(PATIENCE, asked).await.unwrap();
        assert_eq!(world.get::<InferenceEndpoint>("search").await.status.unwrap().sizing, None);

        said.lock().unwrap().0.sizing = Some(Sizing {
            tokens_per_second: 5790.0,
            documents_per_second_128: 45.2,
            resident_bytes: 284 << 20,
            recommended_memory_bytes: 400 << 20,
        });
        let is_sized = |endpoint: &InferenceEndpoint| {
            endpoint.status.as_ref().is_some_and(|status| status.sizing.is_some())
        };
        let sized: InferenceEndpoint = world.until("search", "sized", is_sized).await;
        let sizing = serde_json::to_value(sized.status.unwrap().sizing).unwrap();
        let template = world.get::<Deployment>("search").await.spec.template.metadata.unwrap();
        let revision = &template.annotations.unwrap()["inference.lexiscale.io/revision"];
        let expected = json!({
            "revision": revision, "tokensPerSecond": 5790.0, "documentsPerSecond128": 45.2,
            "residentMemory": "284Mi", "recommendedMemory": "400Mi",
        });
        assert_eq!(sizing, expected);
        let told = eventually(async || {
            let events = world.api::<Event>().list(&ListParams::default()).await.unwrap().items;
            events.into_iter().find(|event| event.reason.as_deref() == Some("MemoryBelowRecommendation"))
        });
        let told = tokio::time::timeout(PATIENCE, told).await.unwrap();
        assert_eq!(told.type_.as_deref(), Some("Warning"));
        assert!(told.message.unwrap().contains("is 300Mi, but the workers recommend 400Mi"));

        world.until_quiet(Duration::from_secs(2)).await;
        let (asked, writes) = (said.lock().unwrap().1, world.proxy.writes().len());
        let passes = world.edit_endpoint("search", json!({"metadata": {"annotations": {"a": "b"}}})).await;
        assert!(is_sized(&passes));
        world.until_quiet(Duration::from_secs(5)).await;
        assert_eq!(said.lock().unwrap().1, asked, "it is known");
        let more: Vec<_> = world.proxy.writes()[writes..].to_vec();
        assert!(more.iter().all(|write| !write.ends_with("/status")), "{more:?}");
    })
    .await;
}
