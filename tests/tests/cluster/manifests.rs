//! Every example manifest, applied to a cluster with the chart installed: it becomes ready, runs as asked, gives the reference
//! vectors, and leaves nothing behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, eventually, references, with_namespace};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};

/// Phases add up, and to no more than passed; Kubernetes cuts the time of creation to the second.
async fn tells_how_long_it_took(
    namespace: &Namespace,
    endpoint: &InferenceEndpoint,
    passed: Duration,
) -> Result<()> {
    let sum = |phases: &[(&str, Option<kube::core::Duration>)]| -> Duration {
        phases.iter().filter_map(|(_, took)| *took).map(Duration::from).sum()
    };
    let durations = endpoint.status.as_ref().and_then(|status| status.durations).context("no durations")?;
    let total = durations.total.map(Duration::from).context("no total")?;
    ensure!(sum(&durations.phases()) == total, "{durations:?}");
    ensure!(durations.model.is_some() && durations.loading.is_some(), "{durations:?}");
    ensure!(total <= passed + Duration::from_secs(1), "{durations:?} in {passed:?}");

    let list = namespace.api::<ModelCache>().list(&ListParams::default()).await?.items;
    let cache = list.first().and_then(|cache| cache.status.as_ref()).and_then(|status| status.durations);
    let cache = cache.context("the cache has no durations")?;
    let whole = cache.total.map(Duration::from).context("the cache has no total")?;
    ensure!(sum(&cache.phases()) <= whole && whole <= total, "{cache:?} of {durations:?}");
    ensure!(
        cache.downloading.is_some() && cache.converting.is_some() && cache.comparing.is_some(),
        "{cache:?}"
    );
    let described = e2e::kubectl(&[
        "describe",
        "--namespace",
        &namespace.name,
        "inferenceendpoint",
        &endpoint.name_any(),
    ])
    .await?;
    ensure!(described.contains("Durations:") && described.contains("Loading:"), "{described}");
    Ok(())
}

async fn holds_what_it_says(
    namespace: &Namespace,
    file: &str,
    allocations: i32,
    threads: &str,
) -> Result<()> {
    let manifest: InferenceEndpoint = e2e::example(file)?;
    let name = manifest.name_any();
    let applied = Instant::now();
    namespace.api().create(&PostParams::default(), &manifest).await?;
    let endpoint = namespace.ready_endpoint(&name).await?;
    tells_how_long_it_took(namespace, &endpoint, applied.elapsed()).await?;

    let status = endpoint.status.as_ref().context("no status")?;
    let counts = status.allocations.context("no allocations in the status")?;
    ensure!(
        (counts.desired, counts.current, counts.ready) == (allocations, allocations, allocations),
        "{counts:?}"
    );

    let deployments = namespace.api::<Deployment>().list(&ListParams::default()).await?;
    let scaling = manifest.spec.deployment.as_ref().and_then(|deployment| deployment.scaling.as_ref());
    let has_standby = scaling.is_some_and(|scaling| scaling.standby.is_some());
    ensure!(
        deployments.items.len() == 1 + usize::from(has_standby),
        "{} Deployments",
        deployments.items.len()
    );
    // That of the standbys has a longer name.
    let workers = deployments.items.iter().min_by_key(|deployment| deployment.name_any().len());
    let spec = &workers.context("no Deployment")?.spec;
    ensure!(spec.replicas == Some(allocations), "{:?} replicas", spec.replicas);
    let pod = spec.template.spec.as_ref().context("the Deployment has no pod")?;
    let limits = pod.containers[0].resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let cpu = limits.and_then(|limits| limits.get("cpu")).context("no CPU limit")?;
    ensure!(cpu.0 == threads, "CPU limit {}", cpu.0);

    let precision = status.model.as_ref().and_then(|model| model.precision);
    let output = manifest.spec.deployment.as_ref().and_then(|deployment| deployment.output.as_ref());
    let least = output.and_then(|output| output.min_weight).unwrap_or_default();
    let share = output.and_then(|output| output.max_ratio).unwrap_or_default();
    let references: Vec<_> =
        references()?.into_iter().map(|reference| reference.pruned(least, share)).collect();
    let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
    for (reference, embedding) in references.iter().zip(namespace.embed(&endpoint, &texts).await?) {
        reference.check(&embedding, precision)?;
    }

    namespace.api::<InferenceEndpoint>().delete(&name, &DeleteParams::default()).await?;
    e2e::until("nothing is left of the endpoint", Duration::from_mins(2), async || {
        let remains = namespace.remains().await?;
        Ok(if remains.is_empty() { Ok(()) } else { Err(remains) })
    })
    .await
}

