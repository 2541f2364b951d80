//! The routes for others than Elasticsearch's own clients: the real router, and a worker behind a real connection.

use std::net::SocketAddr;

use lexiscale_core::name::child_name;

use super::*;

mod chunk;
mod documents;
mod tei;
#[expect(dead_code, reason = "the tests over a real API server use more of it")]
#[path = "../../../tests/gateway/worker.rs"]
mod worker;

use self::worker::{Behaviour, Worker};

/// Where the worker of these tests listens.
mod cluster {
    use std::net::{IpAddr, Ipv4Addr};

    pub(crate) fn local_address() -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// A gateway that knows these pods of `articles`, an endpoint `words` without pods whose settings cut by ten words, and
/// `asleep`, which is at zero.
fn with_pods(pods: &[SocketAddr], flags: &[&str]) -> Harness {
    Harness::over(flags, |builder| with(builder, pods))
}

fn with(builder: Builder, pods: &[SocketAddr]) -> Directory {
    let mut builder = known(builder);
    for (name, chunking, pods) in [
        ("articles", Value::Null, pods),
        ("words", json!({"strategy": "word", "maxChunkSize": 10, "overlap": 3}), &[][..]),
    ] {
        let endpoint = json!({
            "metadata": {"name": name, "namespace": "default", "generation": 1},
            "spec": {"taskType": "sparse_embedding", "service": "elasticsearch", "chunkingSettings": chunking,
                     "serviceSettings": {"modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 2}},
            "status": {"model": {"id": ".elser_model_2", "source": "hf://organisation/name", "revision": "abc", "cache": "c", "maxTokens": 512}},
        });
        builder.endpoint(Event::Apply(serde_json::from_value(endpoint).unwrap()));
        for (index, pod) in pods.iter().enumerate() {
            let slice = json!({
                "metadata": {"name": format!("{name}-{index}"), "namespace": "default",
                             "labels": {"kubernetes.io/service-name": child_name(name)}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": pod.port()}],
                "endpoints": [{"addresses": [pod.ip()], "conditions": {"ready": true}}],
            });
            builder.slice(Event::Apply(serde_json::from_value(slice).unwrap()));
        }
    }
    let asleep = json!({
        "metadata": {"name": "asleep", "namespace": "default", "generation": 1},
        "spec": {"taskType": "sparse_embedding", "service": "elser",
                 "serviceSettings": {"numThreads": 1, "adaptiveAllocations": {"enabled": true}}},
        "status": {
            "allocations": {"desired": 0, "current": 0, "ready": 0},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Idle", "message": "", "observedGeneration": 1,
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    });
    builder.endpoint(Event::Apply(serde_json::from_value(asleep).unwrap()));
    builder.build(Instant::now())
}

async fn post(harness: &Harness, path: &str, body: impl ToString) -> (StatusCode, Value) {
    let request =
        Request::post(path).header("content-type", "application/json").body(body.to_string()).unwrap();
    let (status, headers, body) = harness.send(request).await;
    assert_eq!(headers["content-type"], "application/json", "{path}");
    (status, serde_json::from_slice(&body).unwrap())
}

/// Every way in takes the same admission, endpoint and deadline, and says so in its own words.
#[tokio::test(start_paused = true)]
async fn all_shapes_meet_the_same_gateway() {
    let harness = with_pods(&[], &["--max-body-size", "1Ki"]);
    for path in
        ["/_inference/ID/_chunk", "/_inference/sparse_embedding/ID/_chunk", "/opensearch/ID", "/custom/ID"]
    {
        let text = json!({"input": "a"});
        let send = async |id: &str, query: &str, body: String| {
            let (status, body) = post(&harness, &format!("{}{query}", path.replace("ID", id)), body).await;
            (status.as_u16(), body["error"]["type"].as_str().unwrap_or_default().to_owned())
        };
        let expect = |status, kind: &str| (status, kind.to_owned());
        assert_eq!(
            send("nobody", "", text.to_string()).await,
            expect(404, "resource_not_found_exception"),
            "{path}"
        );
        assert_eq!(
            send("articles", "?timeout=1s", text.to_string()).await,
            expect(408, "status_exception"),
            "{path}"
        );
        assert_eq!(
            send("articles", "?wait=1", text.to_string()).await,
            expect(400, "illegal_argument_exception")
        );
        assert_eq!(
            send("articles", "", "{".to_owned()).await,
            expect(400, "x_content_parse_exception"),
            "{path}"
        );
        let large = json!({"input": "a".repeat(2000)}).to_string();
        assert_eq!(send("articles", "", large).await, expect(413, "status_exception"), "{path}");
        let get = Request::get(path.replace("ID", "articles")).body(Body::empty()).unwrap();
        assert_eq!(harness.send(get).await.0, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let other_task = post(&harness, "/_inference/rerank/articles/_chunk", json!({"input": "a"})).await;
    assert_eq!(other_task.0, StatusCode::BAD_REQUEST);
}

/// A long list must come back whole and in order, however its pieces were worked on.
#[tokio::test]
async fn long_lists_are_answered_in_order() {
    let workers = [Worker::start(Behaviour::Echoes).await, Worker::start(Behaviour::Echoes).await];
    let harness = with_pods(&workers.each_ref().map(|worker| worker.address), &[]);
    let texts: Vec<_> = (0..237).map(|number| format!("text {number}")).collect();
    let (status, rows) = post(&harness, "/opensearch/articles", json!(texts)).await;
    assert_eq!(status, StatusCode::OK);
    let expected: Vec<_> = texts.iter().map(|text| json!({text.as_str(): 1.0})).collect();
    assert_eq!(rows, Value::Array(expected));
    let asked: Vec<_> = workers.iter().flat_map(Worker::asked).collect();
    assert_eq!(asked.len(), 24, "pieces of ten");
    assert!(workers.iter().all(|worker| !worker.asked().is_empty()), "both work on it");
    // All pieces took one place, and it is free again.
    let (status, _) = post(
        &with_pods(&[workers[0].address], &["--max-requests", "1"]),
        "/opensearch/articles",
        json!(texts),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
}

/// Such an answer is read and written on another thread.
#[tokio::test]
async fn a_large_answer_is_written_in_the_shape_of_its_route() {
    let worker = Worker::start(Behaviour::Echoes).await;
    let harness = with_pods(&[worker.address], &[]);
    let texts: Vec<_> = (0..30).map(|number| format!("{number}").repeat(10_000)).collect();
    let (_, rows) = post(&harness, "/opensearch/articles", json!(texts)).await;
    let expected: Vec<_> = texts.iter().map(|text| json!({text.as_str(): 1.0})).collect();
    assert!(rows == Value::Array(expected), "all vectors, in order");
    let (_, answer) = post(&harness, "/custom/articles", json!({"input": texts})).await;
    let tokens = answer["sparse_embedding"].as_array().unwrap().iter();
    assert!(tokens.map(|of_text| &of_text["embedding"][0]["token"]).eq(texts.iter()), "likewise");
}

#[tokio::test]
async fn an_error_of_a_worker_is_told_in_the_words_of_each_shape() {
    let refusal = r#"{"error":"text 0 is longer than the 512 tokens of the model","type":"too_large"}"#;
    let worker = Worker::start(Behaviour::Refuses(413, refusal)).await;
    let harness = with_pods(&[worker.address], &[]);
    for path in ["/_inference/articles/_chunk", "/opensearch/articles", "/custom/articles"] {
        let (status, body) = post(&harness, path, json!({"input": ["a"]})).await;
        assert_eq!((status.as_u16(), &body["error"]["type"]), (413, &json!("status_exception")), "{path}");
    }
    let (status, body) = post(&harness, "/tei/articles/embed_sparse", json!({"inputs": "a"})).await;
    assert_eq!((status.as_u16(), &body["error_type"]), (413, &json!("Validation")));
    assert!(body["error"].as_str().unwrap().contains("512 tokens"), "{body}");
}

/// An answer with too few vectors would give texts the vectors of others.
#[tokio::test]
async fn an_answer_that_does_not_fit_the_request_is_an_error() {
    let worker = Worker::start(Behaviour::Refuses(200, r#"{"sparse_embedding":[]}"#)).await;
    let harness = with_pods(&[worker.address], &[]);
    let (status, body) = post(&harness, "/custom/articles", json!({"input": ["a"]})).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
}
