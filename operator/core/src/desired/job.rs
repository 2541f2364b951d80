//! The Job of one download attempt. A failed attempt is followed by another Job, never by another pod of the same one, so
//! that the operator, which knows the reason, decides whether and when to try again.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{Container, ContainerPort, PodSpec, PodTemplateSpec, ResourceRequirements},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::pod::{self, CacheAccess};
use crate::{
    children::to_json,
    identity::Identity,
    labels,
    model::{CacheKey, ModelSource, Revision},
    name::{cache_child_name, child_name, short_hash},
    quantity::{Bytes, Cpu},
    settings::Settings,
    validated::CacheRequest,
};

/// Port on which a running download tells its progress.
pub const PROGRESS_PORT: i32 = 8081;
/// Name of the container that downloads.
pub(crate) const CONTAINER: &str = "fetch";

/// The largest models take minutes; a download that still runs after this long is not going to end.
const DEADLINE_SECONDS: i64 = 6 * 60 * 60;

/// What a download does, whichever attempt it is.
#[derive(Clone, Copy, Debug)]
pub struct Download<'a> {
    pub cache: &'a Identity,
    pub settings: &'a Settings,
    pub source: &'a ModelSource,
    pub key: &'a CacheKey,
    /// The revision that an earlier attempt found behind a branch or tag: resolved once, then kept.
    pub resolved: Option<&'a Revision>,
    /// Changes when somebody asks for another try.
    pub retry: &'a str,
    /// Where it may run.
    pub request: &'a CacheRequest,
    /// Name of the claim that is filled.
    pub claim: &'a str,
    /// Size of the volume: a full one may have grown.
    pub volume_size: Bytes,
}

/// Which attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Among all of the cache's downloads, from 1.
    pub number: u32,
    /// Among those with the same inputs, from 1.
    pub tries: u32,
    pub claim_uid: &'a str,
}

impl Download<'_> {
    /// Hash of what decides the outcome. The resolved revision is not among it: a failed attempt finds that out itself, and
    /// would then seem to have changed its own inputs.
    pub fn inputs(&self) -> String {
        let unresolved = Self { resolved: None, ..*self };
        let spec = to_json(&unresolved.pod_spec());
        short_hash(&format!("{spec}\n{}\n{}", self.retry, self.volume_size))
    }

    /// The Job of an attempt.
    pub fn job(&self, attempt: Attempt<'_>) -> Job {
        let Attempt { number, tries, claim_uid } = attempt;
        let name = self.cache.name();
        let mut metadata =
            self.cache.child_metadata(format!("{}-{number}", child_name(name)), labels::of_cache(name));
        metadata.annotations = Some(BTreeMap::from([
            (labels::ATTEMPT.to_owned(), number.to_string()),
            (labels::TRY.to_owned(), tries.to_string()),
            (labels::INPUTS.to_owned(), self.inputs()),
            (labels::CLAIM.to_owned(), claim_uid.to_owned()),
        ]));
        Job {
            metadata,
            spec: Some(JobSpec {
                backoff_limit: Some(0),
                // Two pods must never write to one volume.
                pod_replacement_policy: Some("Failed".to_owned()),
                active_deadline_seconds: Some(DEADLINE_SECONDS),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels::of_cache(name)),
                        annotations: Some(BTreeMap::from([(
                            labels::MODEL_CACHE.to_owned(),
                            name.to_owned(),
                        )])),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod_spec()),
                },
                ..JobSpec::default()
            }),
            status: None,
        }
    }

    fn pod_spec(&self) -> PodSpec {
        PodSpec {
            restart_policy: Some("Never".to_owned()),
            service_account_name: Some(cache_child_name(self.cache.name())),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod::pod_security_context(CacheAccess::Write)),
            image_pull_secrets: pod::image_pull_secrets(self.settings),
            node_selector: self.request.node_selector.clone().and_then(pod::unless_empty),
            tolerations: self.request.tolerations.clone().filter(|tolerations| !tolerations.is_empty()),
            containers: vec![self.container()],
            volumes: Some(pod::volumes(self.claim)),
            ..PodSpec::default()
        }
    }

    fn container(&self) -> Container {
        let listen = format!("0.0.0.0:{PROGRESS_PORT}");
        let arguments = [
            ("--source", self.source.as_str()),
            ("--revision", self.resolved.unwrap_or(self.key.revision()).as_str()),
            ("--output", pod::CACHE_FOLDER),
            ("--hub-endpoint", self.key.hub_endpoint()),
            ("--listen", &listen),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        Container {
            name: CONTAINER.to_owned(),
            image: Some(self.settings.worker_image.as_str().to_owned()),
            image_pull_policy: self.settings.image_pull_policy.map(|policy| policy.as_str().to_owned()),
            args: Some(std::iter::once("fetch".to_owned()).chain(arguments).collect()),
            ports: Some(vec![ContainerPort {
                name: Some("progress".to_owned()),
                container_port: PROGRESS_PORT,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            resources: Some(resources()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            security_context: Some(pod::security_context()),
            volume_mounts: Some(pod::volume_mounts(CacheAccess::Write)),
            ..Container::default()
        }
    }
}

/// A download is light; converting a model holds its weights in memory once or twice.
fn resources() -> ResourceRequirements {
    let pair = |cpu: Cpu, memory: Bytes| {
        Some(BTreeMap::from([("cpu".to_owned(), cpu.into()), ("memory".to_owned(), memory.into())]))
    };
    ResourceRequirements {
        requests: pair(Cpu::millis(100), Bytes::mebibytes(256)),
        limits: pair(Cpu::cores(2), Bytes::mebibytes(4096)),
        claims: None,
    }
}
