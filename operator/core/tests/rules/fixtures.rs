//! The smallest objects that mean something, with named changes. Values are chosen so that swapped ones show.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use lexiscale_core::{
    catalog::Catalog,
    quantity::{Bytes, Cpu},
    settings::{AccessMode, Downloads, ImageVolumes, Settings},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use lexiscale_wire::{FetchDurations, FetchedModel};
use serde_json::json;

pub(crate) const NAMESPACE: &str = "team-a";

pub(crate) fn now() -> Timestamp {
    at(1_800_000_000)
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn settings() -> Settings {
    let catalog = "
models:
  - ids: [.elser_model_2, .elser_model_2_linux-x86_64]
    source: hf://opensearch-project/opensearch-neural-sparse-encoding-v2-distill
    revision: c0ffee
    license: Apache-2.0
  - ids: [other-model]
    source: hf://org/other
    revision: v7
defaultModelId: .elser_model_2_linux-x86_64
";
    Settings {
        instance: None,
        catalog: Catalog::parse(catalog).unwrap(),
        worker_image: "registry.example.com/lexiscale/worker:1.2.3".parse().unwrap(),
        image_pull_policy: None,
        image_pull_secrets: Vec::new(),
        hub_endpoint: None,
        s3_endpoint: None,
        downloads: Downloads::default(),
        image_volumes: ImageVolumes::Auto,
        cache_limit: None,
        cache_size: Bytes::mebibytes(10 * 1024),
        cache_storage_class: None,
        cache_access_mode: AccessMode::ReadWriteOnce,
        cpu_request_per_thread: Cpu::cores(1),
        worker_tls_secret: None,
        otlp_endpoint: None,
        gateway_namespace: Some("lexiscale-system".to_owned()),
        dns_ports: vec![53],
    }
}

/// As the API server would hand it out: with namespace, uid, generation and age.
pub(crate) fn stored<K: Resource<DynamicType = ()>>(mut object: K, uid: &str) -> K {
    let metadata = object.meta_mut();
    metadata.namespace = Some(NAMESPACE.to_owned());
    metadata.uid = Some(uid.to_owned());
    metadata.generation = Some(1);
    metadata.resource_version = Some("1".to_owned());
    metadata.creation_timestamp = Some(Time(at(1_700_000_000)));
    object
}

/// Two allocations of one thread each of the catalog's default model.
pub(crate) fn endpoint(name: &str) -> InferenceEndpoint {
    let endpoint = serde_json::from_value(json!({
        "apiVersion": "inference.lexiscale.io/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": {"name": name},
        "spec": {
            "taskType": "sparse_embedding",
            "service": "elser",
            "serviceSettings": {"numAllocations": 2, "numThreads": 1},
        },
    }));
    stored(endpoint.unwrap(), &format!("uid-of-{name}"))
}

/// A cache as a user makes it.
pub(crate) fn users_cache(name: &str, source: &str, revision: &str) -> ModelCache {
    let cache = serde_json::from_value(json!({
        "apiVersion": "inference.lexiscale.io/v1alpha1",
        "kind": "ModelCache",
        "metadata": {"name": name},
        "spec": {"source": source, "revision": revision},
    }));
    stored(cache.unwrap(), &format!("uid-of-{name}"))
}

pub(crate) fn fetched_model() -> FetchedModel {
    FetchedModel {
        message: "fetched 5 files".to_owned(),
        revision: "c0ffee0000".to_owned(),
        digest: "sha256:abcd".to_owned(),
        bytes: 268_000_000,
        files: 5,
        max_tokens: 512,
        vocabulary_size: 30522,
        vocabulary: Some("sha256:30522".to_owned()),
        memory_bytes: 400_000_000,
        int8: None,
        license: Some("apache-2.0".to_owned()),
        source_digest: Some("sha256:5678".to_owned()),
        durations: Some(FetchDurations {
            resolving: 21,
            downloading: 9_313,
            verifying: 35,
            converting: 1_204,
            comparing: 702,
            publishing: 0,
        }),
    }
}
