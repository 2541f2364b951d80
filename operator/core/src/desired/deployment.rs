//! The Deployment of an endpoint's workers: one pod for each allocation.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Affinity, Container, ContainerPort, HTTPGetAction, PodAffinity, PodAffinityTerm, PodSpec,
            PodTemplateSpec, Probe, ResourceRequirements, TopologySpreadConstraint,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use lexiscale_wire::{LIVE_PATH, Pruning, READY_PATH};

use super::{
    ReadyCache, Workers,
    pod::{self, CacheAccess},
    service::{PORT, PORT_NAME},
    tls,
};
use crate::{
    children::to_json,
    labels,
    name::{child_name, label_value, short_hash},
    quantity::{Bytes, Cpu},
    settings::{AccessMode, ImagePullPolicy, Settings},
    validated::ValidatedEndpoint,
};

/// Name of the container that serves.
pub const CONTAINER: &str = "worker";

/// Longest time from SIGTERM to SIGKILL. The worker itself goes on serving for 5 s, so that gateways notice, and then gives
/// the requests in flight 20 s; the rest is for a busy node.
const GRACE_PERIOD_SECONDS: i64 = 45;
/// Time in which a rollout must get on before it counts as failed. Covers loading a model of some gigabytes from a slow disk.
const PROGRESS_DEADLINE_SECONDS: i32 = 600;

/// Memory for each thread beside the model: its activations and its share of the queue.
const MEMORY_PER_THREAD: Bytes = Bytes::mebibytes(64);
const MEMORY_UNIT: Bytes = Bytes::mebibytes(16);
const LEAST_MEMORY: Bytes = Bytes::mebibytes(256);
/// Where the download gave no estimate.
const UNKNOWN_MODEL_MEMORY: u64 = Bytes::mebibytes(1536).get();

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

pub fn deployment(workers: &Workers<'_>, cache: &ReadyCache) -> Deployment {
    let Workers { endpoint, decision, settings: _ } = workers;
    let identity = &endpoint.identity;
    let replicas = i32::try_from(decision.replicas).unwrap_or(i32::MAX);
    Deployment {
        metadata: identity.child_metadata(child_name(identity.name()), labels::of_endpoint(identity.name())),
        spec: DeploymentSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(2),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            selector: LabelSelector {
                match_labels: Some(labels::worker_selector(identity.name())),
                match_expressions: None,
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                // A quarter, at least one, is started anew before an old one goes: no request finds nobody.
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::String("25%".to_owned())),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: template(workers, cache),
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

fn template(workers: &Workers<'_>, cache: &ReadyCache) -> PodTemplateSpec {
    let Workers { endpoint, .. } = workers;
    let name = endpoint.identity.name();
    let mut pod_labels = endpoint.pods.labels.clone();
    pod_labels.insert(labels::MODEL_CACHE.to_owned(), label_value(&cache.name));
    pod_labels.insert(labels::VOLUME_CLAIM.to_owned(), label_value(&cache.claim));
    pod_labels.extend(labels::of_endpoint(name));
    let mut annotations = endpoint.pods.annotations.clone();
    annotations.insert(labels::ENDPOINT.to_owned(), name.to_owned());
    annotations.insert(labels::MODEL_CACHE.to_owned(), cache.name.clone());
    annotations.insert(labels::MODEL_ID.to_owned(), endpoint.model.id.clone());
    annotations.insert(labels::DIGEST.to_owned(), cache.digest.clone());
    annotations.insert(labels::PRECISION.to_owned(), cache.precision.as_str().to_owned());
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(workers, cache)),
    };
    let revision = short_hash(&to_json(&template));
    if let Some(annotations) = template.metadata.as_mut().and_then(|metadata| metadata.annotations.as_mut()) {
        annotations.insert(labels::REVISION.to_owned(), revision);
    }
    template
}

fn pod_spec(workers: &Workers<'_>, cache: &ReadyCache) -> PodSpec {
    let Workers { endpoint, settings, .. } = workers;
    PodSpec {
        service_account_name: Some(child_name(endpoint.identity.name())),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_PERIOD_SECONDS),
        security_context: Some(pod::pod_security_context(CacheAccess::Read)),
        image_pull_secrets: pod::image_pull_secrets(settings),
        node_selector: pod::unless_empty(endpoint.pods.node_selector.clone()),
        tolerations: (!endpoint.pods.tolerations.is_empty()).then(|| endpoint.pods.tolerations.clone()),
        priority_class_name: endpoint.pods.priority_class_name.clone(),
        affinity: affinity(cache),
        topology_spread_constraints: spread(endpoint, cache),
        containers: vec![container(workers, cache)],
        volumes: Some(
            pod::volumes(&cache.claim)
                .into_iter()
                .chain(settings.worker_tls_secret.as_deref().map(tls::volume))
                .collect(),
        ),
        ..PodSpec::default()
    }
}

