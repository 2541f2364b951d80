//! Labels and annotations of the operator's objects, in one place because selectors, watches and policies must agree. PURE.

use std::collections::BTreeMap;

use crate::name::label_value;

/// The field manager of the controller, and its name in `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "lexiscale-operator";

pub const NAME: &str = "app.kubernetes.io/name";
pub const COMPONENT: &str = "app.kubernetes.io/component";
pub const INSTANCE: &str = "app.kubernetes.io/instance";
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub const PART_OF: &str = "app.kubernetes.io/part-of";

/// Label of what belongs to an endpoint. Also an annotation of its pods, where a long name stands in full.
pub const ENDPOINT: &str = "inference.lexiscale.io/endpoint";
/// Label of what belongs to a cache, and of the workers that read it. Also an annotation, as above.
pub const MODEL_CACHE: &str = "inference.lexiscale.io/model-cache";

/// Label for users, on an endpoint or a cache: the operator that it is for, where several share a cluster.
pub const OPERATOR: &str = "inference.lexiscale.io/operator";

/// Label of worker pods: the volume claim that they read, so that all readers of a volume can be kept on one node.
pub const VOLUME_CLAIM: &str = "inference.lexiscale.io/volume-claim";

/// Annotation for users, on an endpoint or a cache: a new value tries a failed download again.
pub const RETRY: &str = "inference.lexiscale.io/retry";

/// Annotation that a gateway writes on an endpoint at zero, once for each sleep: when a request asked for it (RFC 3339).
pub const WAKE_REQUESTED_AT: &str = "inference.lexiscale.io/wake-requested-at";

/// Annotation that gateways write on an endpoint while they use its standby allocations: when (RFC 3339).
pub const BURST_AT: &str = "inference.lexiscale.io/burst-at";
/// Label of an endpoint's standby pods, in the place of [`ENDPOINT`]: what counts and addresses allocations selects by that one.
pub const STANDBY_OF: &str = "inference.lexiscale.io/standby-of";
/// Label of the Service of an endpoint's standby pods, and so of its slices: gateways tell by it what they may use only in a burst.
pub const STANDBY: &str = "inference.lexiscale.io/standby";

/// Annotation of every child: hash of what was last applied, so that a pass which would apply the same writes nothing.
pub const APPLIED: &str = "inference.lexiscale.io/applied";
/// Annotation of worker pods: hash of their template, to tell the new revision's pods from the old one's.
pub const REVISION: &str = "inference.lexiscale.io/revision";
/// Annotation of worker pods: the model id that they serve.
pub const MODEL_ID: &str = "inference.lexiscale.io/model-id";
/// Annotation of worker pods: the bytes that they serve. A model downloaded anew with other bytes rolls them.
pub const DIGEST: &str = "inference.lexiscale.io/digest";
/// Annotation of worker pods: the arithmetic of the model that they serve.
pub const PRECISION: &str = "inference.lexiscale.io/precision";

/// Annotation of worker pods: the container that was seen running before it was ready. Any change of its pod has the kubelet ask
/// for readiness at once (decision 018).
pub const STARTED: &str = "inference.lexiscale.io/started";

/// Annotation of a volume claim: what lies on it, as the successful download reported it. The proof goes with the
/// volume, so a volume that is replaced is empty whatever any status says.
pub const MODEL: &str = "inference.lexiscale.io/model";
/// Annotation of a download Job: its number among all of the cache's downloads.
pub const ATTEMPT: &str = "inference.lexiscale.io/attempt";
/// Annotation of a download Job: its number among those with the same inputs, which the back-off counts.
pub const TRY: &str = "inference.lexiscale.io/try";
/// Annotation of a download Job: hash of what decides its outcome. A failed one whose inputs changed is tried again.
pub const INPUTS: &str = "inference.lexiscale.io/inputs";
/// Annotation of a download Job: uid of the claim that it fills.
pub const CLAIM: &str = "inference.lexiscale.io/claim";

/// What a pod of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Worker,
    ModelCache,
    Gateway,
    Controller,
}

impl Component {
    /// The value of `app.kubernetes.io/component`, also used in `lastFailure.component`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::ModelCache => "model-cache",
            Self::Gateway => "gateway",
            Self::Controller => "controller",
        }
    }
}

/// Labels of everything that belongs to an endpoint.
pub fn of_endpoint(name: &str) -> BTreeMap<String, String> {
    let mut labels = common(Component::Worker, name);
    labels.insert(ENDPOINT.to_owned(), label_value(name));
    labels
}

/// Labels of everything that belongs to a cache, and of the cache itself where the operator made it.
pub fn of_cache(name: &str) -> BTreeMap<String, String> {
    let mut labels = common(Component::ModelCache, name);
    labels.insert(MODEL_CACHE.to_owned(), label_value(name));
    labels
}

/// Selects the worker pods of an endpoint. A Deployment's selector can never change, so this holds as little as will do.
pub fn worker_selector(endpoint: &str) -> BTreeMap<String, String> {
    selector(Component::Worker, ENDPOINT, endpoint)
}

/// Selects the standby pods of an endpoint.
pub fn standby_selector(endpoint: &str) -> BTreeMap<String, String> {
    selector(Component::Worker, STANDBY_OF, endpoint)
}

/// Selects the download pods of a cache.
pub fn cache_selector(cache: &str) -> BTreeMap<String, String> {
    selector(Component::ModelCache, MODEL_CACHE, cache)
}

/// Selects the pods of a component that the operator makes.
pub fn component_selector(component: Component) -> BTreeMap<String, String> {
    pairs([(NAME, "lexiscale"), (COMPONENT, component.as_str())])
}

/// Selects the pods of a component that the chart installs. Not by `app.kubernetes.io/name`, which the chart's
/// `nameOverride` changes.
pub fn installed_selector(component: Component) -> BTreeMap<String, String> {
    pairs([(PART_OF, "lexiscale"), (COMPONENT, component.as_str())])
}

/// Selects the endpoints and caches of one operator: those that name it, or, for an operator without a name, those that
/// name none.
pub fn instance_query(instance: Option<&str>) -> String {
    instance.map_or_else(|| format!("!{OPERATOR}"), |instance| format!("{OPERATOR}={instance}"))
}

/// A selector as the API takes it in a query, and as `status.selector` shows it.
pub fn to_query(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn selector(component: Component, key: &str, name: &str) -> BTreeMap<String, String> {
    let mut selector = component_selector(component);
    selector.insert(key.to_owned(), label_value(name));
    selector
}

fn common(component: Component, instance: &str) -> BTreeMap<String, String> {
    let mut labels = pairs([
        (NAME, "lexiscale"),
        (COMPONENT, component.as_str()),
        (MANAGED_BY, MANAGER),
        (PART_OF, "lexiscale"),
    ]);
    labels.insert(INSTANCE.to_owned(), label_value(instance));
    labels
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
