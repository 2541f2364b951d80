//! The API server, a namespace for each test, and the parts of the controller and the kubelet that a test
//! plays.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use lexiscale_core::name::{child_name, object_name};
use lexiscale_crds::{InferenceEndpoint, manifests};
use serde_json::{Value, json};

/// Far above what anything here takes: a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps an operator that is installed in the cluster away from the objects of these tests, which play its part.
pub(crate) const INSTANCE: &str = "gateway-tests";

#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// Runs a test in a namespace of its own, which is deleted however the test ends.
pub(crate) async fn with_namespace<F: Future<Output = ()>>(test: impl FnOnce(Cluster) -> F) {
    let client = client().await;
    install_crds(&client).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let wanted = serde_json::from_value(json!({"metadata": {"generateName": "gateway-test-"}})).unwrap();
    let namespace = namespaces.create(&PostParams::default(), &wanted).await.unwrap().name_any();
    let cluster = Cluster { client, namespace: namespace.clone() };
    let ended = AssertUnwindSafe(test(cluster)).catch_unwind().await;
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

pub(crate) fn kubeconfig() -> PathBuf {
    std::env::var_os("KUBECONFIG").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cluster/kubeconfig"),
        PathBuf::from,
    )
}

/// How the tests reach the API server.
pub(crate) async fn config() -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig()).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

async fn client() -> Client {
    let path = kubeconfig();
    let unreachable = |error: &dyn std::fmt::Display| -> ! {
        panic!("no cluster by {}: {error}; run `make cluster-up`, or set KUBECONFIG", path.display())
    };
    let kubeconfig = Kubeconfig::read_from(&path).unwrap_or_else(|error| unreachable(&error));
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = Client::try_from(config.unwrap_or_else(|error| unreachable(&error))).unwrap();
    if let Err(error) = client.apiserver_version().await {
        unreachable(&error);
    }
    client
}

pub(crate) async fn install_crds(client: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in manifests::all() {
        let parameters = PatchParams::apply("lexiscale-operator").force();
        crds.patch(&crd.name_any(), &parameters, &Patch::Apply(&crd)).await.unwrap();
        let name = crd.name_any();
        let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
    }
}

/// An address of this machine that a slice may hold: the API server refuses loopback ones. Nothing is sent.
pub(crate) fn local_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a route to somewhere, which a machine that runs a node has");
    socket.local_addr().unwrap().ip()
}

impl Cluster {
    pub(crate) fn endpoints(&self) -> Api<InferenceEndpoint> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn ids(&self) -> Vec<String> {
        let list = self.endpoints().list(&ListParams::default()).await.unwrap();
        let mut ids: Vec<_> = list.iter().map(|endpoint| endpoint.inference_id().to_owned()).collect();
        ids.sort();
        ids
    }

    /// As `kubectl apply` would make it.
    pub(crate) async fn make(&self, id: &str, service: &str, settings: Value) {
        let name = object_name(id);
        let endpoint = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"inference.lexiscale.io/operator": INSTANCE}},
            "spec": {"inferenceId": (name != id).then_some(id), "taskType": "sparse_embedding", "service": service, "serviceSettings": settings},
        }));
        self.endpoints().create(&PostParams::default(), &endpoint.unwrap()).await.unwrap();
    }

    /// Waits until the object is there.
    pub(crate) async fn appears(&self, id: &str) -> InferenceEndpoint {
        let name = object_name(id);
        let there =
            await_condition(self.endpoints(), &name, |object: Option<&InferenceEndpoint>| object.is_some());
        tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap().unwrap()
    }

    /// The controller's word that the endpoint serves.
    pub(crate) async fn becomes_ready(&self, id: &str, allocations: i32) {
        self.report(id, "Ready", "Serving", "", allocations).await;
    }

    /// The controller's word that it cannot go on.
    pub(crate) async fn stalls(&self, id: &str, reason: &str, message: &str) {
        self.report(id, "Stalled", reason, message, 0).await;
    }

    async fn report(&self, id: &str, kind: &str, reason: &str, message: &str, allocations: i32) {
        let generation = self.appears(id).await.metadata.generation;
        let status = json!({"status": {
            "observedGeneration": generation,
            "allocations": {"desired": allocations, "current": allocations, "ready": allocations},
            "conditions": [{"type": kind, "status": "True", "reason": reason, "message": message,
                            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }});
        let patch = Patch::Merge(status);
        self.endpoints().patch_status(&object_name(id), &PatchParams::default(), &patch).await.unwrap();
    }

    /// The kubelet's word where the endpoint's ready pods are.
    pub(crate) async fn routes(&self, id: &str, pods: &[SocketAddr]) {
        self.routes_by("http", id, pods).await;
    }

    /// The same, of pods that name their port otherwise.
    pub(crate) async fn routes_by(&self, port_name: &str, id: &str, pods: &[SocketAddr]) {
        self.lists(port_name, id, pods, true).await;
    }

    /// Pods that the kubelet has not found ready.
    pub(crate) async fn lists_starting(&self, id: &str, pods: &[SocketAddr]) {
        self.lists("http", id, pods, false).await;
    }

    async fn lists(&self, port_name: &str, id: &str, pods: &[SocketAddr], are_ready: bool) {
        let service = child_name(&object_name(id));
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        // A slice has one port for all its addresses, a test has many ports on one address.
        slices
            .delete_collection(
                &DeleteParams::default(),
                &ListParams::default().labels(&format!("kubernetes.io/service-name={service}")),
            )
            .await
            .unwrap();
        for pod in pods {
            let slice = serde_json::from_value(json!({
                "metadata": {"generateName": format!("{service}-"), "labels": {
                    "kubernetes.io/service-name": service, "inference.lexiscale.io/endpoint": object_name(id),
                }},
                "addressType": "IPv4",
                "ports": [{"name": port_name, "port": pod.port(), "protocol": "TCP"}],
                "endpoints": [{"addresses": [pod.ip().to_string()], "conditions": {"ready": are_ready}}],
            }));
            slices.create(&PostParams::default(), &slice.unwrap()).await.unwrap();
        }
    }
}
