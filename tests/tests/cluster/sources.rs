//! Models from elsewhere than the hub, and caches that must not be lost by mistake.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, reason, references, with_namespace};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::PostParams;
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint};
use serde_json::json;

/// The model hub of the demo.
const HUB: &str = "http://hub.lexiscale-demo.svc.cluster.local";

async fn create(namespace: &Namespace, name: &str, model_id: &str) -> Result<()> {
    let endpoint: InferenceEndpoint = serde_json::from_value(json!({
        "apiVersion": "inference.lexiscale.io/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": { "name": name },
        "spec": {
            "taskType": "sparse_embedding",
            "service": "elasticsearch",
            "serviceSettings": { "modelId": model_id, "numAllocations": 1, "numThreads": 1 },
        },
    }))?;
    namespace.api().create(&PostParams::default(), &endpoint).await?;
    Ok(())
}

/// Packs the demo's model into a bundle on a claim, with the worker's own image.
async fn pack(namespace: &Namespace, worker: &Deployment) -> Result<()> {
    let pod = worker.spec.template.spec.as_ref().context("no pod")?;
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": "bundle" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }))?;
    namespace.api().create(&PostParams::default(), &claim).await?;
    let packing: Pod = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "pack" },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532 },
            "containers": [{
                "name": "pack",
                "image": pod.containers[0].image,
                "args": [
                    "bundle", "create", "--source", "hf://lexiscale/demo-splade-tiny", "--hub-endpoint", HUB,
                    "--trusted-server", HUB, "--output", "/volume/model.tar",
                ],
                "volumeMounts": [{ "name": "volume", "mountPath": "/volume" }],
            }],
            "volumes": [{ "name": "volume", "persistentVolumeClaim": { "claimName": "bundle" } }],
        },
    }))?;
    namespace.api().create(&PostParams::default(), &packing).await?;
    e2e::eventually("the bundle is packed", Duration::from_mins(2), async || {
        let status = namespace.api::<Pod>().get("pack").await?.status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        ensure!(phase != "Failed", "packing failed");
        Ok(phase == "Succeeded")
    })
    .await
}

/// Carried in as one file, without the hub: how a model comes to where there is no internet.
#[tokio::test]
async fn a_model_comes_from_a_bundle_on_a_claim_with_the_same_bytes() -> Result<()> {
    with_namespace("claim", async |namespace| {
        create(&namespace, "first", ".elser_model_2").await?;
        let first = namespace.ready_endpoint("first").await?;
        let original = namespace.cache_of(&first).await?.status.context("no status")?;
        let worker = namespace.api::<Deployment>().get("first").await?;
        Box::pin(pack(&namespace, &worker)).await?;
        Box::pin(create(&namespace, "second", "pvc://bundle/model.tar")).await?;
        let second = namespace.ready_endpoint("second").await?;
        let copy = namespace.cache_of(&second).await?.status.context("no status")?;
        ensure!(copy.digest == original.digest, "{:?} of {:?}", copy.digest, original.digest);
        ensure!(copy.revision.as_deref().is_some_and(|revision| revision.starts_with("sha256-")), "{copy:?}");
        ensure!(copy.source_digest.is_some(), "{copy:?}");
        let precision = second.status.as_ref().and_then(|status| status.model.as_ref()?.precision);
        let references = references()?;
        let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
        for (reference, embedding) in references.iter().zip(namespace.embed(&second, &texts).await?) {
            reference.check(&embedding, precision)?;
        }
        Ok(())
    })
    .await
}

/// Whoever may create an endpoint must not be able to make the cluster ask its own inside.
#[tokio::test]
async fn an_address_inside_is_refused_with_its_reason() -> Result<()> {
    with_namespace("inside", async |namespace| {
        for (name, model_id) in [
            ("metadata", "https://169.254.169.254/latest/"),
            ("service", "https://kubernetes.default.svc.cluster.local/model/"),
        ] {
            create(&namespace, name, model_id).await?;
            let endpoint = namespace
                .endpoint(name, "stalls with AddressNotAllowed", |endpoint| {
                    reason(endpoint, ConditionType::Stalled) == "AddressNotAllowed"
                })
                .await?;
            let message = &endpoint.condition(ConditionType::Stalled).context("no condition")?.message;
            ensure!(message.contains("is not an address that downloads may use"), "{message}");
        }
        Ok(())
    })
    .await
}

/// Gigabytes are not lost by a slip: the answer names who uses the cache.
#[tokio::test]
async fn a_cache_in_use_is_not_deleted() -> Result<()> {
    with_namespace("protected", async |namespace| {
        create(&namespace, "search", ".elser_model_2").await?;
        let endpoint = namespace.ready_endpoint("search").await?;
        let cache = namespace.cache_of(&endpoint).await?.metadata.name.context("no name")?;
        let delete = ["delete", "--namespace", &namespace.name, "modelcache", &cache];
        let refusal = e2e::kubectl(&delete).await.err().context("it was deleted")?;
        let refusal = format!("{refusal:#}");
        ensure!(refusal.contains("is used by the endpoints search"), "{refusal}");
        // Its endpoint takes it along.
        e2e::kubectl(&["delete", "--namespace", &namespace.name, "inferenceendpoint", "search"]).await?;
        namespace.until_remains(&[]).await
    })
    .await
}
