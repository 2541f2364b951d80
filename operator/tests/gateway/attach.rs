//! Endpoints that are attached to the deployment of another one.

use serde_json::{Value, json};

use crate::cluster::{Cluster, with_namespace};
use crate::harness::Gateway;
use crate::worker::{Behaviour, EMBEDDING, Worker};

const GUEST: &str = "/_inference/sparse_embedding/guest";

async fn holder(cluster: &Cluster) {
    let settings = json!({"modelId": ".elser_model_2", "numAllocations": 2, "numThreads": 1});
    cluster.make("holder", "elasticsearch", settings).await;
    cluster.becomes_ready("holder", 2).await;
}

fn create(settings: &Value) -> String {
    json!({"service": "elasticsearch", "service_settings": settings}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_endpoint_serves_from_the_pods_of_the_other() {
    with_namespace(|cluster| async move {
        holder(&cluster).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes("holder", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = gateway.put(GUEST, &create(&json!({"deployment_id": "holder", "num_threads": 4, "num_allocations": 2}))).await;
        assert_eq!(
            answer.text(),
            r#"{"inference_id":"guest","task_type":"sparse_embedding","service":"elasticsearch","service_settings":{"num_allocations":2,"num_threads":1,"model_id":".elser_model_2","deployment_id":"holder"},"task_settings":{},"chunking_settings":{"strategy":"sentence","max_chunk_size":250,"sentence_overlap":1}}"#
        );
        assert_eq!(answer.header("x-inference-state"), "ready");
        let warning = answer.header("warning");
        assert!(warning.contains("[num_threads]") && warning.contains("[1]"), "{warning}");
        let object = cluster.appears("guest").await;
        assert_eq!(
            serde_json::to_value(&object.spec.service_settings).unwrap(),
            json!({"deploymentId": "holder"}),
            "what the deployment decides is not stored a second time"
        );
        let answer = gateway.post(GUEST, r#"{"input":"a"}"#).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, EMBEDDING));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_one_leaves_the_other() {
    with_namespace(|cluster| async move {
        holder(&cluster).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let body = create(&json!({"deployment_id": "holder"}));
        assert_eq!(gateway.put(GUEST, &body).await.status, 200);
        assert_eq!(
            gateway.put(GUEST, &body).await.error(),
            (400, "resource_already_exists_exception".to_owned())
        );
        assert_eq!(gateway.delete("/_inference/holder").await.error(), (409, "status_exception".to_owned()));
        assert_eq!(gateway.delete("/_inference/guest").await.status, 200);
        assert_eq!(cluster.ids().await, ["holder"]);

        assert_eq!(gateway.put(GUEST, &body).await.status, 200);
        assert_eq!(gateway.delete("/_inference/holder?force=true").await.status, 200);
        assert_eq!(cluster.ids().await, ["guest"]);
        let own = create(&json!({"model_id": ".elser_model_2", "num_allocations": 1, "num_threads": 1}));
        let refused = gateway.put("/_inference/sparse_embedding/holder", &own).await;
        assert_eq!(refused.error(), (400, "status_exception".to_owned()), "{}", refused.text());
    })
    .await;
}
