//! A cluster small enough to reason about: it stores what plans write, and what kubelet and controllers would answer is
//! put in by the test. It is no API server; `operator/tests` talk to a real one.

use jiff::Timestamp;
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
use kube::ResourceExt;
use lexiscale_core::{
    children::{Child, ChildKind, ChildObject, LiveChild},
    identity::Identity,
    labels,
    name::{child_name, standby_child_name},
    observed::{ObservedCache, ObservedEndpoint},
    plan::{
        self, Write,
        endpoint::EndpointPlan,
        model_cache::{CachePlan, ValidatedCache},
    },
    settings::Settings,
    status,
    validated::ValidatedEndpoint,
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fixtures::{NAMESPACE, fetched_model, now};

/// What each download takes.
pub(crate) const DOWNLOAD: jiff::SignedDuration = jiff::SignedDuration::from_secs(12);

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) now: Timestamp,
    pub(crate) endpoints: Vec<InferenceEndpoint>,
    pub(crate) caches: Vec<ModelCache>,
    pub(crate) children: Vec<(ChildKind, Value)>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) largest_node: Option<u32>,
    pub(crate) nodes: Vec<lexiscale_core::nodes::NodeFacts>,
    /// Where the name of every registry leads.
    pub(crate) registry: std::net::IpAddr,
    pub(crate) proposal: Option<lexiscale_core::follower::Proposal>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: now(),
            endpoints: vec![],
            caches: vec![],
            children: vec![],
            pods: vec![],
            largest_node: None,
            nodes: vec![],
            registry: [93, 184, 215, 14].into(),
            proposal: None,
        }
    }

    pub(crate) fn with(mut self, endpoint: InferenceEndpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    pub(crate) fn endpoint(&self, name: &str) -> &InferenceEndpoint {
        self.endpoints.iter().find(|endpoint| endpoint.name_any() == name).unwrap()
    }

    pub(crate) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut InferenceEndpoint)) {
        let endpoint = self.endpoints.iter_mut().find(|endpoint| endpoint.name_any() == name).unwrap();
        edit(endpoint);
        endpoint.metadata.generation = endpoint.metadata.generation.map(|generation| generation + 1);
    }

    pub(crate) fn get<K: ChildObject + DeserializeOwned>(&self) -> Vec<K> {
        let of_kind = self.children.iter().filter(|(kind, _)| *kind == K::KIND);
        of_kind.map(|(_, manifest)| serde_json::from_value(manifest.clone()).unwrap()).collect()
    }

    pub(crate) fn put<K: ChildObject>(&mut self, object: &K) {
        let value = serde_json::to_value(object).unwrap();
        self.children
            .retain(|(kind, live)| *kind != K::KIND || live["metadata"]["name"] != value["metadata"]["name"]);
        self.children.push((K::KIND, value));
    }

    fn live(&self, owner: &Identity) -> Vec<LiveChild> {
        fn of<K: ChildObject + DeserializeOwned>(world: &World, owner: &Identity) -> Vec<LiveChild> {
            world.get::<K>().iter().filter(|child| owner.owns(child.meta())).map(LiveChild::new).collect()
        }
        [
            of::<ServiceAccount>(self, owner),
            of::<NetworkPolicy>(self, owner),
            of::<Service>(self, owner),
            of::<PodDisruptionBudget>(self, owner),
            of::<PersistentVolumeClaim>(self, owner),
            of::<Deployment>(self, owner),
        ]
        .concat()
    }

    pub(crate) fn observe_endpoint(&self, name: &str) -> ObservedEndpoint {
        let endpoint = self.endpoint(name).clone();
        let identity = Identity::of(&endpoint, "InferenceEndpoint").unwrap();
        let deployments: Vec<Deployment> = self.get();
        let own = |child: &str| {
            let is_it = |deployment: &&Deployment| {
                identity.owns(&deployment.metadata) && deployment.name_any() == child
            };
            deployments.iter().find(is_it).cloned()
        };
        let pods = self
            .pods
            .iter()
            .filter(|pod| pod.labels().get(labels::ENDPOINT).is_some_and(|label| label == name));
        ObservedEndpoint {
            peers: self.endpoints.clone(),
            caches: self.caches.clone(),
            children: self.live(&identity),
            deployment: own(&child_name(name)),
            pods: pods.cloned().collect(),
            largest_node: self.largest_node,
            standby_deployment: own(&standby_child_name(name)),
            standby_pods: self.standbys(name),
            sizing_asked: None,
            sizing_told: None,
            endpoint,
        }
    }

    fn standbys(&self, name: &str) -> Vec<Pod> {
        let of_it = |pod: &&Pod| pod.labels().get(labels::STANDBY_OF).is_some_and(|label| label == name);
        self.pods.iter().filter(of_it).cloned().collect()
    }

    pub(crate) fn observe_cache(&self, name: &str) -> ObservedCache {
        let cache = self.caches.iter().find(|cache| cache.name_any() == name).unwrap().clone();
        let identity = Identity::of(&cache, "ModelCache").unwrap();
        let owned = |metadata: &ObjectMeta| identity.owns(metadata);
        ObservedCache {
            siblings: self.caches.clone(),
            endpoints: self.endpoints.clone(),
            children: self.live(&identity),
            claims: self
                .get::<PersistentVolumeClaim>()
                .into_iter()
                .filter(|claim| owned(&claim.metadata))
                .collect(),
            jobs: self.get::<Job>().into_iter().filter(|job| owned(&job.metadata)).collect(),
            pods: self.pods.clone(),
            progress: None,
            nodes: self.nodes.clone(),
            registry: vec![self.registry],
            cache,
        }
    }

    pub(crate) fn validated(&self, name: &str) -> ValidatedEndpoint {
        ValidatedEndpoint::new(self.endpoint(name), &self.endpoints, &self.settings.catalog).unwrap()
    }

    pub(crate) fn plan_endpoint<'a>(&self, name: &str, observed: &'a ObservedEndpoint) -> EndpointPlan<'a> {
        plan::endpoint::plan(
            &self.validated(name),
            observed,
            &self.settings,
            self.proposal.as_ref(),
            self.now,
        )
    }

    pub(crate) fn plan_cache(&self, name: &str) -> CachePlan {
        let observed = self.observe_cache(name);
        let cache = ValidatedCache::new(&observed.cache, &self.settings).unwrap();
        plan::model_cache::plan(&cache, &observed, &self.settings, self.now)
    }

    /// One pass over an endpoint; returns what was written.
    pub(crate) fn reconcile_endpoint(&mut self, name: &str) -> Vec<Write> {
        let observed = self.observe_endpoint(name);
        let validated = self.validated(name);
        let plan = self.plan_endpoint(name, &observed);
        let status = status::endpoint::of_plan(&validated, &observed, &plan, &[], self.now);
        let writes = plan.writes.clone();
        for write in &writes {
            self.carry_out(write, name);
        }
        self.endpoints.iter_mut().find(|endpoint| endpoint.name_any() == name).unwrap().status = Some(status);
        writes
    }

    /// One pass over a cache; returns what was written.
    pub(crate) fn reconcile_cache(&mut self, name: &str) -> Vec<Write> {
        let observed = self.observe_cache(name);
        let plan = self.plan_cache(name);
        let status = status::model_cache::of_plan(&observed, &plan, &[], self.now);
        let writes = plan.writes.clone();
        for write in &writes {
            self.carry_out(write, name);
        }
        self.caches.iter_mut().find(|cache| cache.name_any() == name).unwrap().status = Some(status);
        writes
    }

    /// Passes over everything until nothing is written any more, no status either.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            let before = (self.endpoints.clone(), self.caches.clone());
            let endpoints: Vec<_> = self.endpoints.iter().map(ResourceExt::name_any).collect();
            let mut written = 0;
            for name in endpoints {
                written += self.reconcile_endpoint(&name).len();
            }
            let caches: Vec<_> = self.caches.iter().map(ResourceExt::name_any).collect();
            for name in caches {
                written += self.reconcile_cache(&name).len();
            }
            if written == 0 && before == (self.endpoints.clone(), self.caches.clone()) {
                return;
            }
        }
        panic!("still writing after 20 rounds");
    }

    fn carry_out(&mut self, write: &Write, actor: &str) {
        match write {
            Write::JoinCache(cache) => self.join(cache),
            Write::LeaveCache { uid, .. } => {
                let actor = self.endpoint(actor).uid();
                for cache in self.caches.iter_mut().filter(|cache| cache.metadata.uid.as_ref() == Some(uid)) {
                    cache.owner_references_mut().retain(|owner| Some(&owner.uid) != actor.as_ref());
                }
            }
            Write::DiscardCache { uid, .. } => {
                self.caches.retain(|cache| cache.metadata.uid.as_ref() != Some(uid));
                self.children
                    .retain(|(_, child)| child["metadata"]["ownerReferences"][0]["uid"] != json!(uid));
            }
            Write::Apply(child) => self.apply(child),
            Write::Scale { deployment, replicas } => {
                let target = |(kind, child): &&mut (ChildKind, Value)| {
                    *kind == ChildKind::Deployment && child["metadata"]["name"] == json!(deployment)
                };
                self.children.iter_mut().find(target).unwrap().1["spec"]["replicas"] = json!(replicas);
            }
            Write::Delete(doomed) => {
                self.children.retain(|(_, child)| child["metadata"]["uid"] != json!(doomed.uid));
            }
        }
    }

    fn join(&mut self, cache: &ModelCache) {
        let name = cache.name_any();
        match self.caches.iter_mut().find(|live| live.name_any() == name) {
            Some(live) => live.owner_references_mut().extend(cache.owner_references().to_vec()),
            None => self.caches.push(crate::fixtures::stored(cache.clone(), &format!("uid-of-{name}"))),
        }
    }

    fn apply(&mut self, child: &Child) {
        let mut manifest = child.manifest().clone();
        let uid = format!("uid-of-{}-{}", child.kind().as_str(), child.name());
        manifest["metadata"]["uid"] = json!(uid);
        manifest["metadata"]["namespace"] = json!(NAMESPACE);
        self.children.retain(|(_, live)| live["metadata"]["uid"] != json!(uid));
        self.children.push((child.kind(), manifest));
    }

    /// The kubelet and the Job controller: the running download of a cache ends like this.
    pub(crate) fn end_download(&mut self, condition: &str, exit_code: i32, report: &str) {
        let (time, began) = (self.now.to_string(), (self.now - DOWNLOAD).to_string());
        for mut job in self.get::<Job>() {
            if job.status.is_some() {
                continue;
            }
            job.status = serde_json::from_value(json!({"conditions": [
                {"type": condition, "status": "True", "lastTransitionTime": time, "reason": "BackoffLimitExceeded"},
            ]}))
            .unwrap();
            let pod = json!({
                "metadata": {
                    "name": format!("{}-pod", job.name_any()),
                    "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid()}],
                },
                "status": {
                    "phase": if exit_code == 0 { "Succeeded" } else { "Failed" },
                    "containerStatuses": [{
                        "name": "fetch", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                        "state": {"terminated": {"exitCode": exit_code, "message": report, "startedAt": began}},
                    }],
                },
            });
            self.pods.push(serde_json::from_value(pod).unwrap());
            self.put(&job);
        }
    }

    pub(crate) fn succeed_download(&mut self) {
        let report = lexiscale_wire::FetchReport::Succeeded(fetched_model()).to_termination_message();
        self.end_download("Complete", 0, &report);
    }

    /// The Deployment controller: every pod is of the latest revision and ready.
    pub(crate) fn complete_rollouts(&mut self) {
        for mut deployment in self.get::<Deployment>() {
            let replicas = deployment.spec.replicas;
            deployment.status = serde_json::from_value(json!({
                "observedGeneration": deployment.metadata.generation,
                "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
            }))
            .unwrap();
            self.put(&deployment);
        }
    }

    /// Everything that an endpoint needs is there and works.
    pub(crate) fn run(&mut self) {
        self.settle();
        self.succeed_download();
        self.settle();
        self.complete_rollouts();
        self.settle();
    }
}

/// The names of the objects that writes are about.
pub(crate) fn summary(writes: &[Write]) -> Vec<String> {
    let describe = |write: &Write| match write {
        Write::JoinCache(cache) => format!("join {}", cache.name_any()),
        Write::LeaveCache { name, .. } => format!("leave {name}"),
        Write::DiscardCache { name, .. } => format!("discard {name}"),
        Write::Apply(child) => format!("apply {} {}", child.kind().as_str(), child.name()),
        Write::Scale { deployment, replicas } => format!("scale {deployment} to {replicas}"),
        Write::Delete(doomed) => format!("delete {} {}", doomed.kind.as_str(), doomed.name),
    };
    writes.iter().map(describe).collect()
}