#[tokio::test]
async fn smallest_example() -> Result<()> {
    with_namespace("minimal", async |namespace| holds_what_it_says(&namespace, "minimal.yaml", 1, "1").await)
        .await
}

#[tokio::test]
async fn seed_example_with_a_fixed_number() -> Result<()> {
    with_namespace("fixed", async |namespace| {
        holds_what_it_says(&namespace, "elser-fixed.yaml", 1, "1").await
    })
    .await
}

/// The page's adaptive example starts with its minimum, also on two cores.
#[tokio::test]
async fn seed_example_with_adaptive_allocations_starts_with_three() -> Result<()> {
    with_namespace("adaptive", async |namespace| {
        holds_what_it_says(&namespace, "elser-adaptive.yaml", 3, "1").await
    })
    .await
}

#[tokio::test]
async fn elasticsearch_example_with_chunking() -> Result<()> {
    with_namespace("chunking", async |namespace| {
        holds_what_it_says(&namespace, "elasticsearch-chunking.yaml", 1, "2").await
    })
    .await
}

#[tokio::test]
async fn example_with_everything() -> Result<()> {
    with_namespace("everything", async |namespace| {
        holds_what_it_says(&namespace, "everything.yaml", 1, "2").await
    })
    .await
}

/// The model is downloaded once, and stays until its last endpoint goes.
#[tokio::test]
async fn two_endpoints_on_one_model_share_one_cache() -> Result<()> {
    with_namespace("share", async |namespace| {
        let api = namespace.api::<InferenceEndpoint>();
        let first: InferenceEndpoint = e2e::example("elser-fixed.yaml")?;
        let second: InferenceEndpoint = e2e::example("minimal.yaml")?;
        api.create(&PostParams::default(), &first).await?;
        api.create(&PostParams::default(), &second).await?;
        namespace.ready_endpoint(&first.name_any()).await?;
        namespace.ready_endpoint(&second.name_any()).await?;
        let caches = namespace.names::<ModelCache>().await?;
        ensure!(caches.len() == 1, "{caches:?}");

        api.delete(&first.name_any(), &DeleteParams::default()).await?;
        eventually("the first endpoint is gone", Duration::from_mins(1), async || {
            Ok(api.get_opt(&first.name_any()).await?.is_none())
        })
        .await?;
        let left = namespace.ready_endpoint(&second.name_any()).await?;
        namespace.embed(&left, &["still here"]).await?;
        ensure!(namespace.names::<ModelCache>().await? == caches, "the cache went with the first endpoint");
        Ok(())
    })
    .await
}

/// The deprecation is said at `kubectl apply`, and only there.
#[tokio::test]
async fn service_elser_answers_with_a_warning() -> Result<()> {
    with_namespace("warning", async |namespace| {
        for (file, warned) in [("elser-fixed.yaml", true), ("minimal.yaml", false)] {
            let path = e2e::repository().join("crds/examples").join(file);
            let path = path.to_str().context("the path is no UTF-8")?;
            let said =
                e2e::kubectl(&["apply", "--dry-run=server", "--namespace", &namespace.name, "-f", path])
                    .await?;
            let warning =
                said.contains("Warning:") && said.contains("deprecated") && said.contains("elasticsearch");
            ensure!(warning == warned, "{file}: {said}");
        }
        Ok(())
    })
    .await
}
