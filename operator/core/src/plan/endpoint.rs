//! The plan of an endpoint. PURE.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use lexiscale_crds::ServedPrecision;

use super::{
    Write,
    cache_choice::{CacheChoice, ready_cache, releases},
    writes,
};
use crate::{
    autoscaler::{self, Decision},
    children::{Child, ChildKind, LiveChild, difference},
    desired::{self, Workers, deployment::deployment},
    follower::Proposal,
    name::child_name,
    observed::ObservedEndpoint,
    precision::{self, Unavailable},
    rollout::Rollout,
    settings::Settings,
    standby::{self, Standby},
    validated::ValidatedEndpoint,
    wake,
};

/// What an endpoint needs written, with what the decision rested on.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointPlan<'a> {
    pub decision: Decision,
    pub cache: CacheChoice<'a>,
    pub rollout: Rollout,
    /// Where the workers answer.
    pub url: String,
    pub writes: Vec<Write>,
    pub standby: Standby,
    /// Of the workers; none as long as the model is not there.
    pub precision: Option<Result<ServedPrecision, Unavailable>>,
    /// Objects of a deleted namesake that are in the way until they are collected.
    pub leftovers: Vec<String>,
}

/// Plans an endpoint.
pub fn plan<'a>(
    endpoint: &ValidatedEndpoint,
    observed: &'a ObservedEndpoint,
    settings: &Settings,
    proposal: Option<&Proposal>,
    now: Timestamp,
) -> EndpointPlan<'a> {
    let object = &observed.endpoint;
    let memory = object.status.as_ref().and_then(|status| Decision::read(status.decision.as_ref()?));
    let asked = wake::requested_at(object);
    let decision = autoscaler::decide(endpoint.allocations, memory.as_ref(), asked, proposal, now);
    let mut rollout = Rollout::new(observed.deployment.as_ref(), &observed.pods);
    let cache = CacheChoice::new(endpoint, &observed.caches, &rollout, settings);
    let request = desired::deployment::cpu_request(endpoint, settings);
    let standby = standby::decide(endpoint, observed, &decision, request, now);
    let workers = Workers { endpoint, settings, decision: &decision };
    let mut wanted = desired::of_endpoint(&workers);
    if endpoint.standby > 0 {
        wanted.extend(desired::standby::children(&workers));
    }
    let mut live = observed.children.clone();
    let mut scales = Vec::new();
    // Until somebody asks, even a model that is there by others is left alone.
    let cached = cache.existing.filter(|_| !decision.waits_for_first_request());
    let ready = cached.and_then(ready_cache).map(|ready| precision::serve(endpoint.precision, ready));
    let precision =
        ready.as_ref().map(|ready| ready.as_ref().map(|ready| ready.precision).map_err(Clone::clone));
    if let Some(Ok(ready)) = ready {
        wanted.push(Child::new(deployment(&workers, &ready)));
        if endpoint.standby > 0 {
            wanted.push(Child::new(desired::standby::deployment(&workers, &ready, standby.wanted)));
        }
    } else {
        // The model is on its way, or cannot be served as it is asked for. Workers that serve another one, or other bytes of this one, stay as they are but for
        // their number, and so do standbys.
        live.retain(|child: &LiveChild| child.kind() != ChildKind::Deployment);
        scales.extend(rescale(observed.deployment.as_ref(), decision.replicas));
        scales.extend(rescale(observed.standby_deployment.as_ref(), standby.wanted));
    }
    let difference = difference(&endpoint.identity, wanted, &live);
    let mut leftovers = difference.leftovers.clone();
    leftovers.extend(cache.blocked.clone());
    let changes: Vec<Write> = writes(difference).chain(scales).collect();
    // What the Deployment says of itself is about its old spec as soon as we change that: without this, an edit would be
    // reported as done for the moment until the Deployment controller has looked.
    let own = child_name(endpoint.identity.name());
    rollout.complete &= !changes.iter().any(|write| touches_workers(write, &own));
    let join = cache.join.clone().filter(|_| !decision.waits_for_first_request()).map(Write::JoinCache);
    let release = releases(&endpoint.identity, &observed.caches, &rollout, &cache.name);
    let writes = join.into_iter().chain(changes).chain(release).collect();
    let url = desired::service::url(endpoint.identity.name(), endpoint.identity.namespace(), settings);
    EndpointPlan { decision, cache, rollout, url, writes, standby, precision, leftovers }
}

/// Whether the Deployment of the allocations is written. That of the standbys says nothing of these.
fn touches_workers(write: &Write, own: &str) -> bool {
    match write {
        Write::Apply(child) => child.kind() == ChildKind::Deployment && child.name() == own,
        Write::Scale { deployment, replicas: _ } => deployment == own,
        Write::JoinCache(_) | Write::LeaveCache { .. } | Write::DiscardCache { .. } | Write::Delete(_) => {
            false
        }
    }
}

fn rescale(deployment: Option<&Deployment>, wanted: u32) -> Option<Write> {
    let deployment = deployment?;
    let replicas = u32::try_from(deployment.spec.replicas?).ok()?;
    let name = deployment.metadata.name.clone()?;
    (replicas != wanted).then_some(Write::Scale { deployment: name, replicas: wanted })
}
