//! `_update` as far as it gets without writing. What it writes is tested against an API server.

use super::*;

async fn put(harness: &Harness, path: &str, body: &str) -> (StatusCode, Value) {
    let request =
        Request::put(path).header("content-type", "application/json").body(body.to_owned()).unwrap();
    let (status, _, body) = harness.send(request).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn checks_run_in_order_and_write_nothing() {
    let harness = Harness::new(&[]);
    let three = r#"{"service_settings":{"num_allocations":3}}"#;
    let table = [
        ("/_inference/rerank2/articles/_update", three, 400, "status_exception", "[rerank2]"),
        ("/_inference/articles/_update?timeout=3", "{}", 400, "illegal_argument_exception", "[3]"),
        ("/_inference/Nobody/_update", "{", 400, "action_request_validation_exception", "[Nobody]"),
        (
            "/_inference/sparse_embedding/.elser-2-elasticsearch/_update",
            three,
            400,
            "action_request_validation_exception",
            "default inference endpoint",
        ),
        ("/_inference/nobody/_update", "{", 400, "x_content_parse_exception", "[1:1]"),
        ("/_inference/nobody/_update", "{}", 400, "status_exception", "empty"),
        ("/_inference/nobody/_update", three, 400, "status_exception", "[task_type]"),
        (
            "/_inference/sparse_embedding/nobody/_update",
            three,
            404,
            "resource_not_found_exception",
            "[nobody]",
        ),
        ("/_inference/rerank/articles/_update", three, 400, "status_exception", "[rerank]"),
        (
            "/_inference/any/articles/_update",
            r#"{"task_type":"rerank","service_settings":{"num_allocations":3}}"#,
            400,
            "status_exception",
            "[rerank]",
        ),
        (
            "/_inference/sparse_embedding/articles/_update",
            r#"{"service":"elser"}"#,
            400,
            "status_exception",
            "[elser]",
        ),
        (
            "/_inference/sparse_embedding/legacy/_update",
            r#"{"service_settings":{"num_allocations":4}}"#,
            400,
            "action_request_validation_exception",
            "[number_of_allocations]",
        ),
    ];
    for (path, body, status, kind, part) in table {
        let (answered, error) = put(&harness, path, body).await;
        assert_eq!(
            (answered.as_u16(), error["error"]["type"].as_str().unwrap()),
            (status, kind),
            "{path}: {error}"
        );
        assert!(error["error"]["reason"].as_str().unwrap().contains(part), "{path}: {error}");
    }
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_update_without_effect_answers_the_endpoint_and_writes_nothing() {
    let harness = Harness::new(&[]);
    for body in [
        r#"{"service":"elasticsearch","service_settings":{"num_allocations":1},"task_settings":{}}"#,
        r#"{"chunking_settings":{}}"#,
    ] {
        let (status, endpoint) =
            put(&harness, "/_inference/sparse_embedding/articles/_update?master_timeout=3s", body).await;
        assert_eq!((status, &endpoint["inference_id"]), (StatusCode::OK, &json!("articles")), "{endpoint}");
        assert_eq!(endpoint["service_settings"]["num_allocations"], 1, "the stored number, not the live one");
    }
    // The live number of an adaptive endpoint, as GET shows it.
    let (status, endpoint) = put(
        &harness,
        "/_inference/sparse_embedding/legacy/_update",
        r#"{"service_settings":{"num_allocations":3}}"#,
    )
    .await;
    assert_eq!((status, &endpoint["service_settings"]["num_allocations"]), (StatusCode::OK, &Value::Null));
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_update_with_effect_is_written() {
    let harness = Harness::new(&[]);
    let path = "/_inference/sparse_embedding/articles/_update";
    let (status, _) = put(&harness, path, r#"{"service_settings":{"num_allocations":2}}"#).await;
    assert_eq!((status, harness.asked.load(Ordering::Relaxed)), (StatusCode::SERVICE_UNAVAILABLE, 1));
}
