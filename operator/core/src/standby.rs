//! Standby allocations: workers that are loaded and warm and reserve next to nothing. While a burst lasts they are lent to requests,
//! and reserve what they use: the request of each is resized in place, and back when the burst is over. PURE.
//!
//! They are pods of a Deployment of their own. What the law decides for starts in the other one meanwhile, and when that
//! serves, the standbys are free again: nothing ever has to change from one to the other.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Pod, ResourceRequirements},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::ResourceExt;
use lexiscale_crds::{InferenceEndpoint, StandbyStatus};

use crate::{
    autoscaler::Decision,
    desired::deployment::CONTAINER,
    failure::{PodFailure, shortened},
    labels::BURST_AT,
    observed::ObservedEndpoint,
    quantity::Cpu,
    rollout::Rollout,
    validated::ValidatedEndpoint,
    wake::in_microseconds,
};

/// CPU that a standby reserves while nobody needs it.
pub const IDLE: Cpu = Cpu::millis(10);
/// How long standbys reserve what they use after a gateway has last told of a burst. Gateways tell again every
/// [`REPEATED`] for as long as it lasts.
pub const HOLD: SignedDuration = SignedDuration::from_secs(45);
pub const REPEATED: SignedDuration = SignedDuration::from_secs(15);

/// What the standbys of an endpoint should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Standby {
    /// Pods.
    pub wanted: u32,
    /// The latest burst, and until when it counts.
    burst: Option<Burst>,
    pub resizes: Vec<Resize>,
    /// Why one of them does not serve. Nobody relies on it, so the endpoint is none the less ready.
    failing: Option<String>,
    /// Where a request stands otherwise than wanted, in the kubelet's words.
    pending: Option<String>,
    /// Why a resize did not come about. It hinders nobody, so it is no rejection.
    pub refused: Option<String>,
    ready: u32,
    reserved: u32,
    /// When to look again without any event.
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Burst {
    /// What the annotation said, by a gateway's clock.
    requested_at: Timestamp,
    /// When that was seen, by ours.
    noted_at: Timestamp,
}

/// A pod whose CPU request has to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    pub pod: String,
    pub uid: String,
    /// All of the container's resources, as the API server wants them.
    pub resources: ResourceRequirements,
    pub cpu: Cpu,
}

/// When gateways last told of a burst, if ever.
pub fn burst_at(endpoint: &InferenceEndpoint) -> Option<Timestamp> {
    let text = endpoint.metadata.annotations.as_ref()?.get(BURST_AT)?;
    Some(in_microseconds(text.parse().ok()?))
}

/// What a standby reserves during a burst: what an allocation does, but a thousandth less than its limit, because a resize must
/// not make another quality of service class of the pod.
pub fn busy(request: Cpu, limit: Cpu) -> Cpu {
    request.min(limit.less_a_thousandth()).max(IDLE)
}

/// Decides for an endpoint; `request` is what an allocation reserves.
pub fn decide(
    endpoint: &ValidatedEndpoint,
    observed: &ObservedEndpoint,
    decision: &Decision,
    request: Cpu,
    now: Timestamp,
) -> Standby {
    let (object, pods) = (&observed.endpoint, &observed.standby_pods);
    // Asleep, nothing runs: an endpoint at zero costs nothing.
    let wanted = if decision.replicas == 0 { 0 } else { endpoint.standby };
    let noted = object.status.as_ref().and_then(|status| Burst::read(status.standby.as_ref()?));
    let burst = match burst_at(object) {
        Some(at) if noted.is_none_or(|noted| noted.requested_at != at) => {
            Some(Burst { requested_at: at, noted_at: now })
        }
        Some(_) | None => noted,
    };
    let until = burst.and_then(|burst| burst.noted_at.checked_add(HOLD).ok()).filter(|until| *until > now);
    let cpu = if until.is_some() { busy(request, Cpu::cores(endpoint.threads.get())) } else { IDLE };
    let serving: Vec<_> = pods.iter().filter(|pod| is_serving(pod)).collect();
    let failing = failing(&Rollout::new(observed.standby_deployment.as_ref(), pods));
    let resizes = serving.iter().filter_map(|pod| Resize::of(pod, cpu)).collect();
    let pending = until.and_then(|_| serving.iter().find_map(|pod| pending(pod)));
    let reserved = serving
        .iter()
        .filter(|pod| requested(pod).is_some_and(|now| now > IDLE) && pending_reason(pod).is_none());
    Standby {
        wanted,
        // Remembered also asleep: the annotation stays, and would count as another burst after the next wake-up.
        burst: burst.filter(|_| endpoint.standby > 0 || !serving.is_empty()),
        failing: failing.filter(|_| wanted > 0),
        pending,
        refused: None,
        ready: count(serving.len()),
        reserved: count(reserved.count()),
        resizes,
        until: until.filter(|_| wanted > 0),
    }
}

