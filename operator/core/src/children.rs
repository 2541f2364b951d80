//! Child objects without their types: what is wanted, what is there, and whether the one needs writing. PURE.
//!
//! A pass that finds everything as it should be must write nothing. A child is applied when the wish changed since the last
//! apply (a hash in its annotation tells), or when somebody changed a field of ours since (the live object no longer covers
//! the wish). Fields that are not ours are never looked at.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{identity::Identity, labels, name::short_hash};

/// The kinds of children, in the order in which they are applied and in which `kubectl` users think of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildKind {
    ServiceAccount,
    NetworkPolicy,
    Service,
    PodDisruptionBudget,
    PersistentVolumeClaim,
    Job,
    Deployment,
}

impl ChildKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Job => "Job",
            Self::Deployment => "Deployment",
        }
    }
}

/// A Kubernetes kind that is used as a child.
pub trait ChildObject: Resource<DynamicType = ()> + Serialize {
    const KIND: ChildKind;
}

macro_rules! child_objects {
    ($($kind:ident),*) => {
        $(impl ChildObject for $kind {
            const KIND: ChildKind = ChildKind::$kind;
        })*
    };
}
child_objects!(
    ServiceAccount,
    NetworkPolicy,
    Service,
    PodDisruptionBudget,
    PersistentVolumeClaim,
    Job,
    Deployment
);

/// A child as it should be, with the hash of itself in its annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    kind: ChildKind,
    name: String,
    manifest: Value,
}

impl Child {
    pub fn new<K: ChildObject>(object: K) -> Self {
        let name = object.name_any();
        let mut object = object;
        let hash = short_hash(&to_json(&object));
        object.annotations_mut().insert(labels::APPLIED.to_owned(), hash);
        Self { kind: K::KIND, name, manifest: to_value(&object) }
    }

    pub fn kind(&self) -> ChildKind {
        self.kind
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object as it is sent to the API server.
    pub fn manifest(&self) -> &Value {
        &self.manifest
    }
}

/// A child as it is.
#[derive(Clone, Debug)]
pub struct LiveChild {
    kind: ChildKind,
    metadata: ObjectMeta,
    manifest: Value,
}

/// What to delete: this very object, whatever has its name by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    pub kind: ChildKind,
    pub name: String,
    pub uid: String,
}

impl LiveChild {
    pub fn new<K: ChildObject>(object: &K) -> Self {
        Self { kind: K::KIND, metadata: object.meta().clone(), manifest: to_value(object) }
    }

    pub fn kind(&self) -> ChildKind {
        self.kind
    }

    pub fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }

    fn is(&self, child: &Child) -> bool {
        self.kind == child.kind && self.metadata.name.as_deref() == Some(&child.name)
    }

    /// True when `child` would change something.
    fn needs(&self, child: &Child) -> bool {
        !covers(&self.manifest, &child.manifest)
    }

    /// True when another object manages it: the leftover of a namesake, or somebody else's altogether.
    fn is_foreign_to(&self, owner: &Identity) -> bool {
        crate::identity::owners(&self.metadata).any(|reference| reference.controller == Some(true))
            && !owner.owns(&self.metadata)
    }

    fn doomed(&self) -> Option<Doomed> {
        let ObjectMeta { name, uid, deletion_timestamp, .. } = &self.metadata;
        let (name, uid) = (name.clone()?, uid.clone()?);
        deletion_timestamp.is_none().then_some(Doomed { kind: self.kind, name, uid })
    }
}

/// What has to be written so that `live` becomes `wanted`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    pub apply: Vec<Child>,
    pub delete: Vec<Doomed>,
    /// Children of a deleted namesake that are still being collected: they are waited for.
    pub leftovers: Vec<String>,
}

