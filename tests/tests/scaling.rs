//! An endpoint follows its load with real gateways and workers: it grows, it stays as it is whatever happens to the operator, it
//! goes to zero when nobody asks any more, and the next request is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, client, kubectl, references};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use lexiscale_crds::{InferenceEndpoint, ScalingDecision};
use serde_json::json;
use tokio::task::JoinHandle;

const NAME: &str = "tide";
/// Longer than the five minutes after a rise in which Elasticsearch takes nothing away.
const PATIENCE: Duration = Duration::from_mins(8);
const SYSTEM: &str = "lexiscale-system";
const CONTROLLER: &str = "app.kubernetes.io/part-of=lexiscale,app.kubernetes.io/component=controller";

fn endpoint() -> Result<InferenceEndpoint> {
    let mut endpoint: InferenceEndpoint = e2e::example("minimal.yaml")?;
    endpoint.metadata.name = Some(NAME.to_owned());
    let settings = &mut endpoint.spec.service_settings;
    settings.num_allocations = None;
    settings.adaptive_allocations = serde_json::from_value(
        json!({"enabled": true, "minNumberOfAllocations": 0, "maxNumberOfAllocations": 2}),
    )?;
    // Two fit beside everything else that runs here. In 8-bit integers one of them answers more than the clients can ask.
    endpoint.spec.deployment = serde_json::from_value(
        json!({"precision": "fp32", "cpuRequest": "50m", "scaling": {"scaleToZeroTime": "1m"}}),
    )?;
    Ok(endpoint)
}

async fn decision(api: &Api<InferenceEndpoint>) -> Result<ScalingDecision> {
    api.get(NAME).await?.status.and_then(|status| status.decision).context("no decision")
}

async fn until_decided(
    api: &Api<InferenceEndpoint>,
    what: &str,
    holds: impl Fn(&ScalingDecision) -> bool,
) -> Result<ScalingDecision> {
    e2e::eventually(what, PATIENCE, async || Ok(decision(api).await.is_ok_and(|decision| holds(&decision))))
        .await?;
    decision(api).await
}

#[tokio::test]
async fn allocations_follow_the_load_and_go_to_zero_with_it() -> Result<()> {
    let default = Namespace { client: client().await?, name: "default".to_owned() };
    let api = default.api::<InferenceEndpoint>();
    api.create(&PostParams::default(), &endpoint()?).await?;
    let result = rises_and_falls(&default, &api).await;
    if result.is_err() {
        eprintln_status(&api).await;
    }
    api.delete(NAME, &DeleteParams::default()).await?;
    e2e::eventually("the endpoint is gone", PATIENCE, async || Ok(api.get_opt(NAME).await?.is_none()))
        .await?;
    result
}

/// Clients that ask one request after the other, of some milliseconds each: more than one allocation can do. The rule is sure
/// of a load by the number of requests that it has seen, so few long ones would not do.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn start(gateway: &Arc<Gateway>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..8).map(|_| tokio::spawn(ask_on(Arc::clone(gateway), Arc::clone(&stop)))).collect();
        Self { stop, clients }
    }

    /// Every request was answered.
    async fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await??;
        }
        Ok(())
    }
}

async fn ask_on(gateway: Arc<Gateway>, stop: Arc<AtomicBool>) -> Result<()> {
    let body = json!({ "input": "a request of some length ".repeat(20) }).to_string();
    while !stop.load(Ordering::Relaxed) {
        gateway.call("POST", &format!("/_inference/sparse_embedding/{NAME}"), Some(&body)).await?;
    }
    Ok(())
}

/// How often the spec of its Deployment was changed: what goes down and up again between two looks is seen here.
async fn changes(default: &Namespace) -> Result<i64> {
    let deployment = default.api::<Deployment>().get(NAME).await?;
    deployment.metadata.generation.context("no generation")
}

async fn rises_and_falls(default: &Namespace, api: &Api<InferenceEndpoint>) -> Result<()> {
    default.ready_endpoint(NAME).await?;
    let gateway = Arc::new(Gateway::open().await?);
    let load = Load::start(&gateway);
    let risen = until_decided(api, "more allocations", |decision| decision.allocations == 2).await?;
    ensure!(risen.reason == "HighLoad" && risen.message.contains("requests/s"), "{risen:?}");

    let ramp = changes(default).await?;

    // In the middle of the ramp, without a word to its lease.
    let delete =
        ["--namespace", SYSTEM, "delete", "pod", "--selector", CONTROLLER, "--grace-period=0", "--force"];
    kubectl(&delete).await?;
    e2e::eventually("both allocations serve", PATIENCE, async || {
        let status = api.get(NAME).await?.status.unwrap_or_default();
        let (allocations, decision) = (status.allocations.unwrap_or_default(), status.decision);
        ensure!(decision.is_some_and(|decision| decision.allocations == 2), "it flaps");
        Ok(allocations.ready == 2)
    })
    .await?;
    load.finish().await?;

    let held = until_decided(api, "a reason to stay", |decision| decision.reason == "Cooldown").await?;
    ensure!(held.allocations == 2, "{held:?}");
    ensure!(
        changes(default).await? == ramp,
        "the Deployment was changed meanwhile, so that it flapped: {held:?}"
    );
    let slept = until_decided(api, "zero", |decision| decision.allocations == 0).await?;
    ensure!(slept.reason == "Idle", "{slept:?}");

    let reference = references()?.remove(0);
    let body = json!({ "input": reference.text }).to_string();
    let path = format!("/_inference/sparse_embedding/{NAME}?timeout=150s");
    let answer = gateway.call("POST", &path, Some(&body)).await?;
    reference.check(&answer.body["sparse_embedding"][0]["embedding"], answer.precision)?;
    let woken = until_decided(api, "awake", |decision| decision.allocations > 0).await?;
    ensure!(woken.wake_requested_at.is_some(), "{woken:?}");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "whoever reads a failure wants to see this")]
async fn eprintln_status(api: &Api<InferenceEndpoint>) {
    if let Ok(endpoint) = api.get(NAME).await {
        eprintln!("{:#?}", endpoint.status);
    }
}
