//! What the gateway knows: every endpoint by its id, and the pods that are ready to serve it. A snapshot is
//! never changed; a new one takes its place, so a request sees one state of the cluster from its beginning to
//! its end. No I/O here: events in, snapshot out. What outlives snapshots, the pods' counts and the endpoints'
//! lines, is told of each of them.

mod pods;
mod watched;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use lexiscale_core::name::{child_name, standby_child_name};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint};
use tokio::time::Instant;

pub(crate) use self::pods::PodKey;
use self::pods::Pods;
pub(crate) use self::watched::Change;
use self::watched::{Named, Slice, Watched};
use super::line::{Limits, Line, Standing};
use super::load;
use super::metrics::Metrics;
use super::pod::Pod;
use super::tls::Protocol;

/// How the gateway names an endpoint.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct EndpointKey {
    pub(crate) namespace: String,
    pub(crate) id: String,
}

impl EndpointKey {
    pub(crate) fn new(namespace: impl Into<String>, id: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), id: id.into() }
    }
}

/// Endpoints in the order of their namespaces, and there of their ids.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_key: BTreeMap<EndpointKey, Arc<Entry>>,
    /// Both watches have delivered everything there was; before, an absent endpoint proves nothing.
    pub(crate) is_complete: bool,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) endpoint: Arc<InferenceEndpoint>,
    /// Pods that serve: ready, by their slice or by their own word, and not on their way out. Its standbys last.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The endpoint that this one is attached to, whose pods these are.
    holder: Option<Arc<InferenceEndpoint>>,
    /// Where requests wait for those pods.
    pub(crate) line: Arc<Line>,
}

impl Entry {
    /// The endpoint whose deployment serves: this one, unless it is attached to another. What is scaled and woken is that
    /// one.
    pub(crate) fn deployment(&self) -> &Arc<InferenceEndpoint> {
        self.holder.as_ref().unwrap_or(&self.endpoint)
    }
}

impl Directory {
    pub(crate) fn get(&self, key: &EndpointKey) -> Option<&Arc<Entry>> {
        self.by_key.get(key)
    }

    /// The endpoints of all namespaces.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_key.values()
    }

    /// The endpoints of a namespace.
    pub(crate) fn entries(&self, namespace: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let first = EndpointKey::new(namespace, "");
        let others = self.by_key.range(first..);
        others.take_while(move |(key, _)| key.namespace == namespace).map(|(_, entry)| entry)
    }

    /// The endpoints that are attached to this deployment.
    pub(crate) fn attached_to(&self, key: &EndpointKey) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries(&key.namespace).filter(|entry| attachment(&entry.endpoint) == Some(&key.id))
    }
}

/// Objects as the watches deliver them.
#[derive(Default)]
pub(crate) struct Builder {
    endpoints: Watched<Arc<InferenceEndpoint>>,
    slices: Watched<Slice>,
    pods: Pods,
    /// By the object's uid too: one that is made anew under an old id is another.
    lines: HashMap<(EndpointKey, String), Arc<Line>>,
    limits: Limits,
    /// What is spoken with workers.
    protocol: Protocol,
    metrics: Metrics,
}

impl Builder {
    pub(crate) fn new(limits: Limits, protocol: Protocol, metrics: Metrics) -> Self {
        Self { limits, protocol, metrics, ..Self::default() }
    }

    pub(crate) fn endpoint(&mut self, event: Event<InferenceEndpoint>) -> Change {
        self.endpoints.apply(event, Arc::new)
    }

    pub(crate) fn slice(&mut self, event: Event<EndpointSlice>) -> Change {
        let port = self.protocol.port_name();
        self.slices.apply(event, |slice| Slice::new(&slice, port))
    }

    /// The pods that no slice has called ready yet.
    pub(crate) fn starting(&self) -> impl Iterator<Item = &PodKey> {
        self.pods.starting()
    }

    /// A starting pod was asked whether it is ready.
    pub(crate) fn said(&mut self, key: &PodKey, is_ready: bool) -> Change {
        self.pods.said(key, is_ready)
    }

