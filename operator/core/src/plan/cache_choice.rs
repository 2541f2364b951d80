//! Which cache an endpoint uses, and which ones it no longer needs. PURE.

use kube::ResourceExt;
use lexiscale_crds::{ConditionType, Conditions, ModelCache, ServedPrecision};

use super::Write;
use crate::{
    desired::{ReadyCache, model_cache::model_cache},
    identity::{Identity, owners},
    labels,
    model::CacheKey,
    rollout::Rollout,
    settings::Settings,
    validated::ValidatedEndpoint,
};

/// The cache that an endpoint should use.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheChoice<'a> {
    pub name: String,
    pub existing: Option<&'a ModelCache>,
    /// What has to be written so that it exists and stays.
    pub join: Option<Box<ModelCache>>,
    /// Something else has its name, or it is being deleted.
    pub blocked: Option<String>,
}

impl<'a> CacheChoice<'a> {
    /// Chooses among the caches that hold the endpoint's model: the one its workers use already, else the operator's own,
    /// else the oldest. A cache that a user made, to warm a model ahead, is used but never owned: it stays when the endpoint
    /// goes.
    pub fn new(
        endpoint: &ValidatedEndpoint,
        caches: &'a [ModelCache],
        rollout: &Rollout,
        settings: &Settings,
    ) -> Self {
        let hub = settings.hub_endpoint.as_deref();
        let key = CacheKey::of_model(&endpoint.model, hub);
        let own_name = key.cache_name();
        let in_use = rollout.template.as_ref().map(|model| model.cache.as_str());
        let rank = |cache: &&ModelCache| {
            let name = cache.name_any();
            let created = cache.creation_timestamp().map(|time| time.0);
            (Some(name.as_str()) != in_use, name != own_name, created, name)
        };
        let existing = caches
            .iter()
            .filter(|cache| cache.metadata.deletion_timestamp.is_none())
            .filter(|cache| cache.labels().get(labels::OPERATOR) == settings.instance.as_ref())
            .filter(|cache| CacheKey::of_cache(&cache.spec, hub).as_ref() == Some(&key))
            .min_by_key(rank);
        let joined = |cache: &ModelCache| !is_ours(cache) || endpoint.identity.owns(&cache.metadata);
        let in_the_way =
            existing.is_none().then(|| caches.iter().find(|cache| cache.name_any() == own_name)).flatten();
        Self {
            name: existing.map_or(own_name, ResourceExt::name_any),
            join: match existing {
                Some(cache) if joined(cache) => None,
                None if in_the_way.is_some() => None,
                Some(_) | None => Some(Box::new(model_cache(endpoint, &key, settings, existing))),
            },
            existing,
            blocked: in_the_way.map(|cache| format!("ModelCache {}", cache.name_any())),
        }
    }
}

/// The cache as workers in fp32 use it, if its model is there.
pub fn ready_cache(cache: &ModelCache) -> Option<ReadyCache> {
    let status = cache.status.as_ref().filter(|_| cache.is(ConditionType::Ready))?;
    let name = cache.name_any();
    Some(ReadyCache {
        claim: status.claim.clone()?,
        access_mode: status.access_mode.as_deref().and_then(|mode| mode.parse().ok()).unwrap_or_default(),
        digest: status.digest.clone()?,
        precision: ServedPrecision::Fp32,
        memory_bytes: status.memory_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        int8: status.int8.clone(),
        name,
    })
}

/// Lets go of the caches that the endpoint no longer needs. While workers of an old revision may still run, or have to be
/// started again, all are kept: a rollout that fails has to be able to go back.
pub(super) fn releases(
    endpoint: &Identity,
    caches: &[ModelCache],
    rollout: &Rollout,
    chosen: &str,
) -> Vec<Write> {
    let in_use = rollout.template.as_ref();
    if in_use.is_some() && !rollout.complete {
        return Vec::new();
    }
    caches
        .iter()
        .filter(|cache| {
            is_ours(cache) && endpoint.owns(&cache.metadata) && cache.metadata.deletion_timestamp.is_none()
        })
        .filter(|cache| {
            let name = cache.name_any();
            name != chosen && in_use.is_none_or(|model| model.cache != name)
        })
        .filter_map(|cache| release(endpoint, cache))
        .collect()
}

fn release(endpoint: &Identity, cache: &ModelCache) -> Option<Write> {
    let (name, uid) = (cache.name_any(), cache.uid()?);
    let needed_by_others = owners(&cache.metadata).any(|owner| owner.uid != endpoint.uid());
    if needed_by_others {
        Some(Write::LeaveCache { name, uid })
    } else {
        Some(Write::DiscardCache { name, uid, resource_version: cache.resource_version()? })
    }
}

/// True when the operator made the cache.
fn is_ours(cache: &ModelCache) -> bool {
    cache.labels().get(labels::MANAGED_BY).is_some_and(|manager| manager == labels::MANAGER)
}
