//! Credentials through the real router, with an API server that knows two tokens and counts its answers.

mod crowd;
mod time;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::gateway::router::routes;
use crate::gateway::router_tests::Harness;

/// What the stand-in for the API server knows.
#[derive(Default)]
struct Judge {
    is_away: AtomicBool,
    /// It refuses everything, and is not ready.
    is_starting: AtomicBool,
    /// Nobody may do anything any more.
    is_strict: AtomicBool,
    asked: Mutex<Vec<Value>>,
}

impl Judge {
    /// `ada` may infer and get, `bob` nothing.
    async fn answer(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, std::io::Error> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("away"));
        }
        if request.uri().path() == "/readyz" {
            let is_ready = !self.is_starting.load(Ordering::Relaxed);
            let status = if is_ready { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            return Ok(Response::builder().status(status).body(Body::from("ok")).unwrap());
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        self.asked.lock().unwrap().push(review.clone());
        let spec = &review["spec"];
        review["status"] = if let Some(token) = spec["token"].as_str() {
            let name = token.rsplit('.').next().and_then(|end| end.strip_prefix("valid-"));
            json!({"authenticated": name.is_some(), "user": {"username": name.unwrap_or_default(), "uid": "7", "groups": ["g"]}})
        } else {
            let verb = spec["resourceAttributes"]["verb"].as_str().unwrap();
            let ada = spec["user"] == "ada" && ["get", "infer"].contains(&verb);
            let refuses = self.is_strict.load(Ordering::Relaxed) || self.is_starting.load(Ordering::Relaxed);
            let ada = ada && !refuses;
            json!({"allowed": ada || (spec["user"] == "eve" && verb == "create")})
        };
        Ok(Response::new(Body::from(serde_json::to_vec(&review).unwrap())))
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

struct Site {
    harness: Harness,
    judge: Arc<Judge>,
}

impl Site {
    fn new(flags: &[&str]) -> Self {
        let judge = Arc::<Judge>::default();
        let answers = Arc::clone(&judge);
        let harness = Harness::with(&[&["--auth", "kubernetes"], flags].concat(), move |request| {
            let judge = Arc::clone(&answers);
            async move { judge.answer(request).await }
        });
        Self { harness, judge }
    }

    async fn send(&self, method: Method, path: &str, authorization: &str) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !authorization.is_empty() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let (status, headers, body) = self.harness.send(request.body(Body::empty()).unwrap()).await;
        (status, headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn status(&self, method: Method, path: &str, authorization: &str) -> u16 {
        self.send(method, path, authorization).await.0.as_u16()
    }
}

const ADA: &str = "Bearer valid-ada";

/// Whoever adds a route without asking for its caller opens it to everybody.
#[tokio::test]
async fn no_route_answers_without_credentials_but_the_page_and_its_parts() {
    const PARTS: [&str; 3] = ["/_page/page.css", "/_page/page.js", "/_page/icon.svg"];
    let site = Site::new(&[]);
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
    ];
    let mut refused = 0;
    for (route, _) in routes() {
        for id in ["articles", "nobody", "_all"] {
            let path = route.replace("{id}", id).replace("{task_type}", "sparse_embedding");
            for method in &methods {
                let (status, headers, body) = site.send(method.clone(), &path, "").await;
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    assert!(headers["allow"].to_str().is_ok_and(|allow| !allow.contains(method.as_str())));
                    continue;
                }
                let is_part = PARTS.contains(&route) && [Method::GET, Method::HEAD].contains(method);
                assert_eq!(status, if is_part { 200 } else { 401 }, "{method} {path}");
                if is_part {
                    continue;
                }
                refused += 1;
                let challenges: Vec<_> = headers.get_all("www-authenticate").iter().collect();
                assert_eq!(challenges, [r#"Bearer realm="security""#, "ApiKey"], "{method} {path}");
                let told = if route.starts_with("/tei/") { &body["error"] } else { &body["error"]["type"] };
                assert!(*method == Method::HEAD || told.is_string(), "{method} {path}: {body}");
            }
        }
    }
    assert!(refused >= 3 * routes().len(), "{refused} were refused");
    assert_eq!(site.judge.asked(), 0);
}

/// A second name for a deployment is no way around the right to use it.
#[tokio::test]
async fn who_may_create_may_not_attach_to_what_they_may_not_use() {
    let site = Site::new(&[]);
    let body = r#"{"service":"elasticsearch","service_settings":{"deployment_id":"articles"}}"#;
    let request = Request::put("/_inference/sparse_embedding/own").header(AUTHORIZATION, "Bearer valid-eve");
    let request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
    let (status, _, answer) = site.harness.send(request).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status.as_u16(), answer["error"]["type"].as_str()), (403, Some("security_exception")));
    assert!(
        answer["error"]["reason"].as_str().unwrap().contains("infer inference endpoint [articles]"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_path_is_looked_at_before_the_credentials_and_the_body_after() {
    let site = Site::new(&[]);
    assert_eq!(site.status(Method::GET, "/_nothing", "").await, 400);
    assert_eq!(site.status(Method::PATCH, "/_inference/articles", "").await, 405);
    assert_eq!(site.status(Method::GET, "/_inference/no_task/articles", "").await, 400);
    assert_eq!(site.status(Method::POST, "/_inference/nobody", "").await, 401);
    assert_eq!(site.status(Method::POST, "/_inference/nobody", ADA).await, 400, "no body");
    assert_eq!(site.status(Method::GET, "/_inference/nobody", ADA).await, 404);
}

#[tokio::test]
async fn rbac_decides_by_the_name_of_the_object() {
    let site = Site::new(&[]);
    assert_eq!(site.status(Method::GET, "/_inference/.elser-2-elasticsearch", ADA).await, 200);
    let (status, _, body) = site.send(Method::DELETE, "/_inference/articles", ADA).await;
    assert_eq!((status.as_u16(), body["error"]["type"].as_str()), (403, Some("security_exception")));
    assert_eq!(
        body["error"]["reason"],
        "[ada] may not delete inference endpoint [articles]; that needs the verb [delete] on [inferenceendpoints] in namespace [default]"
    );
    assert_eq!(site.status(Method::GET, "/_inference", ADA).await, 403);
    assert_eq!(
        site.status(Method::GET, "/", "Bearer valid-bob").await,
        200,
        "who is known may ask who answers"
    );
    assert_eq!(site.status(Method::GET, "/", "Bearer stolen").await, 401);
    let asked = site.judge.asked.lock().unwrap();
    let questions: Vec<_> =
        asked.iter().map(|review| &review["spec"]).filter(|spec| spec["token"].is_null()).collect();
    assert_eq!(
        *questions[0],
        json!({"user": "ada", "uid": "7", "groups": ["g"], "resourceAttributes": {
            "group": "inference.lexiscale.io", "version": "v1alpha1", "resource": "inferenceendpoints", "verb": "get",
            "namespace": "default", "name": object_name(".elser-2-elasticsearch"),
        }})
    );
    assert!(questions[2]["resourceAttributes"]["name"].is_null(), "a list is of no name");
}

#[tokio::test]
async fn a_tenants_rights_are_asked_for_in_its_namespace() {
    let site = Site::new(&["--all-namespaces"]);
    assert_eq!(site.status(Method::GET, "/namespaces/team-a/_inference/articles", ADA).await, 404);
    let asked = site.judge.asked.lock().unwrap();
    assert_eq!(asked[1]["spec"]["resourceAttributes"]["namespace"], "team-a");
}

#[tokio::test]
async fn an_api_key_is_let_in_as_far_as_it_says_and_nobody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let NewKey { credential, hash } = NewKey::generate("search").unwrap();
    let entry = json!({"hash": hash, "namespaces": ["default"], "verbs": ["get"], "endpoints": ["articles"]});
    fs_err::write(directory.path().join("search"), entry.to_string()).unwrap();
    let site = Site::new(&["--api-keys-dir", directory.path().to_str().unwrap()]);
    site.harness.gateway.guard.as_ref().unwrap().load_keys().await.unwrap();
    let authorization = format!("ApiKey {}", credential.expose_secret());
    let get = async |path: &str| site.status(Method::GET, path, &authorization).await;
    assert_eq!(get("/_inference/articles").await, 200);
    assert_eq!(get("/").await, 200);
    assert_eq!(get("/_inference/legacy").await, 403);
    assert_eq!(get("/_inference").await, 403);
    assert_eq!(site.status(Method::DELETE, "/_inference/articles", &authorization).await, 403);
    // `search:wrong`
    assert_eq!(site.status(Method::GET, "/", "ApiKey c2VhcmNoOndyb25n").await, 401);
    assert_eq!(site.judge.asked(), 0);
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Secrets come in by requests and must go nowhere else.
#[tokio::test]
async fn answers_and_logs_do_not_repeat_secrets() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let site = Site::new(&[]);
    for authorization in
        ["Bearer canary", "Bearer canary canary", "ApiKey canary", "ApiKey YTpjYW5hcnk=", "Basic canary"]
    {
        let (status, headers, body) = site.send(Method::GET, "/_inference/articles", authorization).await;
        let text = format!("{headers:?} {body}");
        assert!(status == 401 && !text.contains("canary") && !text.contains("YTpj"), "{text}");
    }
    // A line of code that another test reached first, without a subscriber, would stay silent here.
    tracing::callsite::rebuild_interest_cache();
    let traced = Request::get("/_inference/articles").header(AUTHORIZATION, ADA);
    let traced = traced.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(site.harness.send(traced.body(Body::empty()).unwrap()).await.0, 200);
    assert_eq!(site.status(Method::GET, "/_inference/articles", "Bearer valid-bob").await, 403);
    site.judge.is_away.store(true, Ordering::Relaxed);
    assert_eq!(site.status(Method::GET, "/_inference/articles", "Bearer valid-canary").await, 503);
    drop(site);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains(r#"user="ada""#)).unwrap();
    let (_, line) = line.split_once(" access: ").unwrap();
    let (line, milliseconds) = line.split_once(" milliseconds=").unwrap();
    assert_eq!(
        line,
        r#"request method=GET path=/_inference/articles operation="get" trace_id="4bf92f3577b34da6a3ce929d0e0e4736" user="ada" status=200 complete=true"#
    );
    assert!(milliseconds.parse::<f64>().is_ok_and(|milliseconds| milliseconds > 0.0), "{milliseconds}");
    assert!(log.contains(r#"user="bob" status=403"#), "{log}");
    assert!(log.contains("failed to have credentials reviewed"), "{log}");
    assert!(!log.contains("canary") && !log.contains("YTpj") && !log.contains("valid-"), "{log}");
}

#[tokio::test]
async fn without_authentication_everybody_is_let_in_and_nobody_asked() {
    let harness = Harness::new(&[]);
    let request = Request::get("/_inference/articles").header(AUTHORIZATION, "Bearer whatever");
    assert_eq!(harness.send(request.body(Body::empty()).unwrap()).await.0, 200);
    assert_eq!(harness.asked.load(Ordering::Relaxed), 0);
}
