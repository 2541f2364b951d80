//! Models of a registry, brought by the node as a volume where it can, and fetched where it cannot.

use anyhow::{Context, Result, ensure};
use e2e::Namespace;
use k8s_openapi::api::batch::v1::Job;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use lexiscale_crds::{Delivery, InferenceEndpoint, ModelCache, ModelCacheStatus};

use crate::{
    make_cache,
    places::{Places, on_node},
};

/// All three serve the same model, as their digests have shown; here is how it came. The mounted one lies where no pod can ask for it,
/// so not a byte of it was fetched.
pub(crate) async fn is_told(namespace: &Namespace) -> Result<()> {
    let mounted = status_of(namespace, "mounted").await?;
    ensure!(mounted.delivery == Some(Delivery::ImageVolume) && mounted.attempts == Some(1), "{mounted:?}");
    ensure!(mounted.image_volume_failure.is_none(), "{mounted:?}");
    let by_tag = status_of(namespace, "image").await?;
    ensure!(by_tag.delivery == Some(Delivery::Fetch) && by_tag.attempts == Some(1), "{by_tag:?}");
    ensure!(by_tag.revision == mounted.revision, "{by_tag:?} and {mounted:?}");
    let unresolved = status_of(namespace, "unresolved").await?;
    ensure!(unresolved.delivery == Some(Delivery::Fetch) && unresolved.attempts == Some(2), "{unresolved:?}");
    let failure = unresolved.image_volume_failure.context("it does not say why it was fetched")?;
    ensure!(["ErrImagePull", "ImagePullBackOff"].contains(&failure.reason.as_str()), "{failure:?}");
    Ok(())
}

async fn status_of(namespace: &Namespace, endpoint: &str) -> Result<ModelCacheStatus> {
    let endpoint = namespace.api::<InferenceEndpoint>().get(endpoint).await?;
    namespace.cache_of(&endpoint).await?.status.context("a cache without a status")
}

/// The runtime mounts images only. (The fetch that follows cannot reach the node's loopback: that one can succeed is shown above.)
pub(crate) async fn of_an_artifact_falls_back(namespace: &Namespace, places: &Places) -> Result<()> {
    const NAME: &str = "unmountable";
    let source = on_node(&places.pushed.artifact);
    make_cache(namespace, NAME, serde_json::json!({ "source": source })).await?;
    let gave_up = |cache: &ModelCache| {
        let status = cache.status.as_ref();
        status.is_some_and(|status| {
            status.image_volume_failure.is_some() && status.delivery == Some(Delivery::Fetch)
        })
    };
    let cache = namespace.cache(NAME, "is fetched instead", gave_up).await?;
    let failure = cache.status.and_then(|status| status.image_volume_failure).context("no failure")?;
    ensure!(!failure.reason.is_empty() && !failure.message.is_empty(), "{failure:?}");
    let of_cache = ListParams::default().labels(&format!("inference.lexiscale.io/model-cache={NAME}"));
    let mounts =
        |job: &Job| serde_json::to_string(&job.spec).is_ok_and(|spec| spec.contains("--image-folder"));
    // The first is deleted when the fetch has begun, and may still be there.
    let is_later = |job: &Job| job.name_any() != format!("{NAME}-1");
    let jobs = namespace.api::<Job>().list(&of_cache).await?;
    ensure!(!jobs.iter().any(|job| is_later(job) && mounts(job)), "another try of the volume");
    namespace.api::<ModelCache>().delete(NAME, &DeleteParams::default()).await?;
    Ok(())
}
