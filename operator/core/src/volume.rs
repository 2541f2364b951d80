//! The volume of a cache: how large it should be, and what lies on it. PURE.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use lexiscale_wire::FetchedModel;

use crate::{
    identity::Identity,
    labels,
    name::claim_name,
    quantity::Bytes,
    settings::{AccessMode, Settings},
    validated::CacheRequest,
};

/// A volume as its claim should describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Name of its claim.
    pub claim: String,
    pub size: Bytes,
    pub storage_class_name: Option<String>,
    pub access_mode: AccessMode,
    /// What lies on it; absent until a download has succeeded.
    pub model: Option<FetchedModel>,
}

impl Volume {
    /// What a claim should be that does not exist yet, or that does.
    ///
    /// Class and access mode of a claim can never change, and its size can only grow, so those of an existing claim win
    /// over settings that changed since.
    pub fn new(
        cache: &Identity,
        request: &CacheRequest,
        settings: &Settings,
        claims: &[PersistentVolumeClaim],
    ) -> Self {
        let outlived: Vec<&str> = claims
            .iter()
            .filter(|claim| cache.owns(&claim.metadata) && claim.metadata.deletion_timestamp.is_some())
            .filter_map(|claim| claim.metadata.uid.as_deref())
            .collect();
        let asked = Self {
            claim: claim_name(cache.name(), cache.uid(), &outlived),
            size: request.size.unwrap_or(settings.cache_size),
            storage_class_name: request
                .storage_class_name
                .clone()
                .or_else(|| settings.cache_storage_class.clone()),
            access_mode: request.access_mode.unwrap_or(settings.cache_access_mode),
            model: None,
        };
        let Some(live) = current_claim(cache, claims) else { return asked };
        let live_size = size_of(live);
        Self {
            claim: live.name_any(),
            size: match (request.size, live_size) {
                (Some(asked), Some(live)) => asked.max(live),
                (None, Some(live)) => live,
                (Some(_) | None, None) => asked.size,
            },
            storage_class_name: live.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
            access_mode: mode_of(live).unwrap_or(asked.access_mode),
            model: model_on(live),
        }
    }
}

/// The claim that a cache uses: its own, and not one that is being deleted. That one stays as long as workers read it,
/// and a claim that is replaced is what they will roll to.
pub fn current_claim<'a>(
    cache: &Identity,
    claims: &'a [PersistentVolumeClaim],
) -> Option<&'a PersistentVolumeClaim> {
    let usable = |claim: &&PersistentVolumeClaim| {
        cache.owns(&claim.metadata) && claim.metadata.deletion_timestamp.is_none()
    };
    claims.iter().filter(usable).min_by_key(|claim| claim.name_any())
}

/// What the claim says lies on the volume.
pub fn model_on(claim: &PersistentVolumeClaim) -> Option<FetchedModel> {
    let stamp = claim.metadata.annotations.as_ref()?.get(labels::MODEL)?;
    serde_json::from_str(stamp).ok()
}

fn size_of(claim: &PersistentVolumeClaim) -> Option<Bytes> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    resources.requests.as_ref()?.get("storage")?.0.parse().ok()
}

fn mode_of(claim: &PersistentVolumeClaim) -> Option<AccessMode> {
    claim.spec.as_ref()?.access_modes.as_ref()?.first()?.parse().ok()
}