impl Standby {
    /// As the status shows it; nothing where there is none and no burst to remember.
    pub fn status(&self) -> Option<StandbyStatus> {
        let Self { wanted, burst, resizes: _, failing, pending, refused, ready, reserved, until: _ } = self;
        if *wanted == 0 && *ready == 0 && burst.is_none() {
            return None;
        }
        let refused = refused
            .as_ref()
            .map(|refused| format!("the API server refuses to resize: {}", shortened(refused)));
        let hindered = refused
            .or_else(|| pending.clone())
            .map(|hindered| format!("{hindered}; they serve with the CPU that is idle"));
        Some(StandbyStatus {
            desired: signed(*wanted),
            ready: signed(*ready),
            reserved: signed(*reserved),
            burst_requested_at: burst.map(|burst| MicroTime(burst.requested_at)),
            burst_noted_at: burst.map(|burst| MicroTime(burst.noted_at)),
            // One that does not serve comes first: no resize helps it.
            message: failing.clone().or(hindered),
        })
    }
}

impl Burst {
    fn read(status: &StandbyStatus) -> Option<Self> {
        let (requested, noted) = (status.burst_requested_at.as_ref()?, status.burst_noted_at.as_ref()?);
        Some(Self { requested_at: requested.0, noted_at: noted.0 })
    }
}

impl Resize {
    fn of(pod: &Pod, cpu: Cpu) -> Option<Self> {
        if requested(pod)? == cpu {
            return None;
        }
        let mut resources = container_resources(pod)?.clone();
        resources.requests.as_mut()?.insert("cpu".to_owned(), cpu.into());
        Some(Self { pod: pod.name_any(), uid: pod.uid()?, resources, cpu })
    }
}

fn container_resources(pod: &Pod) -> Option<&ResourceRequirements> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find(|container| container.name == CONTAINER)?.resources.as_ref()
}

/// The CPU request that its spec names.
fn requested(pod: &Pod) -> Option<Cpu> {
    container_resources(pod)?.requests.as_ref()?.get("cpu")?.0.parse().ok()
}

/// One that is not ready is still starting, with the request that it was scheduled by.
fn is_serving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// What keeps them from serving, in the order in which pods come to life.
fn failing(rollout: &Rollout) -> Option<String> {
    if let Some(message) = &rollout.refused {
        return Some(format!("the API server refuses standby pods: {message}"));
    }
    let of_pod = |PodFailure { severity: _, failure }: &PodFailure| {
        let pod = failure.pod.as_deref().unwrap_or_default();
        format!("standby {pod} does not serve ({}: {})", failure.reason, failure.message)
    };
    let overdue = || rollout.overdue.as_ref().map(|message| format!("standbys do not start: {message}"));
    rollout.failure.as_ref().map(of_pod).or_else(overdue)
}

/// Why the node has not granted a resize: `Deferred` until there is room, or `Infeasible`.
fn pending_reason(pod: &Pod) -> Option<&str> {
    condition(pod, "PodResizePending").map(|condition| condition.reason.as_deref().unwrap_or_default())
}

fn pending(pod: &Pod) -> Option<String> {
    let reason = pending_reason(pod)?;
    let message = condition(pod, "PodResizePending")?.message.as_deref().unwrap_or_default();
    Some(format!("the node does not grant {} its request ({reason}: {message})", pod.name_any()))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
