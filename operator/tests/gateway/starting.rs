//! Workers that start, over a real gateway: who serves before the kubelet says that it is ready.

use serde_json::json;

use crate::cluster::with_namespace;
use crate::harness::Gateway;
use crate::worker::{Behaviour, Worker};

const PATH: &str = "/_inference/articles?timeout=30s";
const INPUT: &str = r#"{"input":"Kubernetes"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_as_soon_as_it_says_that_it_is_ready() {
    with_namespace(|cluster| async move {
        let worker = Worker::start(Behaviour::Embeds).await;
        worker.loads(true);
        let settings = json!({"modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1});
        cluster.make("articles", "elasticsearch", settings).await;
        cluster.lists_starting("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let begins = async {
            gateway.until("it is asked again and again", async || worker.probes() >= 3).await;
            assert!(worker.asked().is_empty(), "it is loading");
            worker.loads(false);
        };
        let (answer, ()) = tokio::join!(gateway.post(PATH, INPUT), begins);
        assert_eq!(answer.status, 200, "{answer:?}");

        // It ends again before the kubelet has ever found it ready.
        worker.loads(true);
        gateway
            .until("the gateway has noticed", async || {
                gateway.post("/_inference/articles?timeout=100ms", INPUT).await.status == 408
            })
            .await;
        worker.loads(false);
        assert_eq!(gateway.post(PATH, INPUT).await.status, 200);

        cluster.routes("articles", &[worker.address]).await;
        let mut probes = worker.probes();
        gateway
            .until("the slice has the word", async || {
                // Three times as long as between two questions.
                tokio::time::sleep(std::time::Duration::from_secs(3)).await;
                std::mem::replace(&mut probes, worker.probes()) == worker.probes()
            })
            .await;
        assert_eq!(gateway.post(PATH, INPUT).await.status, 200);
    })
    .await;
}
