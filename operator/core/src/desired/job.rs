//! The Job of one download attempt. A failed attempt is followed by another Job, never by another pod of the same one, so
//! that the operator, which knows the reason, decides whether and when to try again.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Container, ContainerPort, ImageVolumeSource, LocalObjectReference,
            PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, ResourceRequirements,
            SecretVolumeSource, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::pod::{self, CacheAccess};
use crate::{
    children::to_json,
    identity::Identity,
    labels,
    model::{CacheKey, ModelSource, Place, Revision},
    name::{cache_child_name, child_name, short_hash},
    quantity::{Bytes, Cpu},
    settings::{ImagePullPolicy, Settings},
    validated::CacheRequest,
};

/// Port on which a running download tells its progress.
pub const PROGRESS_PORT: i32 = 8081;
/// Name of the container that downloads.
pub(crate) const CONTAINER: &str = "fetch";

/// Volume with credentials for the source; its presence in a pod says that the download had some.
pub(crate) const SECRET_VOLUME: &str = "credentials";
const SECRET_FOLDER: &str = "/var/run/secrets/lexiscale";
const SOURCE_VOLUME: &str = "source";
const SOURCE_FOLDER: &str = "/var/lib/lexiscale-source";

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
    /// Digest over the files that an earlier attempt brought, which a later one must bring again.
    pub pinned: Option<&'a str>,
    /// Changes when somebody asks for another try.
    pub retry: &'a str,
    /// Where it may run.
    pub request: &'a CacheRequest,
    /// Name of the claim that is filled.
    pub claim: &'a str,
    /// Size of the volume: a full one may have grown.
    pub volume_size: Bytes,
    /// Image, by its digest, that is mounted in the place of being fetched.
    pub image: Option<&'a str>,
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
    /// would then seem to have changed its own inputs. Nor is the way that the files come by, which is the operator's affair.
    pub fn inputs(&self) -> String {
        let unresolved = Self { resolved: None, pinned: None, image: None, ..*self };
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
            image_pull_secrets: self.image_pull_secrets(),
            node_selector: self.request.node_selector.clone().and_then(pod::unless_empty),
            tolerations: self.request.tolerations.clone().filter(|tolerations| !tolerations.is_empty()),
            containers: vec![self.container()],
            volumes: Some(
                pod::volumes(self.claim)
                    .into_iter()
                    .chain(self.secret())
                    .chain(self.source_volume())
                    .collect(),
            ),
            ..PodSpec::default()
        }
    }

    /// For an image volume it is the kubelet that needs the Secret of the source; one that is of no type for registries it passes
    /// over, as it does one that is not there.
    fn image_pull_secrets(&self) -> Option<Vec<LocalObjectReference>> {
        let own = self.image.and(self.request.secret_name.clone()).map(|name| LocalObjectReference { name });
        let mut secrets: Vec<_> = pod::image_pull_secrets(self.settings).into_iter().flatten().collect();
        // The API server takes no name twice.
        secrets.extend(own.filter(|own| !secrets.contains(own)));
        (!secrets.is_empty()).then_some(secrets)
    }

    /// Optional, so that the download can say what is missing; a pod without its volume says nothing. Nobody is asked by a download
    /// that reads an image volume.
    fn secret(&self) -> Option<Volume> {
        if self.image.is_some() {
            return None;
        }
        let secret = SecretVolumeSource {
            secret_name: Some(self.request.secret_name.clone()?),
            optional: Some(true),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        };
        Some(Volume { name: SECRET_VOLUME.to_owned(), secret: Some(secret), ..Volume::default() })
    }

    fn source_volume(&self) -> Option<Volume> {
        if let Some(image) = self.image {
            let image = ImageVolumeSource {
                reference: Some(image.to_owned()),
                // What a digest names does not change.
                pull_policy: Some(ImagePullPolicy::IfNotPresent.as_str().to_owned()),
            };
            return Some(Volume { name: SOURCE_VOLUME.to_owned(), image: Some(image), ..Volume::default() });
        }
        let Place::Claim { name } = self.source.place() else { return None };
        let claim = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: Some(true) };
        Some(Volume {
            name: SOURCE_VOLUME.to_owned(),
            persistent_volume_claim: Some(claim),
            ..Volume::default()
        })
    }

    fn mounts(&self) -> Vec<VolumeMount> {
        let read_only = |name: &str, path: &str| VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        let secret = self.secret().map(|_| read_only(SECRET_VOLUME, SECRET_FOLDER));
        let source = self.source_volume().map(|_| read_only(SOURCE_VOLUME, SOURCE_FOLDER));
        pod::volume_mounts(CacheAccess::Write).into_iter().chain(secret).chain(source).collect()
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["fetch".to_owned()];
        let mut add = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
        add("--source", self.source.as_str());
        add("--revision", self.resolved.unwrap_or(self.key.revision()).as_str());
        add("--output", pod::CACHE_FOLDER);
        if let Some(endpoint) = self.key.endpoint() {
            add("--hub-endpoint", endpoint);
        }
        add("--listen", &format!("0.0.0.0:{PROGRESS_PORT}"));
        if let Some(server) = self.key.server().filter(|server| self.settings.trusts(server)) {
            add("--trusted-server", server);
        }
        for port in &self.settings.downloads.ports {
            add("--allow-port", &port.to_string());
        }
        if self.secret().is_some() {
            add("--secret-folder", SECRET_FOLDER);
        }
        if self.source_volume().is_some() {
            let flag = if self.image.is_some() { "--image-folder" } else { "--claim-folder" };
            add(flag, SOURCE_FOLDER);
        }
        for (name, sha256) in self.key.checksums() {
            add("--checksum", &format!("{name}={sha256}"));
        }
        if let Some(key) = self.key.public_key() {
            add("--public-key", key);
        }
        if let Some(digest) = self.pinned {
            add("--pinned-digest", digest);
        }
        if self.settings.downloads.allow_private_addresses {
            arguments.push("--allow-private-addresses".to_owned());
        }
        arguments
    }

    fn container(&self) -> Container {
        Container {
            name: CONTAINER.to_owned(),
            image: Some(self.settings.worker_image.as_str().to_owned()),
            image_pull_policy: self.settings.image_pull_policy.map(|policy| policy.as_str().to_owned()),
            args: Some(self.arguments()),
            ports: Some(vec![ContainerPort {
                name: Some("progress".to_owned()),
                container_port: PROGRESS_PORT,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            resources: Some(resources()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            security_context: Some(pod::security_context()),
            volume_mounts: Some(self.mounts()),
            ..Container::default()
        }
    }
}

/// The image that a Job's download reads as a volume.
pub(crate) fn mounted_image(job: &Job) -> Option<&str> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let source = pod.volumes.iter().flatten().find(|volume| volume.name == SOURCE_VOLUME)?;
    source.image.as_ref()?.reference.as_deref()
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