fn container(workers: &Workers<'_>, cache: &ReadyCache) -> Container {
    let Workers { endpoint, settings, .. } = workers;
    let model = format!("{}/model", pod::CACHE_FOLDER);
    let threads = endpoint.threads.get().to_string();
    let precision = cache.precision.as_str();
    let listen = format!("0.0.0.0:{PORT}");
    let mut arguments =
        ["serve", "--model", &model, "--threads", &threads, "--precision", precision, "--listen", &listen]
            .map(str::to_owned)
            .to_vec();
    arguments.extend(settings.otlp_endpoint.as_ref().map(|collector| format!("--otlp-endpoint={collector}")));
    arguments.extend(output_arguments(endpoint.pruning));
    let has_tls = settings.worker_tls_secret.is_some();
    if has_tls {
        arguments.extend(tls::arguments());
    }
    let (ports, asked) =
        if has_tls { (tls::ports(), tls::ADMIN_PORT_NAME) } else { (plain_ports(), PORT_NAME) };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(settings.worker_image.as_str().to_owned()),
        image_pull_policy: settings
            .image_pull_policy
            .map(|policy: ImagePullPolicy| policy.as_str().to_owned()),
        args: Some(arguments),
        ports: Some(ports),
        resources: Some(resources(workers, cache)),
        // No startup probe: the kubelet would ask only once a second for that, and for readiness only afterwards. The port is open
        // and says that it is alive before the model is touched; asked for readiness, it answers when the model is loaded.
        readiness_probe: Some(probe(asked, READY_PATH, 1, 2, 2)),
        // A busy worker answers late, a hung one never: a minute and more of silence before it is killed.
        liveness_probe: Some(probe(asked, LIVE_PATH, 10, 10, 6)),
        // What a worker that died said last is what `kubectl describe` and our status show.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(pod::security_context()),
        volume_mounts: Some(
            pod::volume_mounts(CacheAccess::Read)
                .into_iter()
                .chain(has_tls.then(tls::volume_mount))
                .collect(),
        ),
        ..Container::default()
    }
}

fn resources(workers: &Workers<'_>, cache: &ReadyCache) -> ResourceRequirements {
    let Workers { endpoint, settings, .. } = workers;
    let limit = Cpu::cores(endpoint.threads.get());
    let request = cpu_request(endpoint, settings);
    let memory = endpoint.memory.unwrap_or_else(|| estimated_memory(endpoint, cache));
    let both = |cpu: Cpu| {
        Some(BTreeMap::from([("cpu".to_owned(), cpu.into()), ("memory".to_owned(), memory.into())]))
    };
    ResourceRequirements { requests: both(request), limits: both(limit), claims: None }
}

/// Only what is set, so that endpoints without it do not roll.
fn output_arguments(pruning: Pruning) -> impl Iterator<Item = String> {
    let Pruning { top_k, max_ratio, min_weight } = pruning;
    let top_k = top_k.map(|count| format!("--top-k={count}"));
    let max_ratio = max_ratio.map(|ratio| format!("--max-ratio={}", f32::from(ratio)));
    let min_weight = min_weight.map(|weight| format!("--min-weight={}", f32::from(weight)));
    [top_k, max_ratio, min_weight].into_iter().flatten()
}

/// What an allocation reserves.
pub fn cpu_request(endpoint: &ValidatedEndpoint, settings: &Settings) -> Cpu {
    let threads = endpoint.threads.get();
    let default = settings.cpu_request_per_thread.times(threads);
    endpoint.cpu_request.unwrap_or(default).min(Cpu::cores(threads))
}

/// The download's estimate for the model, plus 64 MiB for each thread, rounded up to 16 MiB, at least 256 MiB.
fn estimated_memory(endpoint: &ValidatedEndpoint, cache: &ReadyCache) -> Bytes {
    MEMORY_PER_THREAD
        .times(endpoint.threads.get())
        .plus(cache.memory_bytes.unwrap_or(UNKNOWN_MODEL_MEMORY))
        .rounded_up_to(MEMORY_UNIT)
        .max(LEAST_MEMORY)
}

fn plain_ports() -> Vec<ContainerPort> {
    vec![ContainerPort {
        name: Some(PORT_NAME.to_owned()),
        container_port: PORT,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }]
}

fn probe(port: &str, path: &str, period: i32, timeout: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// A volume that only one node can have keeps all of its readers on that node: elsewhere they would wait for it for ever.
/// The claim, not the cache, is what they have in common: a new volume may come to be on another node.
fn affinity(cache: &ReadyCache) -> Option<Affinity> {
    let term = PodAffinityTerm {
        topology_key: HOST.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some([(labels::VOLUME_CLAIM.to_owned(), label_value(&cache.claim))].into()),
            match_expressions: None,
        }),
        ..PodAffinityTerm::default()
    };
    match cache.access_mode {
        AccessMode::ReadWriteMany => None,
        AccessMode::ReadWriteOnce => Some(Affinity {
            pod_affinity: Some(PodAffinity {
                required_during_scheduling_ignored_during_execution: Some(vec![term]),
                ..PodAffinity::default()
            }),
            ..Affinity::default()
        }),
    }
}

/// Soft: a single node must be able to run everything. Not at all where the volume decides on the node.
fn spread(endpoint: &ValidatedEndpoint, cache: &ReadyCache) -> Option<Vec<TopologySpreadConstraint>> {
    let constraint = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::worker_selector(endpoint.identity.name())),
            match_expressions: None,
        }),
        // The old revision's pods are on their way out and must not push the new one's around.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    };
    match cache.access_mode {
        AccessMode::ReadWriteOnce => None,
        AccessMode::ReadWriteMany => Some(vec![constraint(ZONE), constraint(HOST)]),
    }
}
