//! The only file that writes: by forced server-side apply, under one field manager, in the order of the plan.
//!
//! One exception to the one manager: an endpoint joins a shared cache under a manager of its own, so that its owner
//! reference is its own to give and to take back (see `lexiscale_core::desired::model_cache`).

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::Status,
};
use lexiscale_core::{
    children::{Child, ChildKind, Doomed},
    desired::deployment::CONTAINER,
    identity::Identity,
    labels,
    observed::Rejection,
    plan::Write,
    standby::Resize,
    started::Started,
};
use lexiscale_crds::ModelCache;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    error::chain,
    metrics::{Metrics, Verb},
};
use crate::leader::Fence;

#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error("failed to write {what}")]
    Write { what: String, source: kube::Error },
    #[error("refused to write {what}: the lease has run out")]
    NotLeader { what: String },
}

/// Carries out plans.
#[derive(Clone)]
pub(super) struct Applier {
    client: Client,
    fence: Fence,
    metrics: Metrics,
}

impl Applier {
    pub(super) fn new(client: Client, fence: Fence, metrics: Metrics) -> Self {
        Self { client, fence, metrics }
    }

    /// Carries out a plan. What the API server refuses on its merits is returned, and the rest of the plan still done: one
    /// forbidden child is no reason to leave the others out.
    pub(super) async fn carry_out(
        &self,
        owner: &Identity,
        writes: &[Write],
    ) -> Result<Vec<Rejection>, ApplyError> {
        let mut rejections = Vec::new();
        for write in writes {
            if let Some(rejection) = self.write(owner, write).await? {
                rejections.push(rejection);
            }
        }
        Ok(rejections)
    }

