//! What worker pods and download pods have in common: the restrictions of Pod Security "restricted", a read-only root, and
//! the folder that the model lies in.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, EmptyDirVolumeSource, LocalObjectReference, PersistentVolumeClaimVolumeSource,
    PodSecurityContext, SeccompProfile, SecurityContext, Volume, VolumeMount,
};

use crate::{quantity::Bytes, settings::Settings};

/// Where the volume is mounted; the published model is the folder `model` in it.
pub(super) const CACHE_FOLDER: &str = "/var/lib/lexiscale";
const CACHE_VOLUME: &str = "cache";
const SCRATCH_VOLUME: &str = "tmp";

/// The user of our images. Fixed, because what the download writes the workers must be able to read.
const USER: i64 = 65532;

/// Whether a pod may change the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheAccess {
    Write,
    Read,
}

pub(super) fn pod_security_context(access: CacheAccess) -> PodSecurityContext {
    // Only the download may change a volume's group: it is the one that finds the volume fresh and owned by root.
    let (fs_group, fs_group_change_policy) = match access {
        CacheAccess::Write => (Some(USER), Some("OnRootMismatch".to_owned())),
        CacheAccess::Read => (None, None),
    };
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group,
        fs_group_change_policy,
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

pub(super) fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

pub(super) fn volumes(claim: &str) -> Vec<Volume> {
    vec![
        Volume {
            name: CACHE_VOLUME.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        },
        Volume {
            name: SCRATCH_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Bytes::mebibytes(64).into()),
                medium: None,
                mode: None,
            }),
            ..Volume::default()
        },
    ]
}

pub(super) fn volume_mounts(access: CacheAccess) -> Vec<VolumeMount> {
    let read_only = match access {
        CacheAccess::Write => None,
        CacheAccess::Read => Some(true),
    };
    vec![
        VolumeMount {
            name: CACHE_VOLUME.to_owned(),
            mount_path: CACHE_FOLDER.to_owned(),
            read_only,
            ..VolumeMount::default()
        },
        VolumeMount {
            name: SCRATCH_VOLUME.to_owned(),
            mount_path: "/tmp".to_owned(),
            ..VolumeMount::default()
        },
    ]
}

pub(super) fn image_pull_secrets(settings: &Settings) -> Option<Vec<LocalObjectReference>> {
    let secrets = &settings.image_pull_secrets;
    let reference = |name: &String| LocalObjectReference { name: name.clone() };
    (!secrets.is_empty()).then(|| secrets.iter().map(reference).collect())
}

/// A map as the API takes it: absent rather than empty.
pub(super) fn unless_empty<V>(map: BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    (!map.is_empty()).then_some(map)
}