/// Compares; `live` holds what bears our labels, `wanted` is all that should.
///
/// Children need those of the kinds before theirs (workers their service account and their network policy), so none is made
/// beyond a leftover: what looks like it is there is about to go. One that is there already goes on being kept as it should be.
pub fn difference(owner: &Identity, wanted: Vec<Child>, live: &[LiveChild]) -> Difference {
    let unwanted =
        live.iter().filter(|live| owner.owns(&live.metadata) && !wanted.iter().any(|child| live.is(child)));
    let delete = unwanted.filter_map(LiveChild::doomed).collect();
    let (blocked, free): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|child| live.iter().any(|live| live.is(child) && live.is_foreign_to(owner)));
    let first_blocked = blocked.iter().map(Child::kind).min();
    let mut apply: Vec<_> = free
        .into_iter()
        .filter(|child| match live.iter().find(|live| live.is(child)) {
            Some(live) => live.needs(child),
            None => first_blocked.is_none_or(|first| child.kind < first),
        })
        .collect();
    apply.sort_by_key(Child::kind);
    let leftovers = blocked.iter().map(|child| format!("{} {}", child.kind.as_str(), child.name)).collect();
    Difference { apply, delete, leftovers }
}

/// True when `live` has every field of `wanted`, with the same value. Lists whose entries have names (containers, ports,
/// volumes) or uids (owners) may have further entries, as the API server merges them by those; other lists are whole.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| covers_field(live, key, wanted))
        }
        (Value::Array(live), Value::Array(wanted)) => covers_list(live, wanted),
        (live, wanted) => live == wanted,
    }
}

fn covers_field(live: &Map<String, Value>, key: &str, wanted: &Value) -> bool {
    match live.get(key) {
        Some(live) => covers(live, wanted),
        // The API server leaves out what is empty.
        None => match wanted {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Null => true,
            Value::Bool(_) | Value::Number(_) => false,
        },
    }
}

fn covers_list(live: &[Value], wanted: &[Value]) -> bool {
    let key = ["name", "uid"]
        .into_iter()
        .find(|key| !wanted.is_empty() && wanted.iter().all(|entry| entry.get(key).is_some()));
    match key {
        Some(key) => wanted.iter().all(|wanted| {
            live.iter().find(|live| live.get(key) == wanted.get(key)).is_some_and(|live| covers(live, wanted))
        }),
        None => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
    }
}

/// The JSON of an object of ours.
pub(crate) fn to_json<T: Serialize>(object: &T) -> String {
    to_value(object).to_string()
}

fn to_value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("Kubernetes objects always become JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_none_of_our_business() {
        let wanted = json!({"spec": {"containers": [{"name": "worker", "image": "a"}], "egress": []}});
        let live = json!({"spec": {
            "containers": [{"name": "injected"}, {"name": "worker", "image": "a", "terminationMessagePath": "/dev"}],
            "dnsPolicy": "ClusterFirst",
        }});
        assert!(covers(&live, &wanted));
    }

    /// A toleration with `value: ""` comes back without it: taken for a difference, it would be applied in every pass for ever.
    #[test]
    fn an_empty_text_counts_as_absent() {
        let wanted =
            json!({"tolerations": [{"key": "gpu", "operator": "Exists", "value": "", "effect": ""}]});
        assert!(covers(&json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]}), &wanted));
        assert!(!covers(
            &json!({"tolerations": [{"key": "gpu", "operator": "Exists", "value": "x"}]}),
            &wanted
        ));
    }

    #[test]
    fn what_others_change_or_remove_is_put_back() {
        let wanted = json!({"replicas": 3, "args": ["serve", "--threads"], "labels": {"a": "b"}});
        for live in [
            json!({"replicas": 2, "args": ["serve", "--threads"], "labels": {"a": "b"}}),
            json!({"replicas": 3, "args": ["serve"], "labels": {"a": "b"}}),
            json!({"replicas": 3, "args": ["serve", "--threads"], "labels": {}}),
            json!({"replicas": 3, "args": ["serve", "--threads"]}),
        ] {
            assert!(!covers(&live, &wanted), "{live}");
        }
    }
}
