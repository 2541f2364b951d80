//! What the gateway's page is told, from objects of a real API server.

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use lexiscale_crds::ModelCache;
use serde_json::{Value, json};

use crate::cluster::with_namespace;
use crate::harness::Gateway;

/// The page's view of the one endpoint of a namespace.
async fn shown(gateway: &Gateway) -> Value {
    gateway.get("/_page/endpoints").await.json()["endpoints"][0].clone()
}

/// A download is told by its cache only; an endpoint whose page shows none looks stuck.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_a_download_and_the_allocations_over_time() {
    with_namespace(|cluster| async move {
        cluster.make("articles", "elser", json!({"numAllocations": 2, "numThreads": 1})).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        gateway.until("the endpoint is shown", async || shown(&gateway).await["id"] == "articles").await;

        let caches: Api<ModelCache> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let cache = serde_json::from_value(json!({
            "metadata": {"name": "demo-main", "labels": {"inference.lexiscale.io/operator": crate::cluster::INSTANCE}},
            "spec": {"source": "hf://lexiscale/demo"},
        }));
        let cache = caches.create(&PostParams::default(), &cache.unwrap()).await.unwrap().name_any();
        let progress = async |phase: &str, percent: i32| {
            let status = json!({"status": {"phase": phase, "progress":
                {"bytesDone": percent, "bytesTotal": 100, "percent": percent, "bytesPerSecond": 7, "etaSeconds": 3, "text": ""}}});
            let patch = Patch::Merge(status);
            caches.patch_status(&cache, &PatchParams::default(), &patch).await.unwrap();
        };
        progress("Downloading", 43).await;
        let uses = json!({"status": {"model": {"id": "demo", "source": "hf://lexiscale/demo", "cache": cache}}});
        let patch = Patch::Merge(uses);
        cluster.endpoints().patch_status("articles", &PatchParams::default(), &patch).await.unwrap();
        let is_at = async |percent: i32| shown(&gateway).await["download"]["percent"] == percent;
        gateway.until("the download is shown", async || is_at(43).await).await;
        progress("Downloading", 44).await;
        gateway.until("the download goes on", async || is_at(44).await).await;
        progress("Ready", 100).await;
        gateway.until("the download is over", async || shown(&gateway).await["download"].is_null()).await;

        cluster.becomes_ready("articles", 2).await;
        gateway.until("it is shown ready", async || shown(&gateway).await["state"] == "ready").await;
        let history = shown(&gateway).await["history"].clone();
        let counts: Vec<_> = history.as_array().unwrap().iter().map(|sample| (&sample[1], &sample[2])).collect();
        assert_eq!(counts, [(&json!(0), &json!(0)), (&json!(2), &json!(2))]);
    })
    .await;
}