    /// Writes the status of one of our own objects.
    pub(super) async fn status<K, S>(&self, owner: &Identity, status: &S) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        S: Serialize,
    {
        let what = format!("status of {} {}", owner.kind(), owner.name());
        self.check_lease(&what)?;
        let api: Api<K> = Api::namespaced(self.client.clone(), owner.namespace());
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": owner.kind(),
            // The uid keeps a pass over a deleted object from speaking for its namesake.
            "metadata": {"name": owner.name(), "uid": owner.uid()},
            "status": status,
        });
        match api.patch_status(owner.name(), &manager(labels::MANAGER), &Patch::Apply(&patch)).await {
            Ok(_) => self.metrics.wrote(owner.kind(), Verb::Status),
            Err(error) if is_gone(&error) => {}
            Err(source) => return Err(ApplyError::Write { what, source }),
        }
        Ok(())
    }

    /// Changes the CPU requests of running pods. Returns what kept it from that, if anything did: a cluster older than the
    /// resizing of pods, a quota, a policy, an API server that is in trouble. Nobody waits for it, so the pass goes on.
    pub(super) async fn resize(
        &self,
        owner: &Identity,
        resizes: &[Resize],
    ) -> Result<Option<String>, ApplyError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), owner.namespace());
        let mut refused = None;
        for resize in resizes {
            let Resize { pod, uid, resources, cpu } = resize;
            let what = format!("request of {cpu} CPU of Pod {pod}");
            self.check_lease(&what)?;
            // The uid keeps the patch from a namesake.
            let patch = json!({
                "metadata": {"uid": uid},
                "spec": {"containers": [{"name": CONTAINER, "resources": resources}]},
            });
            match api
                .patch_subresource("resize", pod, &PatchParams::default(), &Patch::Strategic(patch))
                .await
            {
                Ok(_) => {
                    tracing::info!(
                        namespace = owner.namespace(),
                        name = owner.name(),
                        "resize {pod} to {cpu} CPU"
                    );
                    self.metrics.wrote("Pod", Verb::Resize);
                }
                Err(kube::Error::Api(status)) if is_lost(&status) => {}
                Err(kube::Error::Api(status)) => {
                    self.metrics.rejected("Pod", Verb::Resize);
                    refused = Some(status.message.clone());
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(
                        namespace = owner.namespace(),
                        name = owner.name(),
                        error,
                        "no answer to a resize"
                    );
                    refused = Some(error);
                    // The others would only wait for none as well, and the status behind them.
                    break;
                }
            }
        }
        Ok(refused)
    }

    /// Notes on a pod that its container runs. It only makes it ready a little sooner, so whatever keeps it from that is counted,
    /// and nothing else depends on it.
    pub(super) async fn note(&self, namespace: &str, started: &Started) {
        let Started { pod, uid, container } = started;
        if !self.fence.permits() {
            return;
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        // The uid keeps the patch from a namesake.
        let patch = json!({"metadata": {"uid": uid, "annotations": {labels::STARTED: container}}});
        match api.patch(pod, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => self.metrics.wrote("Pod", Verb::Annotate),
            Err(kube::Error::Api(status)) if is_lost(&status) => {}
            Err(error) => {
                self.metrics.rejected("Pod", Verb::Annotate);
                tracing::debug!(namespace, pod, error = chain(&error), "could not note that it has started");
            }
        }
    }

    async fn write(&self, owner: &Identity, write: &Write) -> Result<Option<Rejection>, ApplyError> {
        let what = describe(write);
        self.check_lease(&what)?;
        let (kind, verb) = labels_of(write);
        let result = match write {
            Write::JoinCache(cache) => self.join(owner, cache).await,
            Write::LeaveCache { name, uid } => self.leave(owner, name, uid).await,
            Write::DiscardCache { name, uid, resource_version } => {
                self.discard(owner, name, uid, resource_version).await
            }
            Write::Apply(child) => match self.apply(owner, child).await {
                Ok(None) => Ok(()),
                Ok(Some(taken)) => {
                    self.metrics.rejected(kind, verb);
                    return Ok(Some(taken));
                }
                Err(error) => Err(error),
            },
            Write::Scale { deployment, replicas } => self.scale(owner, deployment, *replicas).await,
            Write::Delete(doomed) => self.delete(owner, doomed).await,
        };
        match result {
            Ok(()) => {
                tracing::info!(
                    kind = owner.kind(),
                    namespace = owner.namespace(),
                    name = owner.name(),
                    "{what}"
                );
                self.metrics.wrote(kind, verb);
                Ok(None)
            }
            Err(kube::Error::Api(status)) if is_rejection(&status) => {
                self.metrics.rejected(kind, verb);
                Ok(Some(Rejection { child: what, message: status.message.clone() }))
            }
            Err(source) => Err(ApplyError::Write { what, source }),
        }
    }

    async fn apply(&self, owner: &Identity, child: &Child) -> kube::Result<Option<Rejection>> {
        let api = self.children(owner, child.kind());
        let live = api.get_metadata_opt(child.name()).await?;
        if live.is_some_and(|live| is_taken(owner, &live.metadata)) {
            let child = format!("{} {}", child.kind().as_str(), child.name());
            let message =
                "it exists already and belongs to somebody else; rename or delete one of the two".to_owned();
            return Ok(Some(Rejection { child, message }));
        }
        api.patch(child.name(), &manager(labels::MANAGER), &Patch::Apply(child.manifest())).await?;
        Ok(None)
    }

    async fn scale(&self, owner: &Identity, deployment: &str, replicas: u32) -> kube::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), owner.namespace());
        let patch = json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": deployment, "namespace": owner.namespace()},
            "spec": {"replicas": replicas},
        });
        api.patch_scale(deployment, &manager(labels::MANAGER), &Patch::Apply(&patch)).await?;
        Ok(())
    }

    async fn join(&self, owner: &Identity, cache: &ModelCache) -> kube::Result<()> {
        let api: Api<ModelCache> = Api::namespaced(self.client.clone(), owner.namespace());
        api.patch(&cache.name_any(), &manager(&member(owner)), &Patch::Apply(cache)).await?;
        Ok(())
    }

    async fn leave(&self, owner: &Identity, name: &str, uid: &str) -> kube::Result<()> {
        let api: Api<ModelCache> = Api::namespaced(self.client.clone(), owner.namespace());
        // Applying nothing takes back everything that only this member had applied: its owner reference.
        let nothing = json!({
            "apiVersion": ModelCache::api_version(&()),
            "kind": ModelCache::kind(&()),
            "metadata": {"name": name, "uid": uid},
        });
        match api.patch(name, &manager(&member(owner)), &Patch::Apply(&nothing)).await {
            Err(error) if !is_gone(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn discard(
        &self,
        owner: &Identity,
        name: &str,
        uid: &str,
        resource_version: &str,
    ) -> kube::Result<()> {
        let api: Api<ModelCache> = Api::namespaced(self.client.clone(), owner.namespace());
        let preconditions =
            Preconditions { uid: Some(uid.to_owned()), resource_version: Some(resource_version.to_owned()) };
        let parameters = DeleteParams::background().preconditions(preconditions);
        gone_is_fine(api.delete(name, &parameters).await)
    }

    async fn delete(&self, owner: &Identity, doomed: &Doomed) -> kube::Result<()> {
        let Doomed { kind, name, uid } = doomed;
        let propagation_policy = match kind {
            // A Job must not seem gone while its pod still writes to the volume.
            ChildKind::Job => PropagationPolicy::Foreground,
            ChildKind::ServiceAccount
            | ChildKind::NetworkPolicy
            | ChildKind::Service
            | ChildKind::PodDisruptionBudget
            | ChildKind::PersistentVolumeClaim
            | ChildKind::Deployment => PropagationPolicy::Background,
        };
        let parameters = DeleteParams {
            propagation_policy: Some(propagation_policy),
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        gone_is_fine(self.children(owner, *kind).delete(name, &parameters).await)
    }

    fn children(&self, owner: &Identity, kind: ChildKind) -> Api<DynamicObject> {
        let resource = match kind {
            ChildKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            ChildKind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            ChildKind::Service => ApiResource::erase::<Service>(&()),
            ChildKind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            ChildKind::PersistentVolumeClaim => ApiResource::erase::<PersistentVolumeClaim>(&()),
            ChildKind::Job => ApiResource::erase::<Job>(&()),
            ChildKind::Deployment => ApiResource::erase::<Deployment>(&()),
        };
        Api::namespaced_with(self.client.clone(), owner.namespace(), &resource)
    }

    fn check_lease(&self, what: &str) -> Result<(), ApplyError> {
        if self.fence.permits() { Ok(()) } else { Err(ApplyError::NotLeader { what: what.to_owned() }) }
    }
}

fn manager(name: &str) -> PatchParams {
    PatchParams::apply(name).force()
}

/// The field manager of an endpoint as a member of shared caches.
fn member(endpoint: &Identity) -> String {
    format!("{}/{}", labels::MANAGER, endpoint.uid())
}

/// True when an object of this name is neither ours nor made by any version of this operator: applying would seize it.
fn is_taken(owner: &Identity, live: &ObjectMeta) -> bool {
    let by_us = live.labels.as_ref().and_then(|labels| labels.get(labels::MANAGED_BY));
    !owner.owns(live) && by_us.is_none_or(|manager| manager != labels::MANAGER)
}

/// Refused on its merits: trying the same again at once would be refused again. Conflicts and overload are not among them.
fn is_rejection(status: &Status) -> bool {
    matches!(status.code, 400 | 403 | 422)
}

/// The pod has gone or is another by now, or was written at the same moment, which starts another pass: no refusal.
fn is_lost(status: &Status) -> bool {
    let pod_is_missing =
        status.details.as_ref().is_some_and(|details| details.kind == "pods" && !details.name.is_empty());
    status.code == 409 || (status.code == 404 && pod_is_missing)
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

fn gone_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(error) if !is_gone(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn describe(write: &Write) -> String {
    match write {
        Write::JoinCache(cache) => format!("join ModelCache {}", cache.name_any()),
        Write::LeaveCache { name, .. } => format!("leave ModelCache {name}"),
        Write::DiscardCache { name, .. } => format!("discard ModelCache {name}"),
        Write::Apply(child) => format!("apply {} {}", child.kind().as_str(), child.name()),
        Write::Scale { deployment, replicas } => format!("scale Deployment {deployment} to {replicas}"),
        Write::Delete(doomed) => format!("delete {} {}", doomed.kind.as_str(), doomed.name),
    }
}

fn labels_of(write: &Write) -> (&'static str, Verb) {
    match write {
        Write::JoinCache(_) | Write::LeaveCache { .. } => ("ModelCache", Verb::Apply),
        Write::DiscardCache { .. } => ("ModelCache", Verb::Delete),
        Write::Apply(child) => (child.kind().as_str(), Verb::Apply),
        Write::Scale { .. } => (ChildKind::Deployment.as_str(), Verb::Scale),
        Write::Delete(doomed) => (doomed.kind.as_str(), Verb::Delete),
    }
}
