//! The list of requests, against the gateway as it runs.

use serde_json::json;

use crate::case::Case;
use crate::cluster::with_namespace;
use crate::harness::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_store_nothing() {
    with_namespace(|cluster| async move {
        let settings = json!({"modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1});
        cluster.make("articles", "elasticsearch", settings.clone()).await;
        cluster.make("legacy", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
        cluster.make(".elser-2-elasticsearch", "elasticsearch", settings).await;
        let stored = [".elser-2-elasticsearch", "articles", "legacy"];
        let gateway = Gateway::start(&cluster, &[]).await;
        let mut wrong = Vec::new();
        for case in Case::all() {
            let answer = gateway.request(case.request()).await;
            wrong.extend(case.mismatch(answer.status, &answer.headers, &answer.body));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(cluster.ids().await, stored);
    })
    .await;
}
