//! Objects as the watches deliver them, each kind for itself, reduced to what the directory is made of. PURE.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use lexiscale_core::labels;

use crate::gateway::pod::Role;

/// Label by which Kubernetes ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace and name of an object.
pub(super) type Named = (String, String);

/// The pods of one slice that are not on their way out.
pub(super) struct Slice {
    pub(super) service: Named,
    pub(super) role: Role,
    pub(super) pods: Vec<Listed>,
}

/// One pod as its slice shows it.
pub(super) struct Listed {
    pub(super) address: SocketAddr,
    pub(super) is_ready: bool,
}

/// Objects of one kind. A restarted watch fills `arriving` first, so that nothing vanishes in
/// between.
pub(super) struct Watched<T> {
    pub(super) present: BTreeMap<Named, T>,
    arriving: BTreeMap<Named, T>,
    pub(super) is_complete: bool,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self { present: BTreeMap::new(), arriving: BTreeMap::new(), is_complete: false }
    }
}

/// Whether an event changed what a snapshot would show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Visible,
    None,
}

impl<T> Watched<T> {
    pub(super) fn apply<K: ResourceExt>(&mut self, event: Event<K>, read: impl FnOnce(K) -> T) -> Change {
        match event {
            Event::Apply(object) => {
                self.present.insert(named(&object), read(object));
                Change::Visible
            }
            Event::Delete(object) => {
                self.present.remove(&named(&object));
                Change::Visible
            }
            Event::Init => {
                self.arriving.clear();
                Change::None
            }
            Event::InitApply(object) => {
                self.arriving.insert(named(&object), read(object));
                Change::None
            }
            Event::InitDone => {
                self.present = std::mem::take(&mut self.arriving);
                self.is_complete = true;
                Change::Visible
            }
        }
    }
}

impl Slice {
    /// With the port of this name.
    pub(super) fn new(slice: &EndpointSlice, port: &str) -> Self {
        Self {
            service: (
                slice.namespace().unwrap_or_default(),
                slice.labels().get(SERVICE_NAME).cloned().unwrap_or_default(),
            ),
            role: if slice.labels().contains_key(labels::STANDBY) { Role::Standby } else { Role::Reserved },
            pods: listed(slice, port),
        }
    }
}

fn named(object: &impl ResourceExt) -> Named {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn listed(slice: &EndpointSlice, named: &str) -> Vec<Listed> {
    let port = slice
        .ports
        .iter()
        .flatten()
        .find(|port| port.name.as_deref() == Some(named))
        .and_then(|port| port.port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        return Vec::new();
    };
    let pods = slice.endpoints.iter().flatten().filter_map(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        if conditions.terminating.unwrap_or(false) {
            return None;
        }
        // Kubernetes defines all addresses of an endpoint as the same pod; the first is enough.
        let address = endpoint.addresses.first()?.parse::<IpAddr>().ok()?;
        // Unknown readiness counts as ready: that is how Kubernetes defines the field.
        let is_ready = conditions.ready.unwrap_or(true);
        Some(Listed { address: SocketAddr::new(address, port), is_ready })
    });
    pods.collect()
}
