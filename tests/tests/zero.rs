//! From zero and back with a real worker: an endpoint that costs nothing answers its first request.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, client, kubectl, reason, references};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use lexiscale_crds::{ConditionType, InferenceEndpoint, ModelCache};
use serde_json::json;

const NAME: &str = "sleeper";
const WAKE_REQUESTED_AT: &str = "inference.lexiscale.io/wake-requested-at";
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
    e2e::eventually("no worker is left", PATIENCE, async || {
        Ok(default.api::<Pod>().list(&worker_pods()).await?.items.is_empty())
    })
    .await
}

fn worker_pods() -> ListParams {
    ListParams::default().labels(&format!("inference.lexiscale.io/endpoint={NAME}"))
}

const SYSTEM: &str = "lexiscale-system";

/// Whether a gateway has asked for a wake-up since.
async fn until_asked(api: &Api<InferenceEndpoint>, before: Option<&String>) -> Result<()> {
    e2e::eventually("the gateway has asked", PATIENCE, async || {
        Ok(api.get(NAME).await?.annotations().get(WAKE_REQUESTED_AT) != before)
    })
    .await
}

async fn asked_last(api: &Api<InferenceEndpoint>) -> Result<Option<String>> {
    Ok(api.get(NAME).await?.annotations().get(WAKE_REQUESTED_AT).cloned())
}

/// A rolling restart of the gateway while nobody is there to wake the endpoint: the pod that holds a request has to outlive it.
async fn restart_the_gateways(default: &Namespace, api: &Api<InferenceEndpoint>) -> Result<()> {
    let gateways: Api<Pod> = Api::namespaced(default.client.clone(), SYSTEM);
    let selector = "app.kubernetes.io/part-of=lexiscale,app.kubernetes.io/component=gateway";
    let gateways = async || gateways.list(&ListParams::default().labels(selector)).await;
    let old: Vec<_> = gateways().await?.iter().map(ResourceExt::name_any).collect();
    let before = asked_last(api).await?;
    let controller = "deployment/lexiscale-controller";
    let replicas =
        kubectl(&["--namespace", SYSTEM, "get", controller, "--output=jsonpath={.spec.replicas}"]).await?;
    kubectl(&["--namespace", SYSTEM, "scale", controller, "--replicas=0"]).await?;
    let controllers = "--selector=app.kubernetes.io/part-of=lexiscale,app.kubernetes.io/component=controller";
    kubectl(&["--namespace", SYSTEM, "wait", "pod", controllers, "--for=delete", "--timeout=90s"]).await?;
    let gateway = Gateway::open().await?;
    let restart = async {
        until_asked(api, before.as_ref()).await?;
        kubectl(&["--namespace", SYSTEM, "rollout", "restart", "deployment/lexiscale-gateway"]).await?;
        e2e::eventually("all gateways of before are being ended", PATIENCE, async || {
            let serves =
                |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && old.contains(&pod.name_any());
            Ok(!gateways().await?.iter().any(serves))
        })
        .await
    };
    let restarted_and_back = async {
        let restarted = restart.await;
        kubectl(&["--namespace", SYSTEM, "scale", controller, &format!("--replicas={replicas}")]).await?;
        restarted
    };
    let (embedded, restarted) = tokio::join!(embeds(&gateway), restarted_and_back);
    restarted?;
    embedded.context("the request that was held by a gateway of before")
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
        SYSTEM,
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
    endpoint.spec.deployment = serde_json::from_value(json!({"scaling": {"start": "on_request"}}))?;
    api.create(&PostParams::default(), &endpoint).await?;
    let result = sleeps_and_wakes(&default, &api).await;
    api.delete(NAME, &DeleteParams::default()).await?;
    e2e::eventually("the endpoint is gone", PATIENCE, async || Ok(api.get_opt(NAME).await?.is_none()))
        .await?;
    result
}

async fn sleeps_and_wakes(default: &Namespace, api: &Api<InferenceEndpoint>) -> Result<()> {
    let new = default.ready_endpoint(NAME).await?;
    ensure!(reason(&new, ConditionType::Ready) == "Idle", "{:?}", new.status);
    let workers = default.api::<Pod>().list(&worker_pods()).await?.items.len();
    let caches = default.api::<ModelCache>().list(&ListParams::default()).await?;
    let own = caches.iter().flat_map(ResourceExt::owner_references).filter(|owner| owner.name == NAME);
    ensure!((workers, own.count()) == (0, 0), "it was to start with its first request");
    let gateway = Gateway::open().await?;
    embeds(&gateway).await?;
    put_to_zero(default, api).await?;
    embeds(&gateway).await?;
    let woken = default.ready_endpoint(NAME).await?.status.context("no status")?;
    let decision = woken.decision.context("no decision")?;
    ensure!((decision.allocations, decision.reason.as_str()) == (1, "WokenUp"), "{decision:?}");
    ensure!(woken.cold_start_seconds.is_some(), "the start was not measured");

    // Held while the operator dies: the wake-up is on the object, and the next leader finds it there.
    put_to_zero(default, api).await?;
    let before = asked_last(api).await?;
    kill_the_controllers().await?;
    let kill_again = async {
        until_asked(api, before.as_ref()).await?;
        kill_the_controllers().await
    };
    let (embedded, killed) = tokio::join!(embeds(&gateway), kill_again);
    killed?;
    embedded?;

    put_to_zero(default, api).await?;
    restart_the_gateways(default, api).await
}
