//! The lists of requests, against the gateway as it runs: one that this test starts, or the one of
//! `LEXISCALE_CONFORMANCE_URL`, which `make conformance URL=...` sets.

#[path = "conformance/lives.rs"]
mod lives;
#[path = "conformance/server.rs"]
mod server;
#[path = "conformance/stage.rs"]
mod stage;

use http::HeaderValue;
use serde_json::json;

use self::lives::Life;
use self::server::Server;
use self::stage::Stage;
use crate::auth::{AUDIENCE, VERBS};
use crate::case::{Case, Tally};
use crate::cluster::with_namespace;
use crate::harness::Gateway;

const DEFAULT: &str = ".elser-2-elasticsearch";

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    if let Some(server) = Server::of_environment() {
        return against_a_running_server(&server).await;
    }
    against_a_gateway(Door::Open).await;
}

/// The whole list once more, by somebody who may do everything, and what the list says of those who are nobody.
#[tokio::test(flavor = "multi_thread")]
async fn conformance_with_credentials() {
    against_a_gateway(Door::Guarded).await;
}

/// Whom the gateway lets in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Door {
    Open,
    Guarded,
}

async fn against_a_gateway(door: Door) {
    with_namespace(|cluster| async move {
        let settings = json!({"modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1});
        let adaptive = json!({"numThreads": 1, "adaptiveAllocations": {"enabled": true, "minNumberOfAllocations": 0, "maxNumberOfAllocations": 32}});
        cluster.make("articles", "elasticsearch", settings.clone()).await;
        cluster.make("legacy", "elser", adaptive).await;
        cluster.make(DEFAULT, "elasticsearch", settings).await;
        let _stage = Stage::start(&cluster).await;
        let (flags, authorization): (&[&str], _) = match door {
            Door::Open => (&[], None),
            Door::Guarded => {
                let token = cluster.account("conformance", &VERBS, &[], AUDIENCE).await;
                let authorization = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
                (&["--auth", "kubernetes", "--auth-audience", AUDIENCE], Some(authorization))
            }
        };
        let gateway = Gateway::start(&cluster, flags).await;
        let server = Server::new(format!("http://{}", gateway.address), authorization);
        server.until_ready(&["articles", "legacy", DEFAULT]).await;
        run(&server).await;
        assert_eq!(cluster.ids().await, [DEFAULT, "articles", "legacy"]);
    })
    .await;
}

/// Makes what the list takes for granted, and takes it away again however the test ends.
async fn against_a_running_server(server: &Server) {
    for id in ["articles", "legacy"] {
        assert!(
            !server.has(id).await,
            "the server has an endpoint [{id}], which would be overwritten: remove it first"
        );
    }
    let before = server.ids().await;
    server
        .make("articles", r#"{"service":"elasticsearch","service_settings":{"model_id":".elser_model_2","num_allocations":1,"num_threads":1}}"#)
        .await;
    server
        .make("legacy", r#"{"service":"elser","service_settings":{"num_threads":1,"adaptive_allocations":{"enabled":true,"min_number_of_allocations":0,"max_number_of_allocations":32}}}"#)
        .await;
    let ended = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(run(server))).await;
    for id in server.ids().await {
        if !before.contains(&id) {
            server.remove(&id).await;
        }
    }
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
    assert_eq!(server.ids().await, before);
}

async fn run(server: &Server) {
    let has_default = server.has(DEFAULT).await;
    let before = server.ids().await;
    let mut tally = Tally::default();
    for case in Case::all() {
        if tally.runs(&case, server.has_credentials(), obstacle(&case, has_default)) {
            tally.count(server.outcome(&case).await);
        }
    }
    assert_eq!(server.ids().await, before, "requests that store nothing stored something");
    for Life { name, steps } in Life::all() {
        for step in steps {
            if tally.runs(&step, server.has_credentials(), None) {
                tally.count(server.outcome(&step).await.map(|wrong| format!("{name}: {wrong}")));
            }
        }
    }
    assert_eq!(server.ids().await, before, "an endpoint was left behind");
    tally.finish("conformance");
}

fn obstacle(case: &Case, has_default: bool) -> Option<&'static str> {
    let request = case.request(None);
    if request.uri().path().contains(DEFAULT) && !has_default {
        return Some("the server has no default endpoint");
    }
    // A server may answer, and close, before it has read all of a body. The router's own tests run these.
    (request.body().len() > 1 << 20)
        .then_some("hyper's client reads no answer that comes before its body is sent")
}
