//! PUT: what it makes, what it answers, and what is left when it does not end well.

use std::time::Duration;

use http::Method;
use kube::ResourceExt;
use lexiscale_core::name::object_name;
use serde_json::json;

use crate::cluster::{Cluster, with_namespace};
use crate::harness::{Answer, Gateway};

const SEED: &str = "/_inference/sparse_embedding/my-elser-model";

/// The second request of the seed's page, as it stands there.
const FIXED: &str = r#"{
  "service": "elser",
  "service_settings": {
    "num_allocations": 1,
    "num_threads": 1
  }
}
"#;

/// The first one.
const ADAPTIVE: &str = r#"{
  "service": "elser",
  "service_settings": {
    "adaptive_allocations": {
      "enabled": true,
      "min_number_of_allocations": 3,
      "max_number_of_allocations": 10
    },
    "num_threads": 1
  }
}
"#;

const WAITED_FOR: &str = "inference.lexiscale.io/create-waited-for-until";

/// A PUT, and the controller's part of it.
async fn put_and_ready(gateway: &Gateway, cluster: &Cluster, id: &str, body: &str) -> Answer {
    let path = format!("/_inference/sparse_embedding/{id}");
    let (answer, ()) = tokio::join!(gateway.put(&path, body), cluster.becomes_ready(id, 1));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixed_example_of_the_seed_is_answered_field_for_field() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = put_and_ready(&gateway, &cluster, "my-elser-model", FIXED).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        // The response of the page, without its white space; the order of the fields is part of it.
        assert_eq!(
            answer.text(),
            r#"{"inference_id":"my-elser-model","task_type":"sparse_embedding","service":"elser","service_settings":{"num_allocations":1,"num_threads":1},"task_settings":{}}"#
        );
        assert_eq!(answer.header("x-inference-state"), "ready");
        assert_eq!(answer.header("x-elastic-product"), "Elasticsearch");
        let warning = answer.header("warning");
        assert!(warning.starts_with("299 Elasticsearch-9.1.0-"), "{warning}");
        assert!(warning.contains("[elasticsearch]") && warning.contains("[model_id]"), "{warning}");

        let object = cluster.appears("my-elser-model").await;
        assert_eq!(
            serde_json::to_value(&object.spec).unwrap(),
            json!({"taskType": "sparse_embedding", "service": "elser", "serviceSettings": {"numAllocations": 1, "numThreads": 1}})
        );
        let managers: Vec<_> = object.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect();
        assert!(managers.contains(&"lexiscale-gateway".to_owned()), "{managers:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_adaptive_example_of_the_seed_is_answered_and_shows_its_live_number() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let (answer, ()) = tokio::join!(gateway.put(SEED, ADAPTIVE), cluster.becomes_ready("my-elser-model", 3));
        assert_eq!(
            answer.text(),
            r#"{"inference_id":"my-elser-model","task_type":"sparse_embedding","service":"elser","service_settings":{"num_threads":1,"adaptive_allocations":{"enabled":true,"min_number_of_allocations":3,"max_number_of_allocations":10}},"task_settings":{}}"#
        );
        let list = gateway.get(SEED).await.json();
        assert_eq!(list["endpoints"][0]["service_settings"]["num_allocations"], 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elasticsearch_endpoint_shows_its_chunking_and_carries_no_warning() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &["--check-node-cpus", "false"]).await;
        let body = r#"{"service":"elasticsearch","service_settings":{"model_id":".elser_model_2","num_allocations":1,"num_threads":2},
                       "chunking_settings":{"strategy":"word","max_chunk_size":120,"overlap":40}}"#;
        let answer = put_and_ready(&gateway, &cluster, "articles", body).await;
        assert_eq!(
            answer.text(),
            r#"{"inference_id":"articles","task_type":"sparse_embedding","service":"elasticsearch","service_settings":{"num_allocations":1,"num_threads":2,"model_id":".elser_model_2"},"task_settings":{},"chunking_settings":{"strategy":"word","max_chunk_size":120,"overlap":40}}"#
        );
        assert_eq!(answer.header("warning"), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_no_name_works_everywhere() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let answer = put_and_ready(&gateway, &cluster, "my_elser.v2", FIXED).await;
        assert_eq!(answer.json()["inference_id"], "my_elser.v2");
        let object = cluster.appears("my_elser.v2").await;
        assert_eq!(
            (object.name_any(), object.spec.inference_id),
            (object_name("my_elser.v2"), Some("my_elser.v2".to_owned()))
        );
        assert_eq!(
            gateway.get("/_inference/my_elser.v2").await.json()["endpoints"][0]["inference_id"],
            "my_elser.v2"
        );
        assert_eq!(gateway.delete("/_inference/my%5Felser.v2").await.status, 200);
        assert_eq!(cluster.ids().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_exists_once() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        put_and_ready(&gateway, &cluster, "my-elser-model", FIXED).await;
        for body in [FIXED, ADAPTIVE] {
            assert_eq!(
                gateway.put(SEED, body).await.error(),
                (400, "resource_already_exists_exception".to_owned())
            );
        }
        cluster.make("by-hand", "elser", json!({"numAllocations": 1, "numThreads": 1})).await;
        let by_hand = gateway.put("/_inference/sparse_embedding/by-hand", FIXED).await;
        assert_eq!(by_hand.error(), (400, "resource_already_exists_exception".to_owned()));
    })
    .await;
}

