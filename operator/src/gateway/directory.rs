//! What the gateway knows: every endpoint by its id, and the pods that are ready to serve it. A snapshot is
//! never changed; a new one takes its place, so a request sees one state of the cluster from its beginning to
//! its end. No I/O here: events in, snapshot out. What outlives snapshots, the pods' counts and the endpoints'
//! lines, is told of each of them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use lexiscale_core::labels;
use lexiscale_core::name::{child_name, standby_child_name};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint};
use tokio::time::Instant;

use super::line::{Limits, Line, Standing};
use super::metrics::Metrics;
use super::pod::{Pod, Role};

/// Label by which Kubernetes ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The port of the worker's API.
const PORT_NAME: &str = "http";

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
    /// Pods that are ready and not on their way out, its standbys last.
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
    /// Pods outlive snapshots, and with them their counts of requests in flight.
    pods: HashMap<(Named, SocketAddr), Arc<Pod>>,
    /// By the object's uid too: one that is made anew under an old id is another.
    lines: HashMap<(EndpointKey, String), Arc<Line>>,
    limits: Limits,
    metrics: Metrics,
}

/// Namespace and name of an object.
type Named = (String, String);

/// The ready addresses of one slice.
struct Slice {
    service: Named,
    role: Role,
    addresses: Vec<SocketAddr>,
}

/// Objects of one kind. A restarted watch fills `arriving` first, so that nothing vanishes in
/// between.
struct Watched<T> {
    present: BTreeMap<Named, T>,
    arriving: BTreeMap<Named, T>,
    is_complete: bool,
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
    fn apply<K: ResourceExt>(&mut self, event: Event<K>, read: impl FnOnce(K) -> T) -> Change {
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

impl Builder {
    pub(crate) fn new(limits: Limits, metrics: Metrics) -> Self {
        Self { limits, metrics, ..Self::default() }
    }

    pub(crate) fn endpoint(&mut self, event: Event<InferenceEndpoint>) -> Change {
        self.endpoints.apply(event, Arc::new)
    }

    pub(crate) fn slice(&mut self, event: Event<EndpointSlice>) -> Change {
        self.slices.apply(event, |slice| Slice {
            service: (
                slice.namespace().unwrap_or_default(),
                slice.labels().get(SERVICE_NAME).cloned().unwrap_or_default(),
            ),
            role: if slice.labels().contains_key(labels::STANDBY) { Role::Standby } else { Role::Reserved },
            addresses: ready_addresses(&slice),
        })
    }

    /// `now` is when pods that are new were first seen.
    pub(crate) fn build(&mut self, now: Instant) -> Directory {
        let mut pods_of: HashMap<&Named, Vec<Arc<Pod>>> = HashMap::new();
        let mut kept = HashMap::with_capacity(self.pods.len());
        for slice in self.slices.present.values() {
            for address in &slice.addresses {
                let key = (slice.service.clone(), *address);
                // The same address in two slices of a Service happens while slices are rebalanced.
                if kept.contains_key(&key) {
                    continue;
                }
                let pod = self
                    .pods
                    .remove(&key)
                    .unwrap_or_else(|| Arc::new(Pod::new(*address, now).with_role(slice.role)));
                pods_of.entry(&slice.service).or_default().push(Arc::clone(&pod));
                kept.insert(key, pod);
            }
        }
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
            entry.line.follow(&entry.pods, standing(endpoint), now);
            by_key.insert(key, Arc::new(entry));
        }
        attach(&mut by_key, now);
        self.pods = kept;
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

fn named(object: &impl ResourceExt) -> Named {
    (object.namespace().unwrap_or_default(), object.name_any())
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

fn ready_addresses(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let port = slice
        .ports
        .iter()
        .flatten()
        .find(|port| port.name.as_deref() == Some(PORT_NAME))
        .and_then(|port| port.port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        return Vec::new();
    };
    slice
        .endpoints
        .iter()
        .flatten()
        .filter(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            // Unknown readiness counts as ready: that is how Kubernetes defines the field.
            conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
        })
        // Kubernetes defines all addresses of an endpoint as the same pod; the first is enough.
        .filter_map(|endpoint| endpoint.addresses.first())
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

#[cfg(test)]
mod tests {
    use lexiscale_core::name::object_name;
    use serde_json::json;

    use super::*;

    fn endpoint(name: &str, id: Option<&str>) -> InferenceEndpoint {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"inferenceId": id, "taskType": "sparse_embedding", "service": "elser",
                     "serviceSettings": {"numAllocations": 1, "numThreads": 1}},
        }))
        .unwrap()
    }

