//! What a pass reads, all of it from the API server itself: a cache that lags behind the event which started the pass would
//! make it decide on the past, and nothing would start another.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use lexiscale_core::{
    children::{ChildKind, ChildObject, LiveChild},
    download,
    identity::Identity,
    labels,
    name::{child_name, label_value, standby_child_name},
    observed::{ObservedCache, ObservedEndpoint},
    sizing,
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use lexiscale_wire::Progress;
use serde::de::DeserializeOwned;

use super::{context::Context, error::Error, registry};
use crate::clock::now;

/// An endpoint and what belongs to it; nothing if it is gone or going.
pub(super) async fn endpoint(
    context: &Context,
    object: &InferenceEndpoint,
) -> Result<Option<ObservedEndpoint>, Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let reader = Reader { client: &context.client, namespace: &namespace };
    let Some(endpoint) = reader.get::<InferenceEndpoint>(&name, "the endpoint").await?.filter(is_here) else {
        return Ok(None);
    };
    let ours = format!("{}={}", labels::ENDPOINT, label_value(&name));
    let workers = labels::to_query(&labels::worker_selector(&name));
    let (caches, accounts, policies, services, budgets, deployments, pods) = tokio::try_join!(
        reader.list::<ModelCache>("", "model caches"),
        reader.list::<ServiceAccount>(&ours, "service accounts"),
        reader.list::<NetworkPolicy>(&ours, "network policies"),
        reader.list::<Service>(&ours, "services"),
        reader.list::<PodDisruptionBudget>(&ours, "pod disruption budgets"),
        reader.list::<Deployment>(&ours, "deployments"),
        reader.list::<Pod>(&workers, "worker pods"),
    )?;
    let identity = Identity::of(&endpoint, "InferenceEndpoint")?;
    let children =
        [live(&accounts), live(&policies), live(&services), live(&budgets), live(&deployments)].concat();
    let own = |child: &str| {
        let is_it =
            |deployment: &&Deployment| deployment.name_any() == child && identity.owns(&deployment.metadata);
        deployments.iter().find(is_it).cloned()
    };
    let deployment = own(&child_name(&name));
    let standby_deployment = own(&standby_child_name(&name));
    let peers = peers(context, &reader, &endpoint).await?;
    let standby_pods = standby_pods(&reader, &name, &children).await?;
    let largest_node = context.largest_node.as_ref().and_then(|largest| *largest.borrow());
    let sizing_asked = sizing::to_ask(&endpoint, deployment.as_ref(), &pods, now());
    let sizing_told = match &sizing_asked {
        Some(asked) => context.progress.sizing(asked).await,
        None => None,
    };
    Ok(Some(ObservedEndpoint {
        peers,
        caches,
        children,
        deployment,
        pods,
        standby_deployment,
        standby_pods,
        largest_node,
        sizing_asked,
        sizing_told,
        endpoint,
    }))
}

/// A cache and what belongs to it; nothing if it is gone or going.
pub(super) async fn model_cache(
    context: &Context,
    object: &ModelCache,
) -> Result<Option<ObservedCache>, Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let reader = Reader { client: &context.client, namespace: &namespace };
    let Some(cache) = reader.get::<ModelCache>(&name, "the cache").await?.filter(is_here) else {
        return Ok(None);
    };
    let ours = format!("{}={}", labels::MODEL_CACHE, label_value(&name));
    let downloads = labels::to_query(&labels::cache_selector(&name));
    let (endpoints, accounts, policies, claims, jobs) = tokio::try_join!(
        reader.list::<InferenceEndpoint>("", "endpoints"),
        reader.list::<ServiceAccount>(&ours, "service accounts"),
        reader.list::<NetworkPolicy>(&ours, "network policies"),
        reader.list::<PersistentVolumeClaim>(&ours, "volume claims"),
        reader.list::<Job>(&ours, "jobs"),
    )?;
    // After the Jobs: when a Job has ended, its pod already says how.
    let pods = reader.list::<Pod>(&downloads, "download pods").await?;
    let children = [live(&accounts), live(&policies), live(&claims)].concat();
    let progress = progress(context, &jobs, &pods).await;
    let siblings = match context.settings.cache_limit {
        Some(_) => reader.list::<ModelCache>("", "model caches").await?,
        None => Vec::new(),
    };
    let (nodes, registry) = registry::observe(context, &cache).await;
    Ok(Some(ObservedCache {
        siblings,
        endpoints,
        children,
        claims,
        jobs,
        pods,
        progress,
        nodes,
        registry,
        cache,
    }))
}

/// Asked for only where there are any: most endpoints have none, and a pass is mostly its reads.
async fn standby_pods(
    reader: &Reader<'_>,
    endpoint: &str,
    children: &[LiveChild],
) -> Result<Vec<Pod>, Error> {
    let name = standby_child_name(endpoint);
    if !children.iter().any(|child| child.kind() == ChildKind::Deployment && child.name() == Some(&name)) {
        return Ok(Vec::new());
    }
    let selector = labels::to_query(&labels::standby_selector(endpoint));
    reader.list::<Pod>(&selector, "standby pods").await
}

struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Reader<'_> {
    async fn get<K>(&self, name: &str, what: &'static str) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        api.get_opt(name).await.map_err(|source| Error::Read { what, source })
    }

    async fn list<K>(&self, selector: &str, what: &'static str) -> Result<Vec<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let list = api.list(&ListParams::default().labels(selector)).await;
        Ok(list.map_err(|source| Error::Read { what, source })?.items)
    }
}

/// The endpoints that share an inference id with this one, and the one that it is attached to. The watch knows them; whoever it names is read anew, because it
/// may have gone a moment ago.
async fn peers(
    context: &Context,
    reader: &Reader<'_>,
    endpoint: &InferenceEndpoint,
) -> Result<Vec<InferenceEndpoint>, Error> {
    let id = endpoint.inference_id();
    let deployment = endpoint.spec.service_settings.deployment_id.as_deref();
    let candidates = context.endpoints.state().into_iter().filter(|peer| {
        peer.metadata.namespace == endpoint.metadata.namespace
            && peer.metadata.name != endpoint.metadata.name
            && (peer.inference_id() == id || Some(peer.inference_id()) == deployment)
    });
    let mut peers = Vec::new();
    for candidate in candidates {
        peers.extend(
            reader.get::<InferenceEndpoint>(&candidate.name_any(), "an endpoint of the same id").await?,
        );
    }
    Ok(peers)
}

/// How far the running download is. A download that does not answer is no failure: it may have begun or ended just now.
async fn progress(context: &Context, jobs: &[Job], pods: &[Pod]) -> Option<Progress> {
    let unfinished = |job: &&Job| job.status.as_ref().is_none_or(|status| status.completion_time.is_none());
    let pod = jobs.iter().filter(unfinished).find_map(|job| running(download::pod_of(job, pods)?))?;
    context.progress.get(pod).await
}

/// The address of a pod that runs.
fn running(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
    status.pod_ip.as_deref()
}

fn live<K: ChildObject>(objects: &[K]) -> Vec<LiveChild> {
    objects.iter().map(LiveChild::new).collect()
}

fn is_here<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_none()
}