/// B1: a client whose create timed out has one request to make, the same again, and it must lead to an
/// endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_time_out_one_identical_put_joins_and_every_other_is_told_it_exists() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let quick = format!("{SEED}?timeout=2s");
        let answer = gateway.put(&quick, FIXED).await;
        assert_eq!(answer.error(), (408, "model_deployment_timeout_exception".to_owned()));
        assert_eq!(answer.header("x-inference-state"), "deploying");
        assert_eq!(gateway.get(SEED).await.header("x-inference-state"), "deploying");

        assert_eq!(gateway.put(&quick, ADAPTIVE).await.error().0, 400, "another body does not join");
        assert_eq!(gateway.put(&quick, FIXED).await.error().0, 408, "the same joins, and may time out again");

        let join = gateway.put(SEED, FIXED);
        let others = async {
            let is_joined = async || {
                let until: Option<jiff::Timestamp> = cluster
                    .appears("my-elser-model")
                    .await
                    .annotations()
                    .get(WAITED_FOR)
                    .and_then(|until| until.parse().ok());
                until.is_some_and(|until| until > jiff::Timestamp::now())
            };
            gateway.until("the create is joined", is_joined).await;
            let second = gateway.put(SEED, FIXED).await;
            cluster.becomes_ready("my-elser-model", 1).await;
            second
        };
        let (joined, second) = tokio::join!(join, others);
        assert_eq!(second.error(), (400, "resource_already_exists_exception".to_owned()));
        assert_eq!(joined.status, 200, "{}", joined.text());
        assert_eq!(gateway.put(SEED, FIXED).await.error().0, 400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_time_out_the_same_put_also_finds_the_endpoint_complete() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        assert_eq!(gateway.put(&format!("{SEED}?timeout=100ms"), FIXED).await.status, 408);
        cluster.becomes_ready("my-elser-model", 1).await;
        let other_gateway = Gateway::start(&cluster, &[]).await;
        assert_eq!(other_gateway.put(SEED, FIXED).await.status, 200);
        assert_eq!(gateway.put(SEED, FIXED).await.error().0, 400);
    })
    .await;
}

/// A proxy or a console that gives up after a few seconds sends the same request again, and never saw a 408.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_can_come_back() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let leaving = tokio::time::timeout(Duration::from_millis(500), raw_put(&gateway)).await;
        assert!(leaving.is_err(), "the endpoint is not ready, so no answer comes");
        let is_given_back = async || {
            let object = cluster.appears("my-elser-model").await;
            let until: jiff::Timestamp = object.annotations()[WAITED_FOR].parse().unwrap();
            until <= jiff::Timestamp::now()
        };
        gateway.until("the create is given back", is_given_back).await;
        let answer = put_and_ready(&gateway, &cluster, "my-elser-model", FIXED).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    })
    .await;
}

