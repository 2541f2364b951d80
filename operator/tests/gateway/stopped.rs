//! The API server's process is killed, and started again after a while: five minutes with `LEXISCALE_OUTAGE_SECONDS=300`. Who
//! may infer meets no failure meanwhile, nor when it comes back; who would change something is told why not.

use std::time::Duration;

use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::auth::AUDIENCE;
use crate::away::{Callers, INPUT, MAKE, assert_unavailable, changes, send};
use crate::cluster::PATIENCE;
use crate::harness::Gateway;
use crate::own_api_server::ApiServer;
use crate::worker::{Behaviour, Worker};

/// Long enough for decisions to outlive their time, and for the pauses between attempts to watch to grow.
const SHORT: Duration = Duration::from_secs(8);
/// Each caller sends a request in this time.
const PACE: Duration = Duration::from_millis(50);
/// Each caller asks for changes in this time.
const CHANGES: Duration = Duration::from_secs(4);
/// An API server that is back reads for some seconds what it judges by.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// Within which a client hears that there is nobody to ask.
const MOST: Duration = Duration::from_secs(10);

fn outage() -> Duration {
    let asked = std::env::var_os("LEXISCALE_OUTAGE_SECONDS");
    asked.map_or(SHORT, |seconds| Duration::from_secs(seconds.into_string().unwrap().parse().unwrap()))
}

/// Every request until `end` is answered 200; returns how many there were.
async fn infers(gateway: &Gateway, credentials: &str, end: &CancellationToken) -> usize {
    let mut pace = interval(PACE);
    let mut answered = 0;
    while !end.is_cancelled() {
        pace.tick().await;
        let answer = send(gateway, http::Method::POST, "/_inference/busy", INPUT, credentials).await;
        assert_eq!(answer.status, 200, "after {answered} answers: {answer:?}");
        answered += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn inference_goes_on_while_the_api_server_is_stopped_and_all_else_comes_back_by_itself() {
    let (mut server, cluster, behind) = ApiServer::start().await;
    let settings = serde_json::json!({"numAllocations": 1, "numThreads": 1});
    for id in ["busy", "others"] {
        cluster.make(id, "elser", settings.clone()).await;
        cluster.becomes_ready(id, 1).await;
    }
    cluster.make_idle("articles").await;
    let worker = Worker::start(Behaviour::Embeds).await;
    cluster.routes("busy", &[worker.address]).await;
    let keys = tempfile::tempdir().unwrap();
    let callers = Callers::new(&cluster, keys.path()).await;
    let outage = outage();
    // The chart's own minute, where the outage is longer than that.
    let cache = if outage > Duration::from_mins(2) { "60s" } else { "1s" };
    let flags = ["--auth", "kubernetes", "--auth-audience", AUDIENCE, "--auth-cache-time", cache];
    let flags = [&flags[..], &["--api-keys-dir", keys.path().to_str().unwrap()]].concat();
    let (open, guarded) = (Gateway::start(&behind, &[]).await, Gateway::start(&behind, &flags).await);
    let all = [(&open, ""), (&guarded, callers.key.as_str()), (&guarded, callers.bearer.as_str())];

    let end = CancellationToken::new();
    let load =
        futures::future::join_all(all.map(|(gateway, credentials)| infers(gateway, credentials, &end)));
    let away = async {
        let known = async || {
            let answer = send(&guarded, http::Method::POST, "/_inference/busy", INPUT, &callers.bearer).await;
            answer.status == 200
        };
        guarded.until("the token was judged once", known).await;
        server.kill().await;
        let began = Instant::now();
        let mut pace = interval(CHANGES);
        while began.elapsed() < outage {
            pace.tick().await;
            let asked = Instant::now();
            for (gateway, credentials) in all {
                for answer in changes(gateway, credentials).await {
                    let is_checked = !credentials.starts_with("Bearer");
                    let reason =
                        if is_checked { "failed to reach the Kubernetes API" } else { "failed to check" };
                    assert_unavailable(&answer, reason);
                }
            }
            assert!(asked.elapsed() < 3 * MOST, "{:?}", asked.elapsed());
            let seen = open.get("/_inference/busy").await;
            assert_eq!(seen.status, 200, "what was seen last is shown");
            assert!(open.is_ready().await && guarded.is_ready().await);
        }
        let outlived = r#"auth_decisions_total{outcome="Allowed",source="Outlived"}"#;
        assert!(guarded.metrics().await.contains(outlived), "no decision has outlived its time");

        let held =
            send(&guarded, http::Method::POST, "/_inference/articles?timeout=60s", INPUT, &callers.key);
        let back = async {
            server.start_again().await;
            let wake_up = cluster.wake_up("articles", None).await;
            cluster.answers("articles", &wake_up, &[worker.address]).await;
        };
        let (held, ()) = tokio::join!(held, back);
        assert_eq!(held.status, 200, "{held:?}");
        for (number, (gateway, credentials)) in all.into_iter().enumerate() {
            let path = format!("/_inference/sparse_embedding/made-{number}");
            let makes = async || {
                let made = async {
                    let make = send(gateway, http::Method::PUT, &path, MAKE, credentials).await;
                    (make.status == 200).then_some(()).ok_or(make)
                };
                let id = format!("made-{number}");
                let (made, ()) = tokio::join!(made, cluster.becomes_ready(&id, 1));
                made
            };
            let sees = async || {
                send(gateway, http::Method::GET, "/_inference/others", "", credentials).await.status == 200
            };
            gateway.until("it may look again", sees).await;
            tokio::time::timeout(PATIENCE, makes()).await.unwrap().unwrap();
        }
        let afterwards = Instant::now();
        let is_over = async || afterwards.elapsed() > AFTERWARDS;
        guarded.until("the API server has read all that it judges by", is_over).await;
        end.cancel();
    };
    let (answered, ()) = tokio::join!(load, away);
    // Or it was no load.
    let least = outage.as_millis() / PACE.as_millis() / 4;
    assert!(answered.iter().all(|answered| *answered as u128 > least), "{answered:?}");
    // What was asked for in vain was not done.
    let ids = ["articles", "busy", "made-0", "made-1", "made-2", "others"];
    assert_eq!(cluster.ids().await, ids);
}
