//! What workers measured of themselves, in the status: asked of one worker once for each revision, and never again. PURE.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;
use lexiscale_crds::{InferenceEndpoint, InferenceEndpointStatus, SizingStatus};
use lexiscale_wire::Sizing;

use crate::{
    desired::{service::PORT_NAME, tls::ADMIN_PORT_NAME},
    labels,
    quantity::Bytes,
    status::{Notice, Tone},
};

/// Figures of memory are for people; what differs by less is the same.
const MEMORY_UNIT: Bytes = Bytes::mebibytes(1);
/// A worker measures when nobody asks anything of it, which may be seconds after its start or never.
const SOONEST: Duration = Duration::from_secs(4);
/// A worker that has not said it by then is asked at passes that have other reasons.
const LATEST: Duration = Duration::from_mins(15);

/// Where a worker is asked, and about which revision it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub ip: String,
    pub port: u16,
    pub revision: String,
    /// Until it is asked again if it has not measured yet.
    pub again: Option<Duration>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub revision: String,
    pub sizing: Sizing,
}

/// Whom to ask, where the status does not know the present revision yet.
pub fn to_ask(
    endpoint: &InferenceEndpoint,
    deployment: Option<&Deployment>,
    pods: &[Pod],
    now: Timestamp,
) -> Option<Asked> {
    let revision =
        deployment?.spec.template.metadata.as_ref()?.annotations.as_ref()?.get(labels::REVISION)?;
    let known = endpoint.status.as_ref().and_then(|status| status.sizing.as_ref());
    if known.is_some_and(|known| known.revision == *revision) {
        return None;
    }
    let of_it = pods.iter().filter(|pod| pod.annotations().get(labels::REVISION) == Some(revision));
    let (pod, since) =
        of_it.filter_map(|pod| Some((pod, ready_since(pod)?))).min_by_key(|(_, since)| *since)?;
    let ready_for = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(Asked {
        ip: pod.status.as_ref()?.pod_ip.clone()?,
        port: port(pod, ADMIN_PORT_NAME).or_else(|| port(pod, PORT_NAME))?,
        revision: revision.clone(),
        // The longer it is ready, the less is it worth a pass.
        again: (ready_for < LATEST).then(|| ready_for.max(SOONEST)),
    })
}

/// What the status says after a pass. Figures of an earlier revision stay until there are new ones.
pub fn status(previous: Option<&SizingStatus>, told: Option<&Told>) -> Option<SizingStatus> {
    let Some(Told { revision, sizing }) = told else { return previous.cloned() };
    let Sizing { tokens_per_second, documents_per_second_128, resident_bytes, recommended_memory_bytes } =
        *sizing;
    let memory = |bytes: u64| Bytes::mebibytes(0).plus(bytes.max(1)).rounded_up_to(MEMORY_UNIT).into();
    Some(SizingStatus {
        revision: revision.clone(),
        tokens_per_second,
        documents_per_second_128,
        resident_memory: memory(resident_bytes),
        recommended_memory: memory(recommended_memory_bytes),
    })
}

/// Told once, when the figures come: an allocation that may be killed under load.
pub fn too_little_memory(
    endpoint: &InferenceEndpoint,
    before: Option<&InferenceEndpointStatus>,
    after: &InferenceEndpointStatus,
) -> Option<Notice> {
    let sizing = after.sizing.as_ref()?;
    if before.and_then(|before| before.sizing.as_ref()) == Some(sizing) {
        return None;
    }
    let given: Bytes = endpoint.spec.deployment.as_ref()?.memory.as_ref()?.0.parse().ok()?;
    let recommended: Bytes = sizing.recommended_memory.0.parse().ok()?;
    (given < recommended).then(|| Notice {
        tone: Tone::Warning,
        reason: "MemoryBelowRecommendation".to_owned(),
        message: format!(
            "deployment.memory is {given}, but the workers recommend {recommended} after measuring themselves; raise it, or leave it \
             out"
        ),
    })
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

fn port(pod: &Pod, name: &str) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    u16::try_from(ports.find(|port| port.name.as_deref() == Some(name))?.container_port).ok()
}

#[cfg(test)]
mod tests;
