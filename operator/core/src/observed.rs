//! What a pass saw. PURE values; the controller fills them by reading the API server.

use std::net::IpAddr;

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use lexiscale_wire::Progress;

use crate::{children::LiveChild, nodes::NodeFacts, sizing};

/// An endpoint and what belongs to it.
#[derive(Clone, Debug)]
pub struct ObservedEndpoint {
    pub endpoint: InferenceEndpoint,
    /// All endpoints of the namespace, this one included or not.
    pub peers: Vec<InferenceEndpoint>,
    /// All caches of the namespace.
    pub caches: Vec<ModelCache>,
    /// Everything that bears the endpoint's label, the Deployment included.
    pub children: Vec<LiveChild>,
    pub deployment: Option<Deployment>,
    pub pods: Vec<Pod>,
    /// CPUs of the largest node, rounded up, where that is known.
    pub largest_node: Option<u32>,
    /// That of its standby allocations.
    pub standby_deployment: Option<Deployment>,
    /// Pods of its standby allocations, which the above are not.
    pub standby_pods: Vec<Pod>,
    /// Which worker had to be asked for what it measured of itself, if one had to.
    pub sizing_asked: Option<sizing::Asked>,
    /// What it said.
    pub sizing_told: Option<sizing::Told>,
}

/// A cache and what belongs to it.
#[derive(Clone, Debug)]
pub struct ObservedCache {
    pub cache: ModelCache,
    /// All caches of the namespace, where a limit makes them matter to each other; none otherwise.
    pub siblings: Vec<ModelCache>,
    /// All endpoints of the namespace.
    pub endpoints: Vec<InferenceEndpoint>,
    /// Everything that bears the cache's label, except its Jobs.
    pub children: Vec<LiveChild>,
    /// All volume claims of the cache, those that are being deleted included.
    pub claims: Vec<PersistentVolumeClaim>,
    pub jobs: Vec<Job>,
    /// Read after the Jobs: a Job that has ended has a pod that says how.
    pub pods: Vec<Pod>,
    /// What the running download answered, if one runs and did.
    pub progress: Option<Progress>,
    /// All nodes, where image volumes depend on them and they are known; none otherwise.
    pub nodes: Vec<NodeFacts>,
    /// What the name of the source's registry leads to, where that was asked.
    pub registry: Vec<IpAddr>,
}

/// A child that could not be written, with the API server's words: a quota, a policy, a name that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub child: String,
    pub message: String,
}