/// A connection that closes with its future, which a pooled one does not.
async fn raw_put(gateway: &Gateway) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let length = FIXED.len();
    let head = format!(
        "PUT {SEED} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{FIXED}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
}

/// B1: what failed to start is not in the way of the next try.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        for (reason, status) in [("UnknownModel", 400), ("InsufficientStorage", 500)] {
            let (answer, ()) = tokio::join!(
                gateway.put(SEED, FIXED),
                cluster.stalls("my-elser-model", reason, "model m is in no catalog")
            );
            assert_eq!(answer.error(), (status, "status_exception".to_owned()));
            assert!(
                answer.text().contains(reason) && answer.text().contains("model m is in no catalog"),
                "{}",
                answer.text()
            );
            assert_eq!(cluster.ids().await, Vec::<String>::new());
        }
        assert_eq!(put_and_ready(&gateway, &cluster, "my-elser-model", FIXED).await.status, 200);
    })
    .await;
}

/// It may have served for weeks since the request that made it timed out.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_joins_never_removes_the_endpoint() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        assert_eq!(gateway.put(&format!("{SEED}?timeout=100ms"), FIXED).await.status, 408);
        cluster.stalls("my-elser-model", "InsufficientStorage", "the volume is full").await;
        for _ in 0..2 {
            let answer = gateway.put(SEED, FIXED).await;
            assert_eq!(answer.error(), (500, "status_exception".to_owned()));
            assert_eq!(answer.header("x-inference-state"), "failed");
            assert!(answer.text().contains("the volume is full"), "{}", answer.text());
            assert_eq!(cluster.ids().await, ["my-elser-model"]);
        }
        cluster.becomes_ready("my-elser-model", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_deleted_while_it_starts_is_not_waited_for() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let delete = async {
            gateway.until("the endpoint is seen", async || gateway.get(SEED).await.status == 200).await;
            gateway.delete(SEED).await
        };
        let (put, deleted) = tokio::join!(gateway.put(SEED, FIXED), delete);
        assert_eq!(deleted.status, 200);
        assert_eq!(put.error(), (409, "status_exception".to_owned()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_threads_than_the_largest_node_has_cpus_are_refused() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let body = FIXED.replace("\"num_threads\": 1", "\"num_threads\": 32");
        let answer = gateway.put(SEED, &body).await;
        assert_eq!(
            answer.error(),
            (400, "validation_exception".to_owned()),
            "no node here has 32 CPUs: {}",
            answer.text()
        );
        assert!(answer.text().contains("[32] must not exceed"), "{}", answer.text());
        assert_eq!(cluster.ids().await, Vec::<String>::new());
    })
    .await;
}

/// What the gateway would let through, the API server still refuses, and its words reach the client.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_servers_refusal_is_a_validation_exception() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        let model = "m".repeat(600);
        let body = json!({"service": "elasticsearch", "service_settings": {"model_id": model, "num_allocations": 1, "num_threads": 1}});
        let answer = gateway.put(SEED, &body.to_string()).await;
        assert_eq!(answer.error(), (400, "validation_exception".to_owned()));
        assert!(answer.text().contains("spec.serviceSettings.modelId"), "{}", answer.text());
        assert_eq!(cluster.ids().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_made_is_shown_and_what_put_made_can_be_shown_as_a_manifest() {
    with_namespace(|cluster| async move {
        let gateway = Gateway::start(&cluster, &[]).await;
        cluster.make("by-hand", "elser", json!({"numAllocations": 2, "numThreads": 1})).await;
        cluster.becomes_ready("by-hand", 2).await;
        let ready = async || gateway.get("/_inference/by-hand").await.header("x-inference-state") == "ready";
        gateway.until("the endpoint is shown", ready).await;
        let list = gateway.send(Method::GET, "/_inference/_all", "").await.json();
        assert_eq!(list["endpoints"][0]["service_settings"], json!({"num_allocations": 2, "num_threads": 1}));
    })
    .await;
}
