//! `_update`: what it writes, and when it does not.

use serde_json::{Value, json};

use crate::cluster::{Cluster, with_namespace};
use crate::harness::{Answer, Gateway};

const PATH: &str = "/_inference/sparse_embedding/articles/_update";

async fn articles(cluster: &Cluster, settings: Value) {
    cluster.make("articles", "elasticsearch", settings).await;
    cluster.becomes_ready("articles", 3).await;
}

fn fixed() -> Value {
    json!({"modelId": ".elser_model_2", "numAllocations": 3, "numThreads": 1})
}

fn adaptive() -> Value {
    json!({"modelId": ".elser_model_2", "numThreads": 1, "adaptiveAllocations": {"enabled": true, "minNumberOfAllocations": 1}})
}

async fn settings(cluster: &Cluster) -> Value {
    serde_json::to_value(cluster.appears("articles").await.spec.service_settings).unwrap()
}

async fn update(gateway: &Gateway, settings: Value) -> Answer {
    gateway.put(PATH, &json!({"service_settings": settings}).to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_and_the_chunking_are_stored_and_shown_at_once() {
    with_namespace(|cluster| async move {
        articles(&cluster, fixed()).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let body = r#"{"service":"elasticsearch","service_settings":{"num_allocations":5},
                       "chunking_settings":{"strategy":"word","max_chunk_size":100}}"#;
        let answer = gateway.put(PATH, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["service_settings"]["num_allocations"], 5);
        let shown = gateway.get("/_inference/articles").await.json();
        assert_eq!(
            shown["endpoints"][0]["chunking_settings"]["max_chunk_size"], 100,
            "the watch has caught up"
        );
        // What the first one chose and the second one does not name must go.
        let answer = gateway.put(PATH, r#"{"chunking_settings":{"sentence_overlap":0}}"#).await;
        assert_eq!(
            answer.json()["chunking_settings"],
            json!({"strategy": "sentence", "max_chunk_size": 250, "sentence_overlap": 0})
        );
        let spec = serde_json::to_value(cluster.appears("articles").await.spec).unwrap();
        assert_eq!(spec["chunkingSettings"], json!({"sentenceOverlap": 0}));
        assert_eq!(
            spec["serviceSettings"],
            json!({"modelId": ".elser_model_2", "numAllocations": 5, "numThreads": 1})
        );
    })
    .await;
}

/// The API server refuses a number beside enabled adaptive allocations, so one write has to do both.
#[tokio::test(flavor = "multi_thread")]
async fn adaptive_allocations_go_on_and_off() {
    with_namespace(|cluster| async move {
        articles(&cluster, fixed()).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let on = update(
            &gateway,
            json!({"adaptive_allocations": {"enabled": true, "max_number_of_allocations": 8}}),
        )
        .await;
        assert_eq!(on.status, 200, "{}", on.text());
        assert_eq!(on.json()["service_settings"].get("num_allocations"), None);
        let adaptive = json!({"enabled": true, "maxNumberOfAllocations": 8});
        let expected = json!({"modelId": ".elser_model_2", "numThreads": 1, "adaptiveAllocations": adaptive});
        assert_eq!(settings(&cluster).await, expected);
        let off = update(
            &gateway,
            json!({"adaptive_allocations": {"enabled": false, "max_number_of_allocations": -1}}),
        )
        .await;
        assert_eq!(off.json()["service_settings"]["num_allocations"], 3, "as many as ran: {}", off.text());
        assert_eq!(settings(&cluster).await["adaptiveAllocations"], json!({"enabled": false}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_get_showed_may_be_sent_back() {
    with_namespace(|cluster| async move {
        articles(&cluster, adaptive()).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let shown = async || {
            gateway.get("/_inference/articles").await.json()["endpoints"][0]["service_settings"].clone()
        };
        assert_eq!(shown().await["num_allocations"], 3);
        cluster.becomes_ready("articles", 4).await;
        gateway.until("four are shown", async || shown().await["num_allocations"] == 4).await;
        let before = cluster.appears("articles").await.metadata.generation;
        for number in [3, 4] {
            assert_eq!(update(&gateway, json!({"num_allocations": number})).await.status, 200);
        }
        assert_eq!(cluster.appears("articles").await.metadata.generation, before, "nothing was written");
        let refused = update(&gateway, json!({"num_allocations": 5})).await;
        assert_eq!(refused.error(), (400, "action_request_validation_exception".to_owned()));
    })
    .await;
}

/// Each rests on what the one before has stored; none may undo another's part or be refused for it.
#[tokio::test(flavor = "multi_thread")]
async fn updates_at_the_same_time_all_take_effect() {
    with_namespace(|cluster| async move {
        articles(&cluster, adaptive()).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let chunking = gateway.put(PATH, r#"{"chunking_settings":{"max_chunk_size":50}}"#);
        let (max, min, chunked) = tokio::join!(
            update(&gateway, json!({"adaptive_allocations": {"max_number_of_allocations": 9}})),
            update(&gateway, json!({"adaptive_allocations": {"min_number_of_allocations": 2}})),
            chunking,
        );
        assert_eq!([max.status, min.status, chunked.status], [200; 3], "{} {}", max.text(), min.text());
        let spec = serde_json::to_value(cluster.appears("articles").await.spec).unwrap();
        let adaptive = json!({"enabled": true, "minNumberOfAllocations": 2, "maxNumberOfAllocations": 9});
        assert_eq!(spec["serviceSettings"]["adaptiveAllocations"], adaptive);
        assert_eq!(spec["chunkingSettings"], json!({"maxChunkSize": 50}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn allocations_of_what_has_not_started_are_409_and_its_chunking_is_not() {
    with_namespace(|cluster| async move {
        cluster.make("articles", "elasticsearch", fixed()).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let refused = update(&gateway, json!({"num_allocations": 5})).await;
        assert_eq!(refused.error(), (409, "status_exception".to_owned()));
        assert_eq!(refused.header("x-inference-state"), "deploying");
        assert_eq!(gateway.put(PATH, r#"{"chunking_settings":{"max_chunk_size":50}}"#).await.status, 200);
        assert_eq!(settings(&cluster).await, fixed());
    })
    .await;
}
