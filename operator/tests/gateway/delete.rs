//! DELETE: what is gone, what stays, and when the answer comes.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::with_namespace;
use crate::harness::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn deleting_answers_once_the_endpoint_is_gone() {
    with_namespace(|cluster| async move {
        cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let dry = gateway.delete("/_inference/sparse_embedding/articles?dry_run").await;
        assert_eq!(dry.text(), r#"{"acknowledged":false,"pipelines":[],"indexes":[],"error_message":""}"#);
        assert_eq!(cluster.ids().await, ["articles"]);
        let answer = gateway.delete("/_inference/sparse_embedding/articles").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, r#"{"acknowledged":true,"pipelines":[],"indexes":[]}"#)
        );
        assert_eq!(gateway.get("/_inference/articles").await.status, 404);
        assert_eq!(gateway.delete("/_inference/articles").await.status, 404);
        assert_eq!(cluster.ids().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_endpoint_goes_only_by_force() {
    with_namespace(|cluster| async move {
        let id = ".elser-2-elasticsearch";
        cluster
            .make(
                id,
                "elasticsearch",
                json!({"modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1}),
            )
            .await;
        let gateway = Gateway::start(&cluster, &[]).await;
        assert_eq!(gateway.delete(&format!("/_inference/{id}")).await.status, 400);
        assert_eq!(gateway.delete(&format!("/_inference/{id}?force=true")).await.status, 200);
        assert_eq!(cluster.ids().await, Vec::<String>::new());
    })
    .await;
}

/// Something else holds the object: the client is told, not left waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_takes_too_long_is_408() {
    with_namespace(|cluster| async move {
        cluster.make("articles", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
        let finalizers = |list| Patch::Merge(json!({"metadata": {"finalizers": list}}));
        let endpoints = cluster.endpoints();
        endpoints
            .patch("articles", &PatchParams::default(), &finalizers(json!(["example.com/hold"])))
            .await
            .unwrap();
        let gateway = Gateway::start(&cluster, &[]).await;
        assert_eq!(
            gateway.delete("/_inference/articles?timeout=200ms").await.error(),
            (408, "status_exception".to_owned())
        );
        let object = cluster.appears("articles").await;
        assert!(object.metadata.deletion_timestamp.is_some());
        endpoints.patch("articles", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
        gateway
            .until("the endpoint is gone", async || gateway.get("/_inference/articles").await.status == 404)
            .await;
    })
    .await;
}
