//! POST to an endpoint at zero: held, one patch, answered. The test plays the controller that sees the patch.

use std::net::SocketAddr;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use lexiscale_core::name::object_name;
use lexiscale_crds::InferenceEndpoint;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, with_namespace};
use crate::harness::{Answer, Gateway};
use crate::proxy::Proxy;
use crate::worker::{Behaviour, EMBEDDING, Worker};

const PATH: &str = "/_inference/articles?timeout=60s";
const INPUT: &str = r#"{"input":"Kubernetes"}"#;
const WAKE: &str = "inference.lexiscale.io/wake-requested-at";

fn asked(endpoint: &InferenceEndpoint) -> Option<String> {
    endpoint.annotations().get(WAKE).cloned()
}

impl Cluster {
    /// An adaptive endpoint that the controller has put to zero.
    pub(crate) async fn make_idle(&self, id: &str) {
        let settings =
            json!({"modelId": ".elser_model_2", "numThreads": 1, "adaptiveAllocations": {"enabled": true}});
        self.make(id, "elasticsearch", settings).await;
        self.becomes_ready(id, 0).await;
        self.decides(id, 0, "Idle", None).await;
    }

    async fn decides(&self, id: &str, allocations: i32, reason: &str, noted: Option<&str>) {
        let mut decision: Value = json!({"allocations": allocations, "reason": reason, "message": "m", "time": "2026-01-01T00:00:00Z"});
        if let Some(noted) = noted {
            decision["wakeRequestedAt"] = json!(noted);
        }
        let patch = Patch::Merge(json!({"status": {"decision": decision}}));
        self.endpoints().patch_status(&object_name(id), &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits for the wake-up that is not `noted`, and returns it.
    pub(crate) async fn wake_up(&self, id: &str, noted: Option<&str>) -> String {
        let name = object_name(id);
        let noted = noted.map(str::to_owned);
        let is_new = move |object: Option<&InferenceEndpoint>| {
            object.is_some_and(|object| asked(object).is_some_and(|asked| Some(asked) != noted))
        };
        let woken = await_condition(self.endpoints(), &name, is_new);
        let object = tokio::time::timeout(PATIENCE, woken).await.unwrap().unwrap().unwrap();
        asked(&object).unwrap()
    }

    /// What controller and kubelet do about a wake-up.
    pub(crate) async fn answers(&self, id: &str, asked: &str, pods: &[SocketAddr]) {
        self.decides(id, 1, "WokenUp", Some(asked)).await;
        self.routes(id, pods).await;
    }

    async fn annotation(&self, id: &str) -> Option<String> {
        asked(&self.endpoints().get(&object_name(id)).await.unwrap())
    }
}

fn milliseconds(answer: &Answer) -> u64 {
    answer.header("x-inference-cold-start-ms").parse().unwrap()
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_once_over_two_gateways_are_all_answered_and_cost_one_patch() {
    with_namespace(|cluster| async move {
        cluster.make_idle("articles").await;
        let (proxy, behind) = Proxy::start(&cluster).await;
        let gateways = [Gateway::start(&behind, &[]).await, Gateway::start(&behind, &[]).await];
        let worker = Worker::start(Behaviour::Embeds).await;
        let requests = join_all((0..500).flat_map(|_| &gateways).map(|gateway| gateway.post(PATH, INPUT)));
        let wake = async {
            let wake_up = cluster.wake_up("articles", None).await;
            for gateway in &gateways {
                let are_held = async || gateway.metrics().await.contains(&format!("{} 500", held(&cluster)));
                gateway.until("all are held", are_held).await;
            }
            cluster.answers("articles", &wake_up, &[worker.address]).await;
            wake_up
        };
        let (answers, wake_up) = tokio::join!(requests, wake);
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), answer.text()), (200, EMBEDDING));
            assert!(milliseconds(answer) > 0);
        }
        assert_eq!(proxy.patches().0, 1, "{:?}", proxy.patches());
        assert_eq!(cluster.annotation("articles").await, Some(wake_up.clone()));
        let mut metrics = String::new();
        for gateway in &gateways {
            metrics += &gateway.metrics().await;
        }
        assert_eq!(metrics.matches(r#"outcome="Here"} 1"#).count(), 1);
        assert_eq!(metrics.matches("lexiscale_gateway_wake_decision_seconds_count 1").count(), 1);

        // It sleeps again, and is woken again.
        cluster.routes("articles", &[]).await;
        cluster.decides("articles", 0, "Idle", Some(&wake_up)).await;
        let wake = async {
            let again = cluster.wake_up("articles", Some(&wake_up)).await;
            cluster.answers("articles", &again, &[worker.address]).await;
        };
        // Until the watch has shown it, the pod of before may still be asked, and answers.
        let gone = async || {
            let metrics = gateways[0].metrics().await;
            gateways[0].get("/_inference/articles").await.header("x-inference-state") == "idle"
                && !metrics.is_empty()
        };
        gateways[0].until("the endpoint is idle", gone).await;
        let (answer, ()) = tokio::join!(gateways[0].post(PATH, INPUT), wake);
        assert_eq!(answer.status, 200);
        assert_eq!(proxy.patches().0, 2);
    })
    .await;
}

pub(crate) fn held(cluster: &Cluster) -> String {
    format!(r#"lexiscale_gateway_requests_held{{namespace="{}",endpoint="articles"}}"#, cluster.namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_wait_is_told_when_to_come_again() {
    with_namespace(|cluster| async move {
        cluster.make_idle("articles").await;
        let gateway = Gateway::start(&cluster, &["--max-held", "1"]).await;
        let second = async {
            cluster.wake_up("articles", None).await;
            gateway.post(PATH, INPUT).await
        };
        let (first, second) = tokio::join!(gateway.post("/_inference/articles?timeout=3s", INPUT), second);
        assert_eq!(first.error(), (408, "status_exception".to_owned()));
        // Of 15 seconds, less the three that it waited and what a busy machine adds.
        assert!((1..=12).contains(&retry_after(&first)), "{}", retry_after(&first));
        assert_eq!(second.error(), (429, "es_rejected_execution_exception".to_owned()));
        assert!((1..=15).contains(&retry_after(&second)), "{}", retry_after(&second));
        assert_eq!(second.header("x-inference-cold-start-ms"), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_did_not_wait_says_nothing_of_a_start() {
    with_namespace(|cluster| async move {
        cluster.make_idle("articles").await;
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.answers("articles", "2026-01-01T00:00:00Z", &[worker.address]).await;
        let (proxy, behind) = Proxy::start(&cluster).await;
        let gateway = Gateway::start(&behind, &[]).await;
        let answer = gateway.post(PATH, INPUT).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-inference-cold-start-ms")), (200, ""));
        assert_eq!(proxy.patches(), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_refuses_for_a_while_costs_no_request() {
    with_namespace(|cluster| async move {
        cluster.make_idle("articles").await;
        let (proxy, behind) = Proxy::start(&cluster).await;
        proxy.refuse(true);
        let gateway = Gateway::start(&behind, &[]).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        let wake = async {
            gateway.until("some attempts were made", async || proxy.patches().1 >= 3).await;
            proxy.refuse(false);
            let wake_up = cluster.wake_up("articles", None).await;
            cluster.answers("articles", &wake_up, &[worker.address]).await;
        };
        let (answer, ()) = tokio::join!(gateway.post(PATH, INPUT), wake);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, EMBEDDING));
        assert_eq!(proxy.patches().0, 1);
    })
    .await;
}

/// A default endpoint is one that nobody made by PUT; at zero it is like any other.
#[tokio::test(flavor = "multi_thread")]
async fn the_default_endpoint_is_woken_by_its_id() {
    with_namespace(|cluster| async move {
        let id = ".elser-2-elasticsearch";
        cluster.make_idle(id).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        let shown = gateway.get(&format!("/_inference/{id}")).await;
        assert_eq!((shown.status.as_u16(), shown.header("x-inference-state")), (200, "idle"));
        let worker = Worker::start(Behaviour::Embeds).await;
        let wake = async {
            let wake_up = cluster.wake_up(id, None).await;
            cluster.answers(id, &wake_up, &[worker.address]).await;
        };
        let path = format!("/_inference/sparse_embedding/{id}?timeout=60s");
        let (answer, ()) = tokio::join!(gateway.post(&path, INPUT), wake);
        assert_eq!(answer.status, 200);
    })
    .await;
}

/// The wake-up is in the object and not in the gateway: what one gateway asked for, its successor waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_restarts_loses_no_held_request() {
    with_namespace(|cluster| async move {
        cluster.make_idle("articles").await;
        let (proxy, behind) = Proxy::start(&cluster).await;
        let old = Gateway::start(&behind, &["--drain-timeout", "60s"]).await;
        let worker = Worker::start(Behaviour::Embeds).await;
        let restart = async {
            let wake_up = cluster.wake_up("articles", None).await;
            old.shutdown.cancel();
            let new = Gateway::start(&behind, &[]).await;
            let wake = async {
                let is_held = async || new.metrics().await.contains(&format!("{} 1", held(&cluster)));
                new.until("the new one holds one, too", is_held).await;
                cluster.answers("articles", &wake_up, &[worker.address]).await;
            };
            tokio::join!(new.post(PATH, INPUT), wake).0
        };
        let (first, second) = tokio::join!(old.post(PATH, INPUT), restart);
        assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
        assert_eq!(proxy.patches().0, 1);
    })
    .await;
}
