//! The smallest objects that mean something, with named changes.

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use lexiscale_wire::{FetchFailure, FetchReason, FetchReport, FetchedModel};
use serde_json::{Value, json};

use crate::cluster::World;

pub(crate) const CATALOG: &str = "
models:
  - { ids: [first], source: hf://org/first, revision: v1 }
  - { ids: [second], source: hf://org/second, revision: v2 }
";

impl World {
    /// Two allocations of one thread each of the model `first`.
    pub(crate) async fn create_endpoint(
        &self,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> InferenceEndpoint {
        let mut object = json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1",
            "kind": "InferenceEndpoint",
            "metadata": {"name": name, "labels": {"inference.lexiscale.io/operator": self.namespace}},
            "spec": {
                "taskType": "sparse_embedding",
                "service": "elasticsearch",
                "serviceSettings": {"modelId": "first", "numAllocations": 2, "numThreads": 1},
            },
        });
        change(&mut object);
        let object = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    /// What a user would write with `kubectl patch`.
    pub(crate) async fn edit_endpoint(&self, name: &str, patch: Value) -> InferenceEndpoint {
        let api: Api<InferenceEndpoint> = self.api();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    /// The one cache that there is.
    pub(crate) async fn the_cache(&self) -> String {
        let caches: Vec<ModelCache> = self.until_count(1).await;
        caches[0].name_any()
    }

    /// An endpoint whose workers serve.
    pub(crate) async fn run_endpoint(&self, name: &str) {
        self.create_endpoint(name, |_| {}).await;
        self.end_download(&succeeded("first")).await;
        self.start_workers(2).await;
        self.until_says::<InferenceEndpoint>(name, ("Ready", "True", "Serving")).await;
    }
}

pub(crate) fn succeeded(model: &str) -> FetchReport {
    FetchReport::Succeeded(FetchedModel {
        message: "fetched".to_owned(),
        revision: format!("commit-of-{model}"),
        digest: format!("sha256:{model}"),
        bytes: 1_048_576,
        files: 3,
        max_tokens: 512,
        vocabulary_size: 30522,
        vocabulary: Some("sha256:30522".to_owned()),
        memory_bytes: 100_000_000,
        int8: None,
        license: None,
        source_digest: None,
        durations: None,
    })
}

pub(crate) fn failed(reason: FetchReason) -> FetchReport {
    let message = format!("the hub said {reason}");
    FetchReport::Failed(FetchFailure { reason, message, revision: None, bytes: 0 })
}
