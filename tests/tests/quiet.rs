//! A controller that has converged writes nothing: no object of an endpoint changes for a minute.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use e2e::{Namespace, with_namespace};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Event, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Resource, ResourceExt,
    api::{ListParams, PostParams},
    core::NamespaceResourceScope,
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde::de::DeserializeOwned;

/// Resource version of every object. It moves with every write that changes something; a server-side apply of what is there
/// already moves nothing, and is none of what these tests are about (`operator/tests/controller/convergence.rs` counts
/// requests).
type Versions = BTreeMap<String, String>;

async fn add<K>(namespace: &Namespace, versions: &mut Versions) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    for object in namespace.api::<K>().list(&ListParams::default()).await? {
        let key = format!("{}/{}", K::kind(&()), object.name_any());
        versions.insert(key, object.resource_version().unwrap_or_default());
    }
    Ok(())
}

async fn versions(namespace: &Namespace) -> Result<Versions> {
    let mut versions = Versions::new();
    add::<InferenceEndpoint>(namespace, &mut versions).await?;
    add::<ModelCache>(namespace, &mut versions).await?;
    add::<Deployment>(namespace, &mut versions).await?;
    add::<Job>(namespace, &mut versions).await?;
    add::<Pod>(namespace, &mut versions).await?;
    add::<PersistentVolumeClaim>(namespace, &mut versions).await?;
    add::<Service>(namespace, &mut versions).await?;
    add::<ServiceAccount>(namespace, &mut versions).await?;
    add::<NetworkPolicy>(namespace, &mut versions).await?;
    add::<PodDisruptionBudget>(namespace, &mut versions).await?;
    add::<Event>(namespace, &mut versions).await?;
    Ok(versions)
}

/// Whoever breaks this costs every cluster writes for ever, and GitOps tools a drift.
#[tokio::test]
async fn converges_and_then_writes_nothing_for_a_minute() -> Result<()> {
    with_namespace("quiet", async |namespace| {
        let endpoint: InferenceEndpoint = e2e::example("elser-adaptive.yaml")?;
        namespace.api().create(&PostParams::default(), &endpoint).await?;
        namespace.ready_endpoint(&endpoint.name_any()).await?;
        // The last of it: what a worker measures of itself when nobody asks it for anything.
        let is_sized = |endpoint: &InferenceEndpoint| {
            endpoint.status.as_ref().is_some_and(|status| status.sizing.is_some())
        };
        namespace.endpoint(&endpoint.name_any(), "tells its sizing", is_sized).await?;
        // The cluster's own controllers count pods and endpoints for a moment longer.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let before = versions(&namespace).await?;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let after = versions(&namespace).await?;
        ensure!(before == after, "before: {before:#?}\nafter: {after:#?}");
        Ok(())
    })
    .await
}