    /// `now` is when pods that are new were first seen.
    pub(crate) fn build(&mut self, now: Instant) -> Directory {
        let mut pods_of = self.pods.follow(self.slices.present.values(), now);
        let mut holders: BTreeMap<EndpointKey, (&Named, &Arc<InferenceEndpoint>)> = BTreeMap::new();
        for (named, endpoint) in &self.endpoints.present {
            let key = EndpointKey::new(&named.0, endpoint.inference_id());
            // Two objects can claim one id. The operator gives it to the older one, and so must we; of two
            // made in the same second, the first by name, which is the one that is met first here.
            let age = |endpoint: &InferenceEndpoint| endpoint.creation_timestamp().map(|time| time.0);
            if holders.get(&key).is_some_and(|(_, holder)| age(holder) <= age(endpoint)) {
                continue;
            }
            holders.insert(key, (named, endpoint));
        }
        // First, because a new line may count under the same labels as the one that it follows.
        self.lines.retain(|(key, uid), line| {
            let stays = holders.get(key).is_some_and(|(_, endpoint)| uid_of(endpoint) == uid);
            if !stays {
                line.follow(&[], Standing::Gone, now);
                self.metrics.forget(line.metrics());
            }
            stays
        });
        let mut by_key = BTreeMap::new();
        for (key, ((namespace, name), endpoint)) in holders {
            let service = (namespace.clone(), child_name(name));
            let standby = (namespace.clone(), standby_child_name(name));
            let mut pods = pods_of.remove(&service).unwrap_or_default();
            pods.extend(pods_of.remove(&standby).unwrap_or_default());
            let known = self.lines.entry((key.clone(), uid_of(endpoint).to_owned()));
            let line = Arc::clone(
                known.or_insert_with(|| Arc::new(Line::new(self.limits, self.metrics.line(&key), now))),
            );
            let entry = Entry { endpoint: Arc::clone(endpoint), pods, holder: None, line };
            entry.line.aims_at(load::goal(endpoint));
            entry.line.follow(&entry.pods, standing(endpoint), now);
            by_key.insert(key, Arc::new(entry));
        }
        attach(&mut by_key, now);
        Directory { by_key, is_complete: self.endpoints.is_complete && self.slices.is_complete }
    }
}

fn uid_of(endpoint: &InferenceEndpoint) -> &str {
    endpoint.metadata.uid.as_deref().unwrap_or_default()
}

fn standing(endpoint: &InferenceEndpoint) -> Standing {
    match endpoint.condition(ConditionType::Stalled) {
        // One that is ready nevertheless sleeps, or loses its pods at this moment; what it served last, it serves again.
        Some(stalled) if stalled.status == "True" && !endpoint.is(ConditionType::Ready) => {
            Standing::Stalled { reason: stalled.reason.clone(), message: stalled.message.clone() }
        }
        Some(_) | None => Standing::Open,
    }
}

/// Gives every attached endpoint the pods and the line of the one that it is attached to. That one has pods of its own, or there is
/// nothing to attach to.
fn attach(by_key: &mut BTreeMap<EndpointKey, Arc<Entry>>, now: Instant) {
    let attached: Vec<_> = by_key
        .iter()
        .filter_map(|(key, entry)| {
            let holder = by_key.get(&EndpointKey::new(&key.namespace, attachment(&entry.endpoint)?))?;
            let (endpoint, pods) = (Arc::clone(&entry.endpoint), holder.pods.clone());
            let line = Arc::clone(&holder.line);
            let is_own = attachment(&holder.endpoint).is_none();
            let holder = Some(Arc::clone(&holder.endpoint));
            if is_own {
                // Who waited before there was anything to attach to would wait in vain.
                entry.line.follow(&[], Standing::Gone, now);
            }
            is_own.then(|| (key.clone(), Arc::new(Entry { endpoint, pods, holder, line })))
        })
        .collect();
    by_key.extend(attached);
}

fn attachment(endpoint: &InferenceEndpoint) -> Option<&str> {
    endpoint.spec.service_settings.deployment_id.as_deref()
}

#[cfg(test)]
mod tests;
