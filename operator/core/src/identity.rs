//! Which object something is about, beyond doubt: a name can come back with another uid. PURE.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

/// An object that the API server knows: namespace, name and uid are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
}

/// How an owner stands to its child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The one object that manages the child.
    Controller,
    /// One of several that need the child.
    Shared,
}

/// An object without the metadata that every stored object has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} has no {field}")]
pub struct Incomplete {
    kind: &'static str,
    field: &'static str,
}

impl Identity {
    /// The identity of one of our own kinds.
    pub fn of<K>(object: &K, kind: &'static str) -> Result<Self, Incomplete>
    where
        K: Resource<DynamicType = ()>,
    {
        let ObjectMeta { namespace, name, uid, .. } = object.meta();
        let required = |value: &Option<String>, field| value.clone().ok_or(Incomplete { kind, field });
        Ok(Self {
            kind,
            namespace: required(namespace, "namespace")?,
            name: required(name, "name")?,
            uid: required(uid, "uid")?,
        })
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The reference by which a child says that it goes when this object goes.
    pub fn owner_reference(&self, ownership: Ownership) -> OwnerReference {
        let controller = match ownership {
            Ownership::Controller => Some(true),
            Ownership::Shared => None,
        };
        OwnerReference {
            api_version: format!("{}/{}", lexiscale_crds::GROUP, lexiscale_crds::VERSION),
            kind: self.kind.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller,
            // A true here would let a foreground deletion of the owner wait for the child, which needs a right on the
            // owner's finalizers that nothing else needs.
            block_owner_deletion: None,
        }
    }

    /// True when the object with this metadata names us among its owners.
    pub fn owns(&self, metadata: &ObjectMeta) -> bool {
        owners(metadata).any(|owner| owner.uid == self.uid)
    }

    /// Metadata of a child that this object manages.
    pub(crate) fn child_metadata(
        &self,
        name: String,
        labels: std::collections::BTreeMap<String, String>,
    ) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![self.owner_reference(Ownership::Controller)]),
            ..ObjectMeta::default()
        }
    }
}

/// The owners of an object.
pub fn owners(metadata: &ObjectMeta) -> impl Iterator<Item = &OwnerReference> {
    metadata.owner_references.iter().flatten()
}
