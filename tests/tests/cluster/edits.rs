//! Edits of a serving endpoint while a client never stops asking: no request may fail.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, Prober, client, kubectl, reason};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint};
use serde_json::{Value, json};

const NAME: &str = "edited-under-load";

async fn edit(api: &Api<InferenceEndpoint>, service_settings: Value) -> Result<()> {
    let change = json!({ "spec": { "serviceSettings": service_settings } });
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

/// A user changes what may change, one thing after the other, in the middle of traffic.
#[tokio::test]
async fn edits_lose_no_request() -> Result<()> {
    let default = Namespace { client: client().await?, name: "default".to_owned() };
    let api = default.api::<InferenceEndpoint>();
    let mut endpoint: InferenceEndpoint = e2e::example("minimal.yaml")?;
    endpoint.metadata.name = Some(NAME.to_owned());
    api.create(&PostParams::default(), &endpoint).await?;
    let result = Box::pin(edits(&default, &api)).await;
    api.delete(NAME, &DeleteParams::default()).await?;
    e2e::eventually("the endpoint is gone", Duration::from_mins(1), async || {
        Ok(api.get_opt(NAME).await?.is_none())
    })
    .await?;
    result
}

async fn edits(default: &Namespace, api: &Api<InferenceEndpoint>) -> Result<()> {
    let first = default.ready_endpoint(NAME).await?;
    let first_cache = first.status.and_then(|status| status.model).context("no model in the status")?.cache;
    let gateway = Arc::new(Gateway::open().await?);
    let prober = Prober::start(&gateway, NAME);

    kubectl(&["--namespace", "default", "scale", "inferenceendpoint", NAME, "--replicas=2"]).await?;
    let scaled = default.ready_endpoint(NAME).await?;
    let counts = scaled.status.and_then(|status| status.allocations).context("no allocations")?;
    ensure!((counts.desired, counts.ready) == (2, 2), "{counts:?}");

    edit(api, json!({ "numThreads": 2 })).await?;
    default.ready_endpoint(NAME).await?;
    let deployment = default.api::<Deployment>().get(NAME).await?;
    let pod = deployment.spec.template.spec.context("no pod")?;
    let cpu = pod.containers[0]
        .resources
        .clone()
        .and_then(|resources| resources.limits)
        .context("no limits")?["cpu"]
        .clone();
    ensure!(cpu.0 == "2", "CPU limit {}", cpu.0);

    edit(api, json!({ "modelId": "lexiscale/demo-splade-tiny-copy" })).await?;
    let rolled = default.ready_endpoint(NAME).await?;
    let model = rolled.status.and_then(|status| status.model).context("no model in the status")?;
    ensure!(model.cache != first_cache, "still the first cache");
    let caches = default.names::<lexiscale_crds::ModelCache>().await?;
    ensure!(
        !caches.contains(&format!("ModelCache/{first_cache}")),
        "the first cache was not released: {caches:?}"
    );

    edit(api, json!({ "modelId": "lexiscale/not-there" })).await?;
    let failing = default
        .endpoint(NAME, "says that the new model failed", |endpoint| endpoint.is(ConditionType::Stalled))
        .await?;
    ensure!(reason(&failing, ConditionType::Stalled) == "ModelNotFound", "{:?}", failing.conditions());
    ensure!(
        failing.is(ConditionType::Ready),
        "the old model still serves, so it is ready: {:?}",
        failing.conditions()
    );
    let said = &failing.condition(ConditionType::Stalled).context("not stalled")?.message;
    ensure!(said.contains("lexiscale/not-there"), "{said}");

    edit(api, json!({ "modelId": "lexiscale/demo-splade-tiny-copy", "numAllocations": 1 })).await?;
    default.ready_endpoint(NAME).await?;
    let score = prober.finish().await?;
    ensure!(score.answered >= 100, "only {} requests were sent", score.answered);
    ensure!(api.get(NAME).await?.name_any() == NAME, "the endpoint is still there");
    Ok(())
}
