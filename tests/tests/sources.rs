//! Models from elsewhere than the hub, and caches that must not be lost by mistake.

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, reason, references, with_namespace};
use kube::api::PostParams;
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint, ModelCache};
use serde_json::json;

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

async fn cache_of(namespace: &Namespace, endpoint: &InferenceEndpoint) -> Result<ModelCache> {
    let model = endpoint.status.as_ref().and_then(|status| status.model.as_ref()).context("no model")?;
    Ok(namespace.api::<ModelCache>().get(&model.cache).await?)
}

/// From one volume to another, without the hub: how a model moves to where another volume can be used.
#[tokio::test]
async fn a_model_comes_from_a_claim_with_the_same_bytes() -> Result<()> {
    with_namespace("claim", async |namespace| {
        create(&namespace, "first", ".elser_model_2").await?;
        let first = namespace.ready_endpoint("first").await?;
        let original = cache_of(&namespace, &first).await?.status.context("no status")?;
        let claim = original.claim.context("no claim")?;
        create(&namespace, "second", &format!("pvc://{claim}/model")).await?;
        let second = namespace.ready_endpoint("second").await?;
        let copy = cache_of(&namespace, &second).await?.status.context("no status")?;
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
        let cache = cache_of(&namespace, &endpoint).await?.metadata.name.context("no name")?;
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
