//! A namespace for each test, so that tests cannot see each other. It is deleted after a success; after a failure its pods,
//! events and logs are printed first.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Namespace as KubeNamespace, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, LogParams, ObjectMeta, PostParams},
    core::NamespaceResourceScope,
};

use crate::{client, eventually};

/// A namespace of a test, with a client.
#[derive(Clone)]
pub struct Namespace {
    /// Client of the cluster.
    pub client: Client,
    /// Name of the namespace.
    pub name: String,
}

impl Namespace {
    /// The objects of one kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    async fn print_what_happened(&self) -> Result<()> {
        for pod in self.api::<Pod>().list(&ListParams::default()).await? {
            eprintln!("pod {}: {}", pod.name_any(), serde_json::to_string(&pod.status)?);
            let last_lines = LogParams { tail_lines: Some(30), ..LogParams::default() };
            match self.api::<Pod>().logs(&pod.name_any(), &last_lines).await {
                Ok(log) => eprintln!("{log}"),
                Err(error) => eprintln!("no log: {error}"),
            }
        }
        for event in self.api::<Event>().list(&ListParams::default()).await? {
            let about = event.involved_object.name.unwrap_or_default();
            eprintln!(
                "event {about}: {} {}",
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            );
        }
        Ok(())
    }
}

/// Runs a test in a namespace of its own.
pub async fn with_namespace(prefix: &str, test: impl AsyncFnOnce(Namespace) -> Result<()>) -> Result<()> {
    let client = client().await?;
    let api: Api<KubeNamespace> = Api::all(client.clone());
    let wanted = KubeNamespace {
        metadata: ObjectMeta {
            generate_name: Some(format!("e2e-{prefix}-")),
            labels: Some([("lexiscale.io/test".to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..KubeNamespace::default()
    };
    let name =
        api.create(&PostParams::default(), &wanted).await.context("failed to create a namespace")?.name_any();
    let namespace = Namespace { client, name: name.clone() };

    let result = test(namespace.clone()).await;
    if result.is_err()
        && let Err(error) = namespace.print_what_happened().await
    {
        eprintln!("failed to show what happened in {name}: {error}");
    }
    api.delete(&name, &DeleteParams::default()).await.context("failed to delete the namespace")?;
    result?;
    eventually("the namespace is gone", Duration::from_mins(2), async || {
        Ok(api.get_opt(&name).await?.is_none())
    })
    .await
}
