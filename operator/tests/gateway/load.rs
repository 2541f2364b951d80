//! What the controller is told of the endpoints' load.

use serde_json::{Value, json};

use crate::cluster::{Cluster, with_namespace};
use crate::harness::Gateway;
use crate::worker::{Behaviour, Worker};

async fn adaptive(cluster: &Cluster) {
    let settings = json!({"numThreads": 1, "adaptiveAllocations": {"enabled": true}});
    cluster.make("articles", "elser", settings).await;
    cluster.becomes_ready("articles", 1).await;
}

async fn told(gateway: &Gateway) -> (String, Vec<Value>) {
    let document = gateway.load().await;
    (document["instance"].as_str().unwrap().to_owned(), document["endpoints"].as_array().unwrap().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_count_for_the_deployment_that_serves_them() {
    with_namespace(|cluster| async move {
        adaptive(&cluster).await;
        cluster.make("fixed", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes("articles", &[worker.address]).await;
        cluster.make("guest", "elasticsearch", json!({"deploymentId": "articles"})).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let (instance, endpoints) = told(&gateway).await;
        assert_eq!(
            endpoints,
            [json!({"namespace": cluster.namespace, "name": "articles"})],
            "nothing but names"
        );

        for id in ["articles", "guest"] {
            assert_eq!(gateway.post(&format!("/_inference/{id}"), r#"{"input":"a"}"#).await.status, 200);
        }
        let (again, endpoints) = told(&gateway).await;
        assert_eq!(again, instance);
        assert_eq!((&endpoints[0]["arrivals"], &endpoints[0]["completed"]), (&json!(2), &json!(2)));
        assert!(endpoints[0]["serviceTime"].as_f64() <= endpoints[0]["latency"].as_f64(), "{endpoints:?}");
        assert!(endpoints[0]["idle"].as_f64().is_some_and(|idle| idle >= 0.0));
        assert!(worker.headers().iter().all(|headers| headers.contains_key("x-lexiscale-counted")));

        let another = Gateway::start(&cluster, &[]).await;
        assert_ne!(told(&another).await.0, instance);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_runs_is_told_as_it_is_now() {
    with_namespace(|cluster| async move {
        adaptive(&cluster).await;
        let worker = Worker::start(Behaviour::Waits).await;
        cluster.routes("articles", &[worker.address]).await;
        let gateway = Gateway::start(&cluster, &["--slots-per-allocation", "1"]).await;
        let is = async |queued: Value, in_flight: Value| {
            let (_, endpoints) = told(&gateway).await;
            endpoints[0]["queued"] == queued && endpoints[0]["inFlight"] == in_flight
        };
        let ask = || gateway.post("/_inference/articles", r#"{"input":"a","input_type":"ingest"}"#);
        let requests = async { tokio::join!(ask(), ask(), ask()) };
        let watch = async {
            gateway.until("one runs and two wait", async || is(json!(2), json!(1)).await).await;
            assert_eq!(told(&gateway).await.1[0]["idle"], json!(0.0));
            worker.release();
        };
        let (answers, ()) = tokio::join!(requests, watch);
        assert_eq!(
            (answers.0.status, answers.1.status, answers.2.status),
            (200.try_into().unwrap(), 200.try_into().unwrap(), 200.try_into().unwrap())
        );
        gateway.until("all is done", async || is(Value::Null, Value::Null).await).await;
    })
    .await;
}
