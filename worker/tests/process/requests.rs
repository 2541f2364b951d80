//! The real router, queue and engine over a backend that waits for the test.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use lexiscale_trace::Traces;
use lexiscale_wire::{Precision, Pruning, WorkerInfo};
use lexiscale_worker::backend::Width;
use lexiscale_worker::embedder::{Embedder, Extras, Parts, Settings};
use lexiscale_worker::engine::{Dimensions, Engine};
use lexiscale_worker::lifecycle::Lifecycle;
use lexiscale_worker::metrics::Metrics;
use lexiscale_worker::precision::PrecisionSetting;
use lexiscale_worker::server::{AppState, router};
use lexiscale_worker::tokenize::{Tokenizer, Tokens};
use lexiscale_worker::vocabulary::Vocabulary;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tower::ServiceExt;

use crate::support::models::small_source;
use crate::support::slow_backend::{Gate, slow_backend};

struct App {
    router: Router,
    gate: Arc<Gate>,
    lifecycle: Lifecycle,
    embedder: Arc<Embedder>,
    registry: Arc<RwLock<Registry>>,
}

/// Texts that may wait.
const CAPACITY: usize = 2;

fn app() -> App {
    app_with(1, 1)
}

/// `tokenizers` is the number of requests that are tokenised at once.
fn app_with(lanes: usize, tokenizers: usize) -> App {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let registry = Arc::new(RwLock::new(registry));
    let (backend, gate) = slow_backend();
    let json = fs_err::read_to_string(small_source("bert-f32").join("tokenizer.json")).unwrap();
    let warm_up = Tokens { ids: vec![2, 3], is_truncated: false };
    let warm_ups = if lanes > 1 { lanes + 1 } else { 1 };
    gate.release(warm_ups);
    let dimensions = Dimensions { threads: lanes, capacity: CAPACITY };
    let engine = Engine::start(&backend, dimensions, &warm_up, Arc::clone(&metrics)).unwrap();
    for _ in 0..warm_ups {
        assert_eq!(gate.next().0, warm_up, "each lane ran it before there was an engine");
    }
    let info = WorkerInfo {
        model: "hf://lexiscale/test".to_owned(),
        revision: "0".repeat(40),
        digest: "sha256:0".to_owned(),
        max_tokens: 24,
        vocabulary_size: 2,
        vocabulary: Some("sha256:1".to_owned()),
        threads: 1,
        precision: Precision::Fp32,
        version: "0".to_owned(),
        sizing: None,
    };
    let parts = Parts {
        tokenizer: Tokenizer::parse(&json, 24).unwrap(),
        vocabulary: Vocabulary::parse(&json, 2).unwrap(),
        engine,
        extras: Extras::default(),
        info,
    };
    let settings = Settings {
        threads: tokenizers,
        precision: PrecisionSetting::Fp32,
        queue_capacity: CAPACITY,
        max_texts: 4,
        pruning: Pruning::default(),
    };
    let embedder = Arc::new(Embedder::new(parts, settings, Arc::clone(&metrics)));
    let lifecycle = Lifecycle::default();
    let registered = Arc::clone(&registry);
    let traces = Traces::default();
    let state = AppState {
        lifecycle: lifecycle.clone(),
        metrics,
        traces,
        direct: Arc::default(),
        registry: registered,
    };
    App { router: router(Arc::new(state)), gate, lifecycle, embedder, registry }
}

fn ready_app() -> App {
    let app = app();
    app.lifecycle.ready(Arc::clone(&app.embedder));
    app
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: String,
}

impl App {
    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let retry_after =
            response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, retry_after, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    fn spawn(self: &Arc<Self>, request: Request<Body>) -> tokio::task::JoinHandle<Answer> {
        let app = Arc::clone(self);
        tokio::spawn(async move { app.ask(request).await })
    }

    /// Waits for a text to start without keeping the test's other tasks from running.
    async fn next(self: &Arc<Self>) -> (Tokens, Width) {
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || app.gate.next()).await.unwrap()
    }

    async fn wait_for_metric(&self, line: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let mut text = String::new();
            encode(&mut text, &self.registry.read().unwrap()).unwrap();
            if text.lines().any(|known| known == line) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "no {line} in\n{text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn post(path: &str, body: &str) -> Request<Body> {
    Request::post(path).body(Body::from(body.to_owned())).unwrap()
}

