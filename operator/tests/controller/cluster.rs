//! The cluster, a namespace for each test, and waiting.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
    time::Duration,
};

use futures::FutureExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Event, Namespace, Pod},
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use lexiscale_crds::{Conditions, InferenceEndpoint, ModelCache};
use serde::de::DeserializeOwned;
use tokio::{sync::OnceCell, time::Instant};

use crate::{operator::Operator, proxy::Proxy};

const PATIENCE: Duration = Duration::from_secs(40);

/// A namespace of the cluster, seen directly, while the operator sees it through a proxy.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) proxy: Proxy,
}

impl World {
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn get<K>(&self, name: &str) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api().get(name).await.unwrap()
    }

    pub(crate) async fn list<K>(&self) -> Vec<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api().list(&ListParams::default()).await.unwrap().items
    }

    /// Waits until the object is as asked.
    pub(crate) async fn until<K>(&self, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let mut last = None;
        let found = eventually(async || {
            last = self.api::<K>().get_opt(name).await.unwrap();
            last.clone().filter(|object| holds(object))
        });
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("{name} is not yet {what}: {last:#?}"))
    }

    /// Waits until the condition of this type has this status and reason, for the latest generation.
    pub(crate) async fn until_says<K>(&self, name: &str, condition: (&str, &str, &str)) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Conditions
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let (kind, status, reason) = condition;
        let what = format!("{kind}={status} because of {reason}");
        self.until(name, &what, |object: &K| {
            object.conditions().iter().any(|condition| {
                (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str())
                    == (kind, status, reason)
                    && condition.observed_generation == object.meta().generation
            })
        })
        .await
    }

    /// Waits until there are so many objects of a kind.
    pub(crate) async fn until_count<K>(&self, count: usize) -> Vec<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let mut seen = 0;
        let found = eventually(async || {
            let list = self.list::<K>().await;
            seen = list.len();
            (list.len() == count).then_some(list)
        });
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("there are {seen} {} instead of {count}", K::plural(&())))
    }

    /// Waits until the operator has written nothing for a while.
    pub(crate) async fn until_quiet(&self, quiet: Duration) {
        let deadline = Instant::now() + PATIENCE;
        while self.proxy.since_last_write() < quiet {
            assert!(Instant::now() < deadline, "still writing: {:#?}", self.proxy.writes());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn print_what_happened(&self) {
        for object in self.list::<InferenceEndpoint>().await {
            eprintln!("{}: {:#?}", object.name_any(), object.status);
        }
        for object in self.list::<ModelCache>().await {
            eprintln!("{}: {:#?}", object.name_any(), object.status);
        }
        for pod in self.list::<Pod>().await {
            eprintln!("pod {}: {:?}", pod.name_any(), pod.status.unwrap_or_default().phase);
        }
        for event in self.list::<Event>().await {
            let about = event.involved_object.name.unwrap_or_default();
            eprintln!(
                "event {about}: {} {}",
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            );
        }
        eprintln!("writes: {:#?}", self.proxy.writes());
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs a test in a namespace of its own, which is deleted afterwards; prints it first if the test fails.
pub(crate) async fn with_world(test: impl AsyncFnOnce(World)) {
    let client = client().await;
    let api: Api<Namespace> = Api::all(client.clone());
    let wanted = serde_json::from_value(serde_json::json!({
        "metadata": {"generateName": "operator-test-", "labels": {"lexiscale.io/test": "true"}},
    }));
    let namespace = api.create(&PostParams::default(), &wanted.unwrap()).await.unwrap().name_any();
    let proxy = Proxy::start(client.clone()).await;
    let world = World { client, namespace: namespace.clone(), proxy };
    let result = AssertUnwindSafe(test(world.clone())).catch_unwind().await;
    if result.is_err() {
        world.print_what_happened().await;
    }
    api.delete(&namespace, &DeleteParams::default()).await.unwrap();
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// The same with a controller running.
pub(crate) async fn with_operator(test: impl AsyncFnOnce(World)) {
    with_world(async |world| {
        let operator = Operator::start(&world, &[]);
        test(world).await;
        operator.stop().await;
    })
    .await;
}

async fn client() -> Client {
    static READY: OnceCell<()> = OnceCell::const_new();
    let path = kubeconfig();
    let kubeconfig = Kubeconfig::read_from(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}\nThese tests need a cluster: run `make cluster-up`, or set KUBECONFIG",
            path.display()
        )
    });
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    READY
        .get_or_init(async || {
            let settings = lexiscale_operator::crds_command::Settings { timeout_seconds: 30 };
            let applied = lexiscale_operator::crds_command::run(settings, client.clone()).await;
            applied.expect("the cluster is up: run `make cluster-up`, or set KUBECONFIG");
        })
        .await;
    client
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn kubeconfig() -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var("KUBECONFIG").map_or_else(|_| workspace.join("target/cluster/kubeconfig"), PathBuf::from)
}
