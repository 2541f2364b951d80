//! The API server is away, refusing or silent, and comes back: inference goes on, what changes endpoints says 503, what waits
//! for a wake-up waits on.

use http::header::AUTHORIZATION;
use http::{Method, Request};
use lexiscale_operator::gateway::NewKey;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::auth::{AUDIENCE, VERBS};
use crate::cluster::{Cluster, with_namespace};
use crate::cut::{State, Wire};
use crate::harness::{Answer, Gateway};
use crate::worker::{Behaviour, Worker};
use crate::zero::held;

pub(crate) const INPUT: &str = r#"{"input":"Kubernetes"}"#;
pub(crate) const MAKE: &str =
    r#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1}}"#;
const UPDATE: &str = r#"{"service_settings":{"num_allocations":2}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_gone_stops_no_inference() {
    outage(State::Refuses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_silent_stops_no_inference() {
    outage(State::Hangs).await;
}

pub(crate) async fn send(
    gateway: &Gateway,
    method: Method,
    path: &str,
    body: &str,
    authorization: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header(AUTHORIZATION, authorization);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    gateway.request(request.body(body.to_owned().into()).unwrap()).await
}

pub(crate) fn assert_unavailable(answer: &Answer, reason: &str) {
    assert_eq!(answer.error(), (503, "status_exception".to_owned()), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
    let body = answer.json();
    assert_eq!(body["status"], 503);
    assert!(body["error"]["reason"].as_str().is_some_and(|text| text.contains(reason)), "{body}");
}

/// Those that a client may do to an endpoint, at once.
pub(crate) async fn changes(gateway: &Gateway, authorization: &str) -> [Answer; 3] {
    let (made, updated, deleted) = tokio::join!(
        send(gateway, Method::PUT, "/_inference/sparse_embedding/made", MAKE, authorization),
        send(gateway, Method::PUT, "/_inference/sparse_embedding/others/_update", UPDATE, authorization),
        send(gateway, Method::DELETE, "/_inference/others", "", authorization),
    );
    [made, updated, deleted]
}

/// Credentials for everything, by token and by key.
pub(crate) struct Callers {
    pub(crate) bearer: String,
    pub(crate) key: String,
}

impl Callers {
    pub(crate) async fn new(cluster: &Cluster, keys: &std::path::Path) -> Self {
        let token = cluster.account("searcher", &VERBS, &[], AUDIENCE).await;
        let NewKey { credential, hash } = NewKey::generate("search").unwrap();
        let entry = json!({"hash": hash, "namespaces": ["*"], "verbs": VERBS, "endpoints": ["*"]});
        std::fs::write(keys.join("search"), entry.to_string()).unwrap();
        Self { bearer: format!("Bearer {token}"), key: format!("ApiKey {}", credential.expose_secret()) }
    }
}

async fn outage(cut: State) {
    with_namespace(|cluster| async move {
        let settings = json!({"numAllocations": 1, "numThreads": 1});
        for id in ["busy", "others"] {
            cluster.make(id, "elser", settings.clone()).await;
            cluster.becomes_ready(id, 1).await;
        }
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes("busy", &[worker.address]).await;
        cluster.make_idle("articles").await;
        let keys = tempfile::tempdir().unwrap();
        let callers = Callers::new(&cluster, keys.path()).await;
        let (wire, behind) = Wire::start(&cluster).await;
        let open = Gateway::start(&behind, &[]).await;
        let flags = ["--auth", "kubernetes", "--auth-audience", AUDIENCE, "--auth-cache-time", "1s"];
        let flags = [&flags[..], &["--api-keys-dir", keys.path().to_str().unwrap()]].concat();
        let guarded = Gateway::start(&behind, &flags).await;
        let infer = async |gateway: &Gateway, credentials: &str| {
            let answer = send(gateway, Method::POST, "/_inference/busy", INPUT, credentials).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        };
        let all_infer = async || {
            infer(&open, "").await;
            infer(&guarded, &callers.key).await;
            infer(&guarded, &callers.bearer).await;
        };
        all_infer().await;

        wire.set(cut);
        let goes_by_the_old = async || {
            all_infer().await;
            guarded.metrics().await.contains(r#"auth_decisions_total{outcome="Allowed",source="Outlived"}"#)
        };
        guarded.until("a decision has outlived its time", goes_by_the_old).await;
        let (by_anybody, by_key, by_bearer) = tokio::join!(
            changes(&open, ""),
            changes(&guarded, &callers.key),
            changes(&guarded, &callers.bearer)
        );
        for answer in by_anybody.iter().chain(&by_key) {
            assert_unavailable(answer, "failed to reach the Kubernetes API");
        }
        for answer in &by_bearer {
            assert_unavailable(answer, "failed to check the credentials");
        }
        // What the gateway saw last is shown to whoever may still be let in.
        for path in ["/_inference", "/_inference/busy"] {
            let (by_anybody, by_key, by_bearer) = tokio::join!(
                open.get(path),
                send(&guarded, Method::GET, path, "", &callers.key),
                send(&guarded, Method::GET, path, "", &callers.bearer)
            );
            assert_eq!((by_anybody.status.as_u16(), by_key.status.as_u16()), (200, 200), "{path}");
            assert_unavailable(&by_bearer, "failed to check the credentials");
        }
        let stranger = send(&guarded, Method::POST, "/_inference/busy", INPUT, "Bearer new").await;
        assert_unavailable(&stranger, "failed to check the credentials");
        all_infer().await;
        assert!(open.is_ready().await && guarded.is_ready().await);

        // Whoever waits for a wake-up is answered once somebody is there to be asked for it.
        let path = "/_inference/articles?timeout=60s";
        let back = async {
            let are_held = async || guarded.metrics().await.contains(&format!("{} 1", held(&cluster)));
            guarded.until("the request is held", are_held).await;
            wire.set(State::Whole);
            let wake_up = cluster.wake_up("articles", None).await;
            cluster.answers("articles", &wake_up, &[worker.address]).await;
        };
        let (answer, ()) = tokio::join!(send(&guarded, Method::POST, path, INPUT, &callers.key), back);
        assert_eq!(answer.status, 200, "{answer:?}");

        // The watches are back, and so is everything else.
        cluster.make("later", "elser", settings).await;
        for (gateway, credentials) in
            [(&open, ""), (&guarded, callers.key.as_str()), (&guarded, callers.bearer.as_str())]
        {
            let is_known =
                async || send(gateway, Method::GET, "/_inference/later", "", credentials).await.status == 200;
            gateway.until("what was made since is known", is_known).await;
        }
        all_infer().await;
        if cut == State::Refuses {
            assert_eq!(cluster.ids().await, ["articles", "busy", "later", "others"], "nothing half done");
        }
        let make = send(&guarded, Method::PUT, "/_inference/sparse_embedding/again", MAKE, &callers.bearer);
        let (answer, ()) = tokio::join!(make, cluster.becomes_ready("again", 1));
        assert_eq!(answer.status, 200, "{answer:?}");
    })
    .await;
}
