//! From zero and back with a real worker: an endpoint that costs nothing answers its first request.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, client, kubectl, reason, references};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use lexiscale_crds::{ConditionType, InferenceEndpoint};
use serde_json::json;

const NAME: &str = "sleeper";
const PATIENCE: Duration = Duration::from_mins(3);

/// What the scaling loop does once an endpoint was idle for long. A pass under way may write over it, so it is repeated.
async fn put_to_zero(default: &Namespace, api: &Api<InferenceEndpoint>) -> Result<()> {
    let decision =
        json!({"status": {"decision": {"allocations": 0, "reason": "Idle", "message": "by the test"}}});
    e2e::eventually("the endpoint is idle", PATIENCE, async || {
        api.patch_status(NAME, &PatchParams::default(), &Patch::Merge(&decision)).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(reason(&api.get(NAME).await?, ConditionType::Ready) == "Idle")
    })
    .await?;
    let workers = ListParams::default().labels(&format!("inference.lexiscale.io/endpoint={NAME}"));
    e2e::eventually("no worker is left", PATIENCE, async || {
        Ok(default.api::<Pod>().list(&workers).await?.items.is_empty())
    })
    .await
}

async fn embeds(gateway: &Gateway) -> Result<()> {
    let reference = references()?.remove(0);
    let body = json!({ "input": reference.text }).to_string();
    let path = format!("/_inference/sparse_embedding/{NAME}?timeout=150s");
    let answer = gateway.call("POST", &path, Some(&body)).await?;
    ensure!(answer.cold_start.is_some_and(|milliseconds| milliseconds > 0), "{:?}", answer.cold_start);
    reference.check(&answer.body["sparse_embedding"][0]["embedding"], answer.precision)
}

/// SIGKILL for every replica of the controller, without a word to its lease.
async fn kill_the_controllers() -> Result<()> {
    kubectl(&[
        "--namespace",
        "lexiscale-system",
        "delete",
        "pod",
        "--selector",
        "app.kubernetes.io/part-of=lexiscale,app.kubernetes.io/component=controller",
        "--grace-period=0",
        "--force",
    ])
    .await
    .map(drop)
}

#[tokio::test]
async fn an_endpoint_at_zero_answers_its_first_request_whoever_leads() -> Result<()> {
    let default = Namespace { client: client().await?, name: "default".to_owned() };
    let api = default.api::<InferenceEndpoint>();
    let mut endpoint: InferenceEndpoint = e2e::example("minimal.yaml")?;
    endpoint.metadata.name = Some(NAME.to_owned());
    let settings = &mut endpoint.spec.service_settings;
    settings.num_allocations = None;
    settings.adaptive_allocations =
        serde_json::from_value(json!({"enabled": true, "minNumberOfAllocations": 0}))?;
    api.create(&PostParams::default(), &endpoint).await?;
    let result = sleeps_and_wakes(&default, &api).await;
    api.delete(NAME, &DeleteParams::default()).await?;
    e2e::eventually("the endpoint is gone", PATIENCE, async || Ok(api.get_opt(NAME).await?.is_none()))
        .await?;
    result
}

async fn sleeps_and_wakes(default: &Namespace, api: &Api<InferenceEndpoint>) -> Result<()> {
    default.ready_endpoint(NAME).await?;
    let gateway = Gateway::open().await?;
    put_to_zero(default, api).await?;
    embeds(&gateway).await?;
    let woken = default.ready_endpoint(NAME).await?.status.context("no status")?;
    let decision = woken.decision.context("no decision")?;
    ensure!((decision.allocations, decision.reason.as_str()) == (1, "WokenUp"), "{decision:?}");
    ensure!(woken.cold_start_seconds.is_some(), "the start was not measured");

    // Held while the operator dies: the wake-up is on the object, and the next leader finds it there.
    put_to_zero(default, api).await?;
    let before = api.get(NAME).await?.annotations().get("inference.lexiscale.io/wake-requested-at").cloned();
    kill_the_controllers().await?;
    let kill_again = async {
        e2e::eventually("the gateway has asked", PATIENCE, async || {
            let object = api.get(NAME).await?;
            Ok(object.annotations().get("inference.lexiscale.io/wake-requested-at") != before.as_ref())
        })
        .await?;
        kill_the_controllers().await
    };
    let (embedded, killed) = tokio::join!(embeds(&gateway), kill_again);
    killed?;
    embedded
}
