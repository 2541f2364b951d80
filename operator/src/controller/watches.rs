//! Which event starts a pass over which object.

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
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        Controller,
        controller::Config,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use lexiscale_core::labels::{self, Component};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde::de::DeserializeOwned;

use super::cache_users::cache_users;

/// Passes at once, of each kind. A pass is some reads and few writes; more would only queue at the API server.
const CONCURRENCY: u16 = 16;

/// The namespaces that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    pub(super) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

/// Endpoints: their children, their pods, the caches that they use, and the endpoints that want the same inference id
/// or are attached.
pub(super) fn endpoints(
    client: &Client,
    scope: &Scope,
    instance: Option<&str>,
) -> Controller<InferenceEndpoint> {
    let mine = watcher::Config::default().labels(&labels::instance_query(instance));
    let controller = Controller::new(scope.api(client), mine);
    let (by_cache, by_peer) = (controller.store(), controller.store());
    let workers = labels::to_query(&labels::component_selector(Component::Worker));
    let controller = controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .owns(scope.api::<ServiceAccount>(client), ours())
        .owns(scope.api::<NetworkPolicy>(client), ours())
        .owns(scope.api::<Service>(client), ours())
        .owns(scope.api::<PodDisruptionBudget>(client), ours())
        .owns(scope.api::<Deployment>(client), ours())
        .watches(scope.api::<Pod>(client), watcher::Config::default().labels(&workers), |pod| {
            annotated(&pod, labels::ENDPOINT)
        });
    controller.reconcile_on(cache_users(scope.api(client), by_cache)).watches(
        scope.api::<InferenceEndpoint>(client),
        watcher::Config::default(),
        move |endpoint| concerned(&endpoint, &by_peer),
    )
}

/// Caches: their children, their downloads' pods, and the endpoints that use them.
pub(super) fn model_caches(client: &Client, scope: &Scope, instance: Option<&str>) -> Controller<ModelCache> {
    let mine = watcher::Config::default().labels(&labels::instance_query(instance));
    let downloads = labels::to_query(&labels::component_selector(Component::ModelCache));
    let controller = Controller::new(scope.api(client), mine);
    let caches = controller.store();
    controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .owns(scope.api::<ServiceAccount>(client), ours())
        .owns(scope.api::<NetworkPolicy>(client), ours())
        .owns(scope.api::<PersistentVolumeClaim>(client), ours())
        .owns(scope.api::<Job>(client), ours())
        .watches(scope.api::<Pod>(client), watcher::Config::default().labels(&downloads), |pod| {
            annotated(&pod, labels::MODEL_CACHE)
        })
        .watches(scope.api::<InferenceEndpoint>(client), watcher::Config::default(), move |endpoint| {
            used_by(&endpoint, &caches)
        })
}

/// A child whose label somebody takes away leaves this watch with an event, which is all that is needed.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER))
}

/// The object that a pod's annotation names. Labels are too short for every name.
fn annotated<K>(pod: &Pod, annotation: &str) -> Option<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let name = pod.annotations().get(annotation)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

/// The endpoints of the same inference id, and those that are attached to this one.
fn concerned(
    endpoint: &InferenceEndpoint,
    endpoints: &Store<InferenceEndpoint>,
) -> Vec<ObjectRef<InferenceEndpoint>> {
    let is_concerned = |peer: &InferenceEndpoint| {
        let id = endpoint.inference_id();
        peer.namespace() == endpoint.namespace()
            && peer.name_any() != endpoint.name_any()
            && (peer.inference_id() == id || peer.spec.service_settings.deployment_id.as_deref() == Some(id))
    };
    endpoints
        .state()
        .iter()
        .filter(|peer| is_concerned(peer))
        .map(|peer| ObjectRef::from_obj(&**peer))
        .collect()
}

/// The caches that an endpoint says it uses, and those that still say so of it: one that it has left does not hear of that
/// in any other way.
fn used_by(endpoint: &InferenceEndpoint, caches: &Store<ModelCache>) -> Vec<ObjectRef<ModelCache>> {
    let Some(namespace) = endpoint.namespace() else { return Vec::new() };
    let name = endpoint.name_any();
    let names_it = |cache: &ModelCache| {
        let mut users = cache.status.iter().flat_map(|status| &status.used_by);
        cache.namespace().as_deref() == Some(&namespace) && users.any(|user| *user == name)
    };
    let state = caches.state();
    let left = state.iter().filter(|cache| names_it(cache)).map(|cache| ObjectRef::from_obj(&**cache));
    cache_names(endpoint).map(|name| ObjectRef::new(name).within(&namespace)).chain(left).collect()
}

/// The caches that an endpoint says it uses.
pub(super) fn cache_names(endpoint: &InferenceEndpoint) -> impl Iterator<Item = &str> {
    let status = endpoint.status.iter();
    let models = status.flat_map(|status| status.model.iter().chain(&status.pending_model));
    models.map(|model| model.cache.as_str())
}