fn infer(body: &str) -> Request<Body> {
    post("/_inference", body)
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// Traffic that comes before the model would fail for users, so nothing may say "ready" before it.
#[tokio::test]
async fn nothing_is_served_before_the_model_is_warm() {
    let app = app();
    for request in [get("/health/ready"), get("/info"), infer(r#"{"input":["a"]}"#)] {
        let answer = app.ask(request).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        assert!(answer.body.contains(r#""type":"not_ready""#), "{}", answer.body);
    }
    assert_eq!(app.ask(get("/health/live")).await.status, StatusCode::OK);
    app.lifecycle.ready(Arc::clone(&app.embedder));
    assert_eq!(app.ask(get("/health/ready")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_429_and_takes_requests_again_when_it_is_not() {
    let app = Arc::new(ready_app());
    let running = app.spawn(infer(r#"{"input":["a"]}"#));
    app.next().await;
    let waiting = app.spawn(infer(r#"{"input":["b","c"]}"#));
    app.wait_for_metric("queue_texts 2").await;
    let refused = app.ask(infer(r#"{"input":["d"]}"#)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    assert!(refused.body.contains(r#""type":"overloaded""#), "{}", refused.body);
    app.gate.release(4);
    for task in [running, waiting] {
        assert_eq!(task.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(app.ask(infer(r#"{"input":["d"]}"#)).await.status, StatusCode::OK);
}

/// Texts hold memory before they are in the queue as well.
#[tokio::test]
async fn texts_that_wait_for_the_tokenizer_count_too() {
    // Without threads nothing gets through the tokenizer.
    let app = app_with(1, 0);
    app.lifecycle.ready(Arc::clone(&app.embedder));
    let waiting = app.ask(infer(r#"{"input":["a","b"]}"#));
    tokio::pin!(waiting);
    let refused = tokio::select! {
        biased;
        answer = &mut waiting => panic!("{answer:?}"),
        refused = app.ask(infer(r#"{"input":["c"]}"#)) => refused,
    };
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", refused.body);
    assert!(refused.body.contains("2 of 2 texts are waiting"), "{}", refused.body);
}

#[tokio::test]
async fn a_request_that_can_never_fit_is_told_so() {
    let app = ready_app();
    for (body, message) in [
        (r#"{"input":["a","b","c"]}"#, "3 more do not fit"),
        (r#"{"input":["a","b","c","d","e"]}"#, "5 texts in one request, at most 4"),
    ] {
        let answer = app.ask(infer(body)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.body);
        assert!(answer.body.contains(message), "{}", answer.body);
    }
}

/// Work for somebody who has left makes those wait who have not.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_left_costs_no_arithmetic() {
    let app = Arc::new(ready_app());
    let running = app.spawn(infer(r#"{"input":["a"]}"#));
    app.next().await;
    let leaving = app.spawn(infer(r#"{"input":["b"]}"#));
    app.wait_for_metric("queue_texts 1").await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    app.gate.release(1);
    assert_eq!(running.await.unwrap().status, StatusCode::OK);
    app.wait_for_metric(r#"dropped_texts_total{reason="Abandoned"} 1"#).await;
    assert!(!app.gate.has_next());
    app.wait_for_metric(r#"requests_total{route="Inference",outcome="Abandoned"} 1"#).await;
}

/// Gateways that share a worker see by it what the others sent.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_how_many_texts_are_left_and_whose_tokens_it_has() {
    let app = Arc::new(ready_app());
    let load =
        |answer: &axum::response::Response| answer.headers()["x-lexiscale-load"].to_str().unwrap().to_owned();
    let running = tokio::spawn(app.router.clone().oneshot(infer(r#"{"input":["a"]}"#)));
    app.next().await;
    let waiting = app.spawn(infer(r#"{"input":["b","a"]}"#));
    app.wait_for_metric("queue_texts 2").await;
    let refused = app.router.clone().oneshot(infer(r#"{"input":["a"]}"#)).await.unwrap();
    assert_eq!((refused.status(), load(&refused).as_str()), (StatusCode::TOO_MANY_REQUESTS, "3"));
    app.gate.release(1);
    let answer = running.await.unwrap().unwrap();
    assert_eq!((answer.status(), load(&answer).as_str()), (StatusCode::OK, "2"));
    assert_eq!(answer.headers()["x-lexiscale-vocabulary"], "sha256:1");
    app.gate.release(2);
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
    assert_eq!(app.embedder.load(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_past_its_time_costs_no_arithmetic() {
    let app = Arc::new(ready_app());
    let running = app.spawn(infer(r#"{"input":["a"]}"#));
    app.next().await;
    let mut late = infer(r#"{"input":["b"]}"#);
    late.headers_mut().insert("x-lexiscale-timeout-ms", "0".parse().unwrap());
    let late = app.spawn(late);
    app.wait_for_metric("queue_texts 1").await;
    app.gate.release(1);
    assert_eq!(running.await.unwrap().status, StatusCode::OK);
    let late = late.await.unwrap();
    assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(late.body.contains("time was over"), "{}", late.body);
    assert!(!app.gate.has_next());
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_overtake_documents() {
    let app = Arc::new(ready_app());
    let running = app.spawn(infer(r#"{"input":["a"]}"#));
    app.next().await;
    let document = app.spawn(infer(r#"{"input":["one"],"input_type":"ingest"}"#));
    app.wait_for_metric("queue_texts 1").await;
    let search = app.spawn(infer(r#"{"input":["two"],"input_type":"search"}"#));
    app.wait_for_metric("queue_texts 2").await;
    app.gate.release(1);
    let [one, two] = [12, 13];
    assert_eq!(app.next().await.0.ids[1], two);
    app.gate.release(1);
    assert_eq!(app.next().await.0.ids[1], one);
    app.gate.release(1);
    for task in [running, document, search] {
        assert_eq!(task.await.unwrap().status, StatusCode::OK);
    }
}

/// Whoever asks alone gets all threads; whoever asks beside others gets one, and nobody is computed on a thread too many.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_alone_is_wide_and_texts_of_a_list_run_side_by_side() {
    let app = app_with(2, 1);
    app.lifecycle.ready(Arc::clone(&app.embedder));
    let app = Arc::new(app);
    let alone = app.spawn(infer(r#"{"input":["a"]}"#));
    assert_eq!(app.next().await.1, Width::All);
    let list = app.spawn(infer(r#"{"input":["b","c"]}"#));
    app.wait_for_metric("queue_texts 2").await;
    assert!(!app.gate.has_next(), "the other lane waits until the first text is done");
    app.gate.release(1);
    assert_eq!(alone.await.unwrap().status, StatusCode::OK);
    let widths = [app.next().await.1, app.next().await.1];
    assert_eq!(widths, [Width::One; 2], "both run before either has ended");
    app.gate.release(2);
    assert_eq!(list.await.unwrap().status, StatusCode::OK);
}

/// One poisoned text must not take the worker, and with it everybody's requests, down.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_model_fails_that_request_only() {
    let app = Arc::new(ready_app());
    app.gate.release(2);
    // The letter z is token 42, at which the backend panics.
    let failed = app.ask(infer(r#"{"input":["z"]}"#)).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(failed.body.contains(r#""type":"internal""#), "{}", failed.body);
    let answer = app.ask(infer(r#"{"input":["a"]}"#)).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::OK, r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"[UNK]":1.0}}]}"#)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_answers_what_still_comes_but_is_not_ready() {
    let app = Arc::new(ready_app());
    app.lifecycle.drain();
    let answer = app.ask(get("/health/ready")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("shutting down"), "{}", answer.body);
    app.gate.release(1);
    assert_eq!(app.ask(infer(r#"{"input":["a"]}"#)).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn tei_clients_get_indices_and_values() {
    let app = Arc::new(ready_app());
    app.gate.release(4);
    let answer = app.ask(post("/embed_sparse", r#"{"inputs":"a"}"#)).await;
    assert_eq!(answer.body, r#"[[{"index":1,"value":1.0}]]"#);
    let answer = app.ask(post("/embed_sparse", r#"{"inputs":["a","b"],"truncate":true}"#)).await;
    assert_eq!(answer.body, r#"[[{"index":1,"value":1.0}],[{"index":1,"value":1.0}]]"#);
    let arrays = app.ask(post("/embed_sparse", r#"{"inputs":"a","format":"arrays","top_k":5}"#)).await;
    assert_eq!(arrays.body, r#"[{"indices":[1],"values":[1.0]}]"#);
    let long = format!(r#"{{"inputs":"{}","truncate":false}}"#, "a ".repeat(30));
    let answer = app.ask(post("/embed_sparse", &long)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.body.contains("text 0 is longer than the 24 tokens"), "{}", answer.body);
}

/// Whoever pays by the token needs their number, and gateways add it up.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_tells_how_many_tokens_it_took() {
    let app = ready_app();
    app.gate.release(4);
    let header = |answer: &axum::response::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let body = r#"{"input":["a","hello world"]}"#;
    let answer = app.router.clone().oneshot(infer(body)).await.unwrap();
    assert_eq!(header(&answer, "x-lexiscale-tokens").as_deref(), Some("7"), "special tokens count");
    assert_eq!(header(&answer, "content-type").as_deref(), Some("application/json"));
    let body = format!(r#"{{"inputs":["{}"]}}"#, "a ".repeat(100));
    let answer = app.router.clone().oneshot(post("/embed_sparse", &body)).await.unwrap();
    assert_eq!(header(&answer, "x-compute-tokens").as_deref(), Some("24"), "what was cut off does not");
    let refused = app.router.clone().oneshot(infer("{}")).await.unwrap();
    assert_eq!(header(&refused, "x-lexiscale-tokens"), None);
    app.wait_for_metric("request_tokens_sum 31.0").await;
    app.wait_for_metric("serialize_seconds_count 2").await;
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let app = ready_app();
    let deep = format!(r#"{{"input":{}"#, "[".repeat(200));
    let not_text = "\u{0}\u{1}";
    let table: [(Request<Body>, u16, &str); 26] = [
        (infer(""), 400, "EOF"),
        (infer("{"), 400, "EOF"),
        (infer(r#"[["a"],null]"#), 400, "must be a JSON object"),
        (infer("null"), 400, "must be a JSON object"),
        (infer(not_text), 400, "must be a JSON object"),
        (infer("{}"), 400, "missing field `input`"),
        (infer(r#"{"input":[]}"#), 400, "must not be an empty array"),
        (infer(r#"{"input":null}"#), 400, "string or an array of strings"),
        (infer(r#"{"input":1}"#), 400, "string or an array of strings"),
        (infer(r#"{"input":[1]}"#), 400, "string or an array of strings"),
        (infer(r#"{"input":["a",null]}"#), 400, "string or an array of strings"),
        (infer(r#"{"input":{"a":"b"}}"#), 400, "string or an array of strings"),
        (infer(r#"{"input":["a"],"inputs":["b"]}"#), 400, "unknown field `inputs`"),
        (infer(r#"{"input":["a"],"input":["b"]}"#), 400, "duplicate field `input`"),
        (infer(r#"{"input":["a"],"input_type":"classification"}"#), 400, "unknown variant"),
        (infer(r#"{"input":["a"]} trailing"#), 400, "trailing characters"),
        (infer(r#"{"input":["\ud800"]}"#), 400, "unexpected end of hex escape"),
        (infer(&deep), 400, "recursion limit"),
        (post("/embed_sparse", r#"{"inputs":[]}"#), 400, "must not be an empty array"),
        (post("/embed_sparse", r#"{"input":"a"}"#), 400, "unknown field `input`"),
        (infer(r#"{"input":["a"],"max_ratio":1.5}"#), 400, "max_ratio is 1.5, but must be from 0 to 1"),
        (infer(r#"{"input":["a"],"top_k":0}"#), 400, "nonzero"),
        (infer(r#"{"input":["a"],"prompt_name":"query"}"#), 400, "the model has no prompt"),
        (post("/embed_sparse", r#"{"inputs":"a","format":"csv"}"#), 400, "unknown variant `csv`"),
        (get("/_inference"), 405, "method GET is not allowed"),
        (post("/embed", "{}"), 404, "no route /embed"),
    ];
    for (request, status, message) in table {
        let answer = app.ask(request).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        let error: lexiscale_wire::WorkerError = serde_json::from_str(&answer.body).unwrap();
        assert!(error.error.contains(message), "{message}: {error}");
    }
    let mut request = infer(r#"{"input":["a"]}"#);
    request.headers_mut().insert("x-lexiscale-timeout-ms", "soon".parse().unwrap());
    assert_eq!(app.ask(request).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_it_is_kept() {
    let app = ready_app();
    let body = format!(r#"{{"input":["{}"]}}"#, "a".repeat(lexiscale_wire::MAX_BODY_BYTES));
    let answer = app.ask(infer(&body)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.body.contains(r#""type":"too_large""#), "{}", answer.body);
}

/// Without this, an endpoint that is asked without a gateway would look idle and lose its workers.
#[tokio::test]
async fn direct_requests_are_told_and_a_gateways_are_not() {
    let app = Arc::new(ready_app());
    let told = async |app: &App| -> lexiscale_wire::WorkerLoad {
        let answer = app.ask(Request::get("/load").body(Body::empty()).unwrap()).await;
        serde_json::from_str(&answer.body).unwrap()
    };
    assert_eq!(told(&app).await.counters, lexiscale_wire::LoadCounters::default());
    let mut counted = infer("{}");
    counted.headers_mut().insert(lexiscale_wire::COUNTED_HEADER, "1".parse().unwrap());
    assert_eq!(app.ask(counted).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(told(&app).await.counters, lexiscale_wire::LoadCounters::default());
    assert_eq!(app.ask(infer("{}")).await.status, StatusCode::BAD_REQUEST);
    let counters = told(&app).await.counters;
    assert_eq!((counters.arrivals, counters.failed, counters.in_flight), (1, 1, 0));
    assert!(counters.idle.is_some());
}
