//! What a user reads when something is missing or broken: a reason to act on, never silence.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, reason, with_namespace};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint};
use serde_json::{Value, json};

async fn create(namespace: &Namespace, name: &str, service_settings: Value, deployment: Value) -> Result<()> {
    let endpoint: InferenceEndpoint = serde_json::from_value(json!({
        "apiVersion": "inference.lexiscale.io/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": { "name": name },
        "spec": {
            "taskType": "sparse_embedding",
            "service": "elasticsearch",
            "serviceSettings": service_settings,
            "deployment": deployment,
        },
    }))?;
    namespace.api().create(&PostParams::default(), &endpoint).await?;
    Ok(())
}

async fn stalls(namespace: &Namespace, name: &str, expected: &str, says: &[&str]) -> Result<()> {
    let endpoint = namespace
        .endpoint(name, &format!("stalls with {expected}"), |endpoint| {
            reason(endpoint, ConditionType::Stalled) == expected
        })
        .await?;
    ensure!(!endpoint.is(ConditionType::Ready), "stalled and ready: {:?}", endpoint.conditions());
    ensure!(!endpoint.is(ConditionType::Reconciling), "stalled and reconciling: {:?}", endpoint.conditions());
    let message = &endpoint.condition(ConditionType::Stalled).context("no condition")?.message;
    for text in says {
        ensure!(message.contains(text), "`{text}` is not in: {message}");
    }
    let described =
        e2e::kubectl(&["describe", "--namespace", &namespace.name, "inferenceendpoint", name]).await?;
    ensure!(
        described.contains("Warning") && described.contains(expected),
        "describe has no event: {described}"
    );
    Ok(())
}

/// The id is nobody's: the message says how to add a model.
#[tokio::test]
async fn unknown_model_id() -> Result<()> {
    with_namespace("unknown", async |namespace| {
        create(
            &namespace,
            "unknown",
            json!({ "modelId": "my-model", "numAllocations": 1, "numThreads": 1 }),
            json!({}),
        )
        .await?;
        stalls(&namespace, "unknown", "UnknownModel", &["my-model", "catalog"]).await
    })
    .await
}

/// The repository is not there; a corrected id heals the endpoint without anything being deleted by hand.
#[tokio::test]
async fn missing_model_heals_when_the_id_is_corrected() -> Result<()> {
    with_namespace("missing", async |namespace| {
        let settings = json!({ "modelId": "lexiscale/not-there", "numAllocations": 1, "numThreads": 1 });
        create(&namespace, "missing", settings, json!({})).await?;
        stalls(&namespace, "missing", "ModelNotFound", &["lexiscale/not-there"]).await?;
        let change = json!({ "spec": { "serviceSettings": { "modelId": ".elser_model_2" } } });
        namespace
            .api::<InferenceEndpoint>()
            .patch("missing", &PatchParams::default(), &Patch::Merge(change))
            .await?;
        namespace.ready_endpoint("missing").await?;
        Ok(())
    })
    .await
}

/// A worker that is killed for memory again and again is named with its cause.
#[tokio::test]
async fn crash_looping_worker() -> Result<()> {
    with_namespace("crash", async |namespace| {
        let settings = json!({ "modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1 });
        create(&namespace, "crash", settings, json!({ "memory": "12Mi" })).await?;
        let endpoint = namespace
            .endpoint("crash", "names its failure", |endpoint| {
                endpoint.status.as_ref().is_some_and(|status| status.last_failure.is_some())
                    && endpoint.condition(ConditionType::Ready).is_some_and(|ready| ready.status == "False")
            })
            .await?;
        let failure =
            endpoint.status.as_ref().and_then(|status| status.last_failure.clone()).context("no failure")?;
        ensure!(failure.component == "worker" && failure.reason == "OOMKilled", "{failure:?}");
        let ready = endpoint.condition(ConditionType::Ready).context("no condition")?;
        ensure!(ready.message.contains("memory"), "no remedy in: {}", ready.message);
        Ok(())
    })
    .await
}

/// An allocation that fits on no node says so, with what is missing.
#[tokio::test]
async fn allocation_that_fits_nowhere() -> Result<()> {
    with_namespace("fits", async |namespace| {
        let settings = json!({ "modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1 });
        create(&namespace, "fits", settings, json!({ "memory": "900Gi" })).await?;
        let endpoint = namespace
            .endpoint("fits", "says that it does not fit", |endpoint| {
                reason(endpoint, ConditionType::Ready) == "InsufficientCapacity"
            })
            .await?;
        let ready = endpoint.condition(ConditionType::Ready).context("no condition")?;
        ensure!(ready.message.contains("memory"), "no cause in: {}", ready.message);
        Ok(())
    })
    .await
}

/// Two objects with one id: the older one keeps it.
#[tokio::test]
async fn second_object_with_the_same_inference_id() -> Result<()> {
    with_namespace("twice", async |namespace| {
        let settings = json!({ "modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1 });
        create(&namespace, "first", settings.clone(), json!({})).await?;
        namespace.ready_endpoint("first").await?;
        let second: InferenceEndpoint = serde_json::from_value(json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "InferenceEndpoint", "metadata": { "name": "second" },
            "spec": { "inferenceId": "first", "taskType": "sparse_embedding", "service": "elasticsearch", "serviceSettings": settings },
        }))?;
        namespace.api().create(&PostParams::default(), &second).await?;
        stalls(&namespace, "second", "DuplicateInferenceId", &["first"]).await?;
        namespace.ready_endpoint("first").await?;
        Ok(())
    })
    .await
}

/// A volume that is too small is found before or during the download, and the message says how much is needed.
#[tokio::test]
async fn full_volume() -> Result<()> {
    if !e2e::embedded() {
        eprintln!("SKIPPED full_volume: it mounts a small volume on the node, so it needs the embedded one");
        return Ok(());
    }
    with_namespace("full", async |namespace| {
        let class = namespace.name.clone();
        let volume = SmallVolume::mount(&namespace, "6m").await?;
        let settings = json!({ "modelId": ".elser_model_2", "numAllocations": 1, "numThreads": 1 });
        create(
            &namespace,
            "full",
            settings,
            json!({ "cache": { "storageClassName": class, "size": "1Gi" } }),
        )
        .await?;
        let result = stalls(&namespace, "full", "InsufficientStorage", &["MiB"]).await;
        namespace.api::<InferenceEndpoint>().delete("full", &DeleteParams::default()).await?;
        e2e::until("the claim is gone", Duration::from_mins(2), async || {
            // The volume itself is the test's to take away.
            let mut remains = namespace.remains().await?;
            remains.retain(|name| !name.starts_with("PersistentVolume/"));
            Ok(if remains.is_empty() { Ok(()) } else { Err(remains) })
        })
        .await?;
        volume.unmount(&namespace).await?;
        result
    })
    .await
}

/// A persistent volume of a few megabytes, on a file system in memory.
struct SmallVolume {
    directory: tempfile::TempDir,
}

impl SmallVolume {
    async fn mount(namespace: &Namespace, size: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().to_str().context("the path is no UTF-8")?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=0777"), "tmpfs", path]).await?;
        namespace.create_volume(directory.path()).await?;
        Ok(Self { directory })
    }

    async fn unmount(self, namespace: &Namespace) -> Result<()> {
        namespace.delete_volume().await?;
        run("umount", &[self.directory.path().to_str().context("the path is no UTF-8")?]).await
    }
}

async fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = tokio::process::Command::new(program).args(arguments).output().await?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