    fn slice(name: &str, service: &str, endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "metrics", "port": 9}, {"name": "http", "port": 8080}],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn key(id: &str) -> EndpointKey {
        EndpointKey::new("default", id)
    }

    fn addresses(directory: &Directory, id: &str) -> Vec<String> {
        directory.get(&key(id)).unwrap().pods.iter().map(|pod| pod.address().to_string()).collect()
    }

    fn synced() -> Builder {
        let mut builder = Builder::default();
        builder.endpoint(Event::Init);
        builder.endpoint(Event::InitDone);
        builder.slice(Event::Init);
        builder.slice(Event::InitDone);
        builder
    }

    #[test]
    fn only_ready_pods_that_stay_are_routed_to() {
        let mut builder = synced();
        builder.endpoint(Event::Apply(endpoint("articles", None)));
        builder.slice(Event::Apply(slice(
            "articles-1",
            "articles",
            &json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true, "terminating": true}},
                {"addresses": ["10.0.0.4"]},
                {"addresses": ["pod.example"]},
            ]),
        )));
        assert_eq!(addresses(&builder.build(Instant::now()), "articles"), ["10.0.0.1:8080", "10.0.0.4:8080"]);
    }

    /// Without it, every change in the cluster would forget which pods are busy.
    #[test]
    fn a_pod_keeps_its_count_across_snapshots() {
        let mut builder = synced();
        builder.endpoint(Event::Apply(endpoint("articles", None)));
        let ready = json!([{"addresses": ["10.0.0.1"]}]);
        builder.slice(Event::Apply(slice("articles-1", "articles", &ready)));
        let before = Arc::clone(&builder.build(Instant::now()).get(&key("articles")).unwrap().pods[0]);
        before.begin(1);
        builder.slice(Event::Apply(slice("articles-2", "articles", &ready)));
        let directory = builder.build(Instant::now());
        assert_eq!(addresses(&directory, "articles").len(), 1);
        assert_eq!(directory.get(&key("articles")).unwrap().pods[0].pieces(), 1);
    }

    #[test]
    fn ids_that_are_no_names_find_their_service() {
        let mut builder = synced();
        let name = object_name("a_b");
        builder.endpoint(Event::Apply(endpoint(&name, Some("a_b"))));
        builder.slice(Event::Apply(slice("s", &child_name(&name), &json!([{"addresses": ["10.0.0.1"]}]))));
        assert_eq!(addresses(&builder.build(Instant::now()), "a_b"), ["10.0.0.1:8080"]);
    }

    #[test]
    fn an_attached_endpoint_is_served_by_the_pods_of_the_other() {
        let attached = |name: &str, deployment: &str| {
            let mut endpoint = endpoint(name, None);
            endpoint.spec.service_settings =
                serde_json::from_value(json!({"deploymentId": deployment})).unwrap();
            endpoint
        };
        let mut builder = synced();
        builder.endpoint(Event::Apply(endpoint("articles", None)));
        builder.endpoint(Event::Apply(attached("a", "articles")));
        builder.endpoint(Event::Apply(attached("chained", "a")));
        builder.endpoint(Event::Apply(attached("lost", "nobody")));
        builder.slice(Event::Apply(slice("s", "articles", &json!([{"addresses": ["10.0.0.1"]}]))));
        let directory = builder.build(Instant::now());
        assert_eq!(addresses(&directory, "a"), ["10.0.0.1:8080"]);
        assert_eq!(directory.get(&key("a")).unwrap().deployment().name_any(), "articles");
        for id in ["chained", "lost"] {
            assert_eq!(addresses(&directory, id), Vec::<String>::new());
            assert_eq!(directory.get(&key(id)).unwrap().deployment().name_any(), id);
        }
        assert_eq!(directory.attached_to(&key("articles")).count(), 1);
        let [line, others] = ["a", "articles"].map(|id| Arc::clone(&directory.get(&key(id)).unwrap().line));
        assert!(Arc::ptr_eq(&line, &others), "requests to both wait in one line");
    }

    /// As the operator decides it; the other object has no pods.
    #[test]
    fn the_older_object_wins_an_id_claimed_twice() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        let table = [
            ("a-other", late, early, "articles"),
            ("z-other", late, early, "articles"),
            ("a-other", early, late, "a-other"),
            ("z-other", early, late, "z-other"),
            ("a-other", early, early, "a-other"),
            ("z-other", early, early, "articles"),
        ];
        for (other, others_age, age, winner) in table {
            let mut builder = synced();
            for (name, id, created) in [("articles", None, age), (other, Some("articles"), others_age)] {
                let mut object = endpoint(name, id);
                object.metadata.creation_timestamp = serde_json::from_value(json!(created)).unwrap();
                builder.endpoint(Event::Apply(object));
            }
            let directory = builder.build(Instant::now());
            assert_eq!(directory.get(&key("articles")).unwrap().endpoint.name_any(), winner, "{other}");
        }
    }

    /// The same name and id in two namespaces are two endpoints, each with its own pods.
    #[test]
    fn namespaces_are_kept_apart() {
        let mut builder = synced();
        for (namespace, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
            let mut object = endpoint("articles", None);
            object.metadata.namespace = Some(namespace.to_owned());
            builder.endpoint(Event::Apply(object));
            let mut slice = slice("articles-1", "articles", &json!([{"addresses": [address]}]));
            slice.metadata.namespace = Some(namespace.to_owned());
            builder.slice(Event::Apply(slice));
        }
        let directory = builder.build(Instant::now());
        for (namespace, address) in [("a", "10.0.0.1:8080"), ("b", "10.0.0.2:8080")] {
            let pods = &directory.get(&EndpointKey::new(namespace, "articles")).unwrap().pods;
            assert_eq!(pods.iter().map(|pod| pod.address().to_string()).collect::<Vec<_>>(), [address]);
            assert_eq!(directory.entries(namespace).count(), 1);
        }
        assert_eq!(directory.entries("c").count(), 0);
    }

    /// What waits for an endpoint must not lose its place with every change in the cluster, and must not wait
    /// for an endpoint that was deleted, even if there is a new one under its id.
    #[test]
    fn a_line_lives_as_long_as_its_object() {
        let mut builder = synced();
        let made = |uid: &str| {
            let mut object = endpoint("articles", None);
            object.metadata.uid = Some(uid.to_owned());
            Event::Apply(object)
        };
        let line = |builder: &mut Builder| {
            let directory = builder.build(Instant::now());
            Arc::clone(&directory.get(&key("articles")).unwrap().line)
        };
        builder.endpoint(made("1"));
        let first = line(&mut builder);
        builder.endpoint(made("1"));
        assert!(Arc::ptr_eq(&first, &line(&mut builder)));
        builder.endpoint(made("2"));
        assert!(!Arc::ptr_eq(&first, &line(&mut builder)));
        assert_eq!(builder.lines.len(), 1);
        builder.endpoint(Event::Delete(endpoint("articles", None)));
        builder.build(Instant::now());
        assert!(builder.lines.is_empty());
    }

    /// A relist after a broken watch must not answer 404 for endpoints that are merely not listed yet.
    #[test]
    fn nothing_vanishes_while_a_watch_restarts() {
        let mut builder = Builder::default();
        assert_eq!(builder.endpoint(Event::Init), Change::None);
        assert_eq!(builder.endpoint(Event::InitApply(endpoint("articles", None))), Change::None);
        assert_eq!(builder.endpoint(Event::InitDone), Change::Visible);
        assert!(!builder.build(Instant::now()).is_complete, "the slices are still missing");
        builder.slice(Event::InitDone);
        assert!(builder.build(Instant::now()).is_complete);
        builder.endpoint(Event::Init);
        assert!(builder.build(Instant::now()).get(&key("articles")).is_some());
        builder.endpoint(Event::InitDone);
        assert!(builder.build(Instant::now()).get(&key("articles")).is_none());
    }
}
