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
    model::CacheKey,
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
            owner_references: Some(vec![endpoint.identity.owner_reference(Ownership::Shared)]),
            name: Some(name),
            ..ObjectMeta::default()
        },
        spec: existing.map_or_else(|| spec(endpoint, settings), |cache| cache.spec.clone()),
        status: None,
    }
}

fn spec(endpoint: &ValidatedEndpoint, settings: &Settings) -> ModelCacheSpec {
    let model = &endpoint.model;
    ModelCacheSpec {
        source: model.source.to_string(),
        revision: Some(model.revision.as_str().to_owned()),
        hub_endpoint: model.hub_endpoint.clone().or_else(|| settings.hub_endpoint.clone()),
        license: model.license.clone(),
        storage: storage(&endpoint.cache),
    }
}

fn storage(request: &CacheRequest) -> Option<CacheSettings> {
    let CacheRequest { size, storage_class_name, access_mode, node_selector, tolerations } = request;
    let storage = CacheSettings {
        size: size.map(Into::into),
        storage_class_name: storage_class_name.clone(),
        access_mode: access_mode.map(|mode| mode.as_str().to_owned()),
        node_selector: node_selector.clone(),
        tolerations: tolerations.clone(),
    };
    (storage != CacheSettings::default()).then_some(storage)
}
