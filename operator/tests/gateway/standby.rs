//! Standby allocations over a real gateway: who is lent when, and what the controller is told.

use std::net::SocketAddr;

use futures::future::join_all;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use lexiscale_core::name::standby_child_name;
use serde_json::json;

use crate::cluster::{Cluster, with_namespace};
use crate::harness::Gateway;
use crate::proxy::Proxy;
use crate::worker::{Behaviour, Worker};

const PATH: &str = "/_inference/articles";
const INPUT: &str = r#"{"input":"Kubernetes"}"#;
const BURST: &str = "inference.lexiscale.io/burst-at";

impl Cluster {
    /// An adaptive endpoint whose standby is `pod`.
    async fn make_with_standby(&self, own: SocketAddr, standby: SocketAddr) {
        let settings =
            json!({"modelId": ".elser_model_2", "numThreads": 1, "adaptiveAllocations": {"enabled": true}});
        self.make("articles", "elasticsearch", settings).await;
        self.becomes_ready("articles", 1).await;
        self.routes("articles", &[own]).await;
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let service = standby_child_name("articles");
        let slice = serde_json::from_value(json!({
            "metadata": {"generateName": format!("{service}-"), "labels": {
                "kubernetes.io/service-name": service,
                "inference.lexiscale.io/endpoint": "articles",
                "inference.lexiscale.io/standby": "true",
            }},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": standby.port(), "protocol": "TCP"}],
            "endpoints": [{"addresses": [standby.ip().to_string()], "conditions": {"ready": true}}],
        }));
        slices.create(&PostParams::default(), &slice.unwrap()).await.unwrap();
    }

    async fn burst(&self) -> Option<String> {
        self.appears("articles").await.annotations().get(BURST).cloned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_left_alone_until_the_others_are_busy() {
    with_namespace(|cluster| async move {
        let (own, standby) = (Worker::start(Behaviour::Embeds).await, Worker::start(Behaviour::Embeds).await);
        cluster.make_with_standby(own.address, standby.address).await;
        let gateway = Gateway::start(&cluster, &[]).await;
        for _ in 0..20 {
            assert_eq!(gateway.post(PATH, INPUT).await.status, 200);
        }
        assert_eq!((own.asked().len(), standby.asked().len()), (20, 0));
        assert_eq!(cluster.burst().await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_burst_it_answers_and_the_controller_is_told_once() {
    with_namespace(|cluster| async move {
        // The own allocation answers nothing any more: whatever is answered, the standby has answered.
        let (own, standby) = (Worker::start(Behaviour::Waits).await, Worker::start(Behaviour::Embeds).await);
        cluster.make_with_standby(own.address, standby.address).await;
        let (proxy, behind) = Proxy::start(&cluster).await;
        let gateway = Gateway::start(&behind, &["--slots-per-allocation", "1"]).await;
        let stuck = gateway.post("/_inference/articles?timeout=60s", INPUT);
        let burst = async {
            gateway.until("the own allocation is busy", async || own.asked().len() == 1).await;
            gateway
                .until("the controller is told", async || {
                    let answers = join_all((0..4).map(|_| gateway.post(PATH, INPUT))).await;
                    assert!(answers.iter().all(|answer| answer.status == 200));
                    cluster.burst().await.is_some()
                })
                .await;
            for _ in 0..50 {
                gateway.post(PATH, INPUT).await;
            }
        };
        tokio::select! {
            answer = stuck => panic!("nobody answers it: {answer:?}"),
            () = burst => {}
        }
        assert!(standby.asked().len() >= 50);
        assert_eq!(proxy.patches().0, 1, "{:?}", proxy.patches());
    })
    .await;
}
