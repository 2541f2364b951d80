//! The `ModelCache` that an endpoint needs, as one of several endpoints that may need it.
//!
//! Each endpoint applies it under a field manager of its own. The API server merges `ownerReferences` by uid and keeps for
//! each entry who applied it, so every endpoint has one writer for its own entry and none for another's: joining and leaving
//! need no read-modify-write. The spec is the same from all of them, and the API server refuses to change it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use lexiscale_crds::{CacheSettings, ModelCache, ModelCacheSpec};

use crate::{
    identity::Ownership,
    labels,
    model::{CacheKey, Place},
    settings::Settings,
    validated::{CacheRequest, ValidatedEndpoint},
};

/// The cache as this endpoint applies it; `existing` is it if it is there already, and then its name and its spec win: only
/// the first endpoint decides about the volume.
pub fn model_cache(
    endpoint: &ValidatedEndpoint,
    key: &CacheKey,
    settings: &Settings,
    existing: Option<&ModelCache>,
) -> ModelCache {
    let name = existing.map_or_else(|| key.cache_name(), ResourceExt::name_any);
    let mut labels = labels::of_cache(&name);
    labels.extend(settings.instance.clone().map(|instance| (labels::OPERATOR.to_owned(), instance)));
    ModelCache {
        metadata: ObjectMeta {
            namespace: Some(endpoint.identity.namespace().to_owned()),
            labels: Some(labels),
            // Under a limit a cache outlives its endpoints, until its room is needed.
            owner_references: settings
                .cache_limit
                .is_none()
                .then(|| vec![endpoint.identity.owner_reference(Ownership::Shared)]),
            name: Some(name),
            ..ObjectMeta::default()
        },
        spec: existing.map_or_else(|| spec(endpoint, settings), |cache| kept_spec(endpoint, cache)),
        status: None,
    }
}

/// A Secret that an endpoint names later is what a download without credentials waits for. It is taken where the endpoint uses
/// the cache alone; among several the first decides.
fn kept_spec(endpoint: &ValidatedEndpoint, cache: &ModelCache) -> ModelCacheSpec {
    let mut spec = cache.spec.clone();
    if lacks_secret(endpoint, cache) {
        spec.storage.get_or_insert_default().secret_name.clone_from(&endpoint.cache.secret_name);
    }
    spec
}

/// Whether the endpoint, as the only one that uses the cache, names another Secret than the cache does.
pub(crate) fn lacks_secret(endpoint: &ValidatedEndpoint, cache: &ModelCache) -> bool {
    let named = cache.spec.storage.as_ref().and_then(|storage| storage.secret_name.as_ref());
    let others = |name: &String| name != endpoint.identity.name();
    let is_alone = cache.status.as_ref().is_none_or(|status| !status.used_by.iter().any(others));
    is_alone && endpoint.cache.secret_name.is_some() && named != endpoint.cache.secret_name.as_ref()
}

fn spec(endpoint: &ValidatedEndpoint, settings: &Settings) -> ModelCacheSpec {
    let model = &endpoint.model;
    ModelCacheSpec {
        source: model.source.to_string(),
        revision: Some(model.revision.as_str().to_owned()),
        // What the operator's setting is now stays what this cache was made from.
        hub_endpoint: model.hub_endpoint.clone().or_else(|| match model.source.place() {
            Place::Hub => settings.hub_endpoint.clone(),
            Place::Bucket => settings.s3_endpoint.clone(),
            Place::Web { .. } | Place::Claim { .. } | Place::Registry { .. } => None,
        }),
        checksums: model.checksums.clone(),
        public_key: model.public_key.clone(),
        bytes: model.bytes.and_then(|bytes| i64::try_from(bytes).ok()),
        license: model.license.clone(),
        storage: storage(&endpoint.cache),
    }
}

fn storage(request: &CacheRequest) -> Option<CacheSettings> {
    let CacheRequest { size, storage_class_name, access_mode, secret_name, node_selector, tolerations } =
        request;
    let storage = CacheSettings {
        size: size.map(Into::into),
        storage_class_name: storage_class_name.clone(),
        access_mode: access_mode.map(|mode| mode.as_str().to_owned()),
        secret_name: secret_name.clone(),
        node_selector: node_selector.clone(),
        tolerations: tolerations.clone(),
    };
    (storage != CacheSettings::default()).then_some(storage)
}
