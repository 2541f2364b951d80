//! Standby allocations against the real API server: who they are, and that their requests are resized in place and back.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use lexiscale_core::name::standby_child_name;
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint, StandbyStatus};
use serde_json::{Value, json};

use crate::{
    cluster::{World, with_operator},
    fixtures::succeeded,
    proxy::FAILURE,
};

const QUIET: Duration = Duration::from_secs(1);
const ENDPOINT_LABEL: &str = "inference.lexiscale.io/endpoint";
const STANDBYS: &str = "inference.lexiscale.io/standby-of=search";

fn with_standby(endpoint: &mut Value) {
    endpoint["spec"]["serviceSettings"] = json!({
        "modelId": "first", "numThreads": 1, "adaptiveAllocations": {"enabled": true, "maxNumberOfAllocations": 10},
    });
    endpoint["spec"]["deployment"] = json!({"scaling": {"standby": 1}});
}

impl World {
    async fn standby(&self) -> Pod {
        let api: Api<Pod> = self.api();
        let mut pods = api.list(&ListParams::default().labels(STANDBYS)).await.unwrap().items;
        assert_eq!(pods.len(), 1);
        pods.remove(0)
    }

    /// What a gateway writes.
    async fn burst(&self, time: &str) {
        let annotation = json!({"metadata": {"annotations": {"inference.lexiscale.io/burst-at": time}}});
        self.edit_endpoint("search", annotation).await;
    }

    /// The kubelet's word that the container has what its spec names.
    async fn tell_resources(&self, pod: &Pod) {
        let mut containers = serde_json::to_value(&pod.status.as_ref().unwrap().container_statuses).unwrap();
        let spec = serde_json::to_value(&pod.spec.as_ref().unwrap().containers[0].resources).unwrap();
        containers[0]["resources"] = spec;
        self.set_status(pod, json!({ "containerStatuses": containers })).await;
    }

    async fn until_standby(&self, what: &str, holds: impl Fn(&StandbyStatus) -> bool) {
        self.until("search", what, |endpoint: &InferenceEndpoint| {
            endpoint.status.as_ref().and_then(|status| status.standby.as_ref()).is_some_and(&holds)
        })
        .await;
    }
}

fn cpu(pod: &Pod) -> String {
    let requests = pod.spec.as_ref().unwrap().containers[0].resources.as_ref().unwrap().requests.as_ref();
    requests.unwrap()["cpu"].0.clone()
}

#[tokio::test]
async fn a_burst_resizes_the_standby_in_place_and_its_end_resizes_it_back() {
    with_operator(async |world| Box::pin(bursts(&world)).await).await;
}

async fn bursts(world: &World) {
    world.create_endpoint("search", with_standby).await;
    world.end_download(&succeeded("first")).await;
    // One that was decided for, and the standby.
    world.start_workers(2).await;
    world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
    world.until_standby("with a standby", |standby| (standby.ready, standby.reserved) == (1, 0)).await;
    world.until_quiet(QUIET).await;
    let before = world.standby().await;
    assert_eq!(cpu(&before), "10m");
    assert!(!before.labels().contains_key(ENDPOINT_LABEL), "whoever counts allocations would count it");
    let endpoint: InferenceEndpoint = world.get("search").await;
    assert_eq!(endpoint.status.unwrap().allocations.unwrap().current, 1);

    // A kubelet that cannot resize says nothing of the resources of its containers, and the API server then refuses.
    world.burst("2026-01-01T00:00:00Z").await;
    let is_refused = |standby: &StandbyStatus| {
        standby.message.as_ref().is_some_and(|message| message.contains("without support for resize"))
    };
    world.until_standby("refused", is_refused).await;
    let endpoint: InferenceEndpoint = world.get("search").await;
    assert_eq!(endpoint.condition(ConditionType::Ready).unwrap().status, "True");
    assert_eq!(cpu(&world.standby().await), "10m");

    world.tell_resources(&before).await;
    world.until_standby("reserving", |standby| standby.reserved == 1 && standby.message.is_none()).await;
    let raised = world.standby().await;
    assert_eq!(cpu(&raised), "999m");
    assert_eq!(raised.uid(), before.uid(), "the very pod, not another");
    world.until_quiet(QUIET).await;

    // The burst is over: as if it had been noted long ago.
    let api: Api<InferenceEndpoint> = world.api();
    let past = json!({"status": {"standby": {"burstNotedAt": "2026-01-01T00:00:00.000000Z"}}});
    api.patch_status("search", &PatchParams::default(), &Patch::Merge(past)).await.unwrap();
    world.until_standby("idle", |standby| standby.reserved == 0).await;
    assert_eq!(cpu(&world.standby().await), "10m");
    world.until_quiet(QUIET).await;
}

/// An API server that cannot resize just now must keep nobody from seeing how the endpoint is, and nobody else tries again.
#[tokio::test]
async fn a_resize_that_fails_is_said_and_tried_again() {
    with_operator(async |world| Box::pin(fails(&world)).await).await;
}

async fn fails(world: &World) {
    world.create_endpoint("search", with_standby).await;
    world.end_download(&succeeded("first")).await;
    world.start_workers(2).await;
    world.until_standby("with a standby", |standby| standby.ready == 1).await;
    world.tell_resources(&world.standby().await).await;
    world.proxy.fail(Some("/resize"));
    world.burst("2026-01-01T00:00:00Z").await;
    let is_said = |standby: &StandbyStatus| {
        standby.burst_noted_at.is_some()
            && standby.message.as_ref().is_some_and(|message| message.contains(FAILURE))
    };
    world.until_standby("failing", is_said).await;
    world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
    assert_eq!(cpu(&world.standby().await), "10m");
    world.proxy.fail(None);
    world.until_standby("reserving", |standby| standby.reserved == 1 && standby.message.is_none()).await;
}

#[tokio::test]
async fn at_zero_there_is_no_standby_and_without_the_setting_nothing_of_it() {
    with_operator(async |world| {
        world.create_endpoint("search", with_standby).await;
        world.end_download(&succeeded("first")).await;
        world.start_workers(2).await;
        world.until_standby("with a standby", |standby| standby.ready == 1).await;
        world.until_quiet(QUIET).await;
        let api: Api<InferenceEndpoint> = world.api();
        let decision =
            json!({"allocations": 0, "reason": "Idle", "message": "by the test", "time": "2026-01-01T00:00:00Z"});
        let patch = Patch::Merge(json!({"status": {"decision": decision}}));
        api.patch_status("search", &PatchParams::default(), &patch).await.unwrap();
        let name = standby_child_name("search");
        world.until(&name, "at zero", |found: &Deployment| found.spec.replicas == Some(0)).await;

        world.edit_endpoint("search", json!({"spec": {"deployment": {"scaling": {"standby": 0}}}})).await;
        let left: Vec<Deployment> = world.until_count(1).await;
        assert_ne!(left[0].name_any(), name);
    })
    .await;
}
