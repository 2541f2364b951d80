//! The routes of Text Embeddings Inference.

use super::*;

const PATH: &str = "/tei/articles/embed_sparse";

#[tokio::test]
async fn vectors_come_by_token_id_in_the_order_of_the_vocabulary() {
    let worker = Worker::start(Behaviour::Embeds).await;
    let harness = with_pods(&[worker.address], &[]);
    let request = Request::post(PATH).header("content-type", "application/json");
    let (status, _, body) = harness.send(request.body(r#"{"inputs":"a","normalize":true}"#).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(String::from_utf8(body).unwrap(), r#"[[{"index":3,"value":0.5},{"index":7,"value":1.5}]]"#);
    assert_eq!(worker.asked(), [r#"{"inputs":["a"],"truncate":true}"#]);
}

#[tokio::test]
async fn what_its_clients_and_ours_may_ask_for_goes_on_to_the_worker() {
    let worker = Worker::start(Behaviour::Embeds).await;
    let harness = with_pods(&[worker.address], &[]);
    let asked = r#"{"inputs":["a"],"input_type":"search","top_k":9,"truncate":true,"truncation_direction":"Left","prompt_name":"query","format":"arrays"}"#;
    let (status, _) = post(&harness, PATH, asked).await;
    assert_eq!((status, worker.asked()), (StatusCode::OK, vec![asked.to_owned()]));
    for (path, body) in [
        ("/opensearch/articles", r#"{"input":["a"],"top_k":9,"max_ratio":0.5}"#),
        ("/_inference/articles", r#"{"input":["a"],"task_settings":{"output":{"top_k":9,"max_ratio":0.5}}}"#),
        ("/custom/articles", r#"{"input":["a"],"task_settings":{"output":{"top_k":9,"max_ratio":0.5}}}"#),
    ] {
        let (status, _) = post(&harness, path, body).await;
        let sent = worker.asked().pop().unwrap();
        assert_eq!((status, sent.as_str()), (StatusCode::OK, r#"{"input":["a"],"top_k":9,"max_ratio":0.5}"#));
    }
}

/// Of all pieces together, and not at all where a worker did not tell: half a sum is a wrong one.
#[tokio::test]
async fn an_answer_tells_how_many_tokens_it_came_to() {
    let worker = Worker::start(Behaviour::Counts).await;
    let harness = with_pods(&[worker.address], &[]);
    let texts = vec!["a"; 34];
    for (path, body, names) in [
        (PATH, json!({"inputs": texts}), vec!["x-lexiscale-tokens", "x-compute-tokens"]),
        ("/_inference/articles", json!({"input": texts}), vec!["x-lexiscale-tokens"]),
        ("/opensearch/articles", json!({"input": texts}), vec!["x-lexiscale-tokens"]),
    ] {
        let request = Request::post(path).header("content-type", "application/json");
        let (_, headers, _) = harness.send(request.body(body.to_string()).unwrap()).await;
        for name in names {
            assert_eq!(headers[name], "102", "{path} {name}");
        }
    }
    let silent = Worker::start(Behaviour::Embeds).await;
    let harness = with_pods(&[silent.address], &[]);
    let request = Request::post(PATH).header("content-type", "application/json");
    let (_, headers, _) = harness.send(request.body(r#"{"inputs":"a"}"#).unwrap()).await;
    assert!(!headers.contains_key("x-lexiscale-tokens") && !headers.contains_key("x-compute-tokens"));
}

#[tokio::test]
async fn a_batch_comes_back_in_order() {
    let worker = Worker::start(Behaviour::Echoes).await;
    let harness = with_pods(&[worker.address], &[]);
    let texts: Vec<_> = (1..35).map(|length| "a".repeat(length)).collect();
    let (status, rows) = post(&harness, PATH, json!({"inputs": texts, "truncate": false})).await;
    assert_eq!(status, StatusCode::OK);
    let expected: Vec<_> = (1..35).map(|length| json!([{"index": length, "value": 1.0}])).collect();
    assert_eq!(rows, Value::Array(expected));
    assert!(worker.asked().iter().all(|body| body.ends_with(r#""truncate":false}"#)));
}

#[tokio::test(start_paused = true)]
async fn errors_are_said_in_the_words_of_that_server() {
    let harness = with_pods(&[], &["--max-body-size", "1Ki"]);
    let large = json!({"inputs": "a".repeat(2000)}).to_string();
    for (path, body, status, kind) in [
        (PATH, r#"{"inputs":[]}"#, 400, "Empty"),
        (PATH, "{", 400, "Validation"),
        (PATH, r#"{"inputs":7}"#, 422, "Validation"),
        (PATH, large.as_str(), 413, "Validation"),
        ("/tei/nobody/embed_sparse", r#"{"inputs":"a"}"#, 404, "Validation"),
        ("/tei/articles/embed_sparse?timeout=1s", r#"{"inputs":"a"}"#, 429, "Overloaded"),
        ("/namespaces/other/tei/articles/embed_sparse", r#"{"inputs":"a"}"#, 404, "Validation"),
    ] {
        let (answered, body) = post(&harness, path, body).await;
        assert_eq!((answered.as_u16(), &body["error_type"]), (status, &json!(kind)), "{path}: {body}");
        assert!(body["error"].is_string() && body.as_object().unwrap().len() == 2, "{body}");
    }
}

/// Its clients try again on that status, and ask this header when.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_passed_says_when_to_come_again() {
    let harness = with_pods(&[], &[]);
    let request =
        Request::post("/tei/articles/embed_sparse?timeout=1s").header("content-type", "application/json");
    let (status, headers, _) = harness.send(request.body(r#"{"inputs":"a"}"#).unwrap()).await;
    assert_eq!(
        (status.as_u16(), headers["retry-after"].to_str().unwrap()),
        (429, "14"),
        "what a start takes, less what was waited"
    );
}

#[tokio::test]
async fn the_info_says_what_the_endpoint_serves() {
    let harness = with_pods(&[], &["--max-requests", "7"]);
    let (_, info) = harness.get("/tei/articles/info").await;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["model_id"], "organisation/name");
    assert_eq!(info["max_concurrent_requests"], 7);
    let (status, _, body) = harness.send(Request::get("/tei/legacy/info").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "its model is not known yet");
    assert!(String::from_utf8(body).unwrap().ends_with(r#""error_type":"Unhealthy"}"#));
}

#[tokio::test]
async fn an_endpoint_is_healthy_while_a_request_would_be_answered() {
    let worker = Worker::start(Behaviour::Embeds).await;
    for (harness, path, status) in [
        (with_pods(&[worker.address], &[]), "/tei/articles/health", 200),
        (with_pods(&[], &[]), "/tei/articles/health", 503),
        (with_pods(&[], &[]), "/tei/asleep/health", 200),
        (with_pods(&[], &[]), "/tei/nobody/health", 404),
    ] {
        let (answered, _, body) = harness.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answered.as_u16(), status, "{path}");
        assert_eq!(body.is_empty(), status == 200);
    }
}
