//! An endpoint at zero allocations: it sleeps, it is woken, and neither a restart nor another leader changes its number.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache, ScalingDecision};
use serde_json::{Value, json};

use crate::{
    cluster::{World, with_operator, with_world},
    fixtures::succeeded,
    operator::Operator,
};

const QUIET: Duration = Duration::from_secs(1);

fn adaptive(endpoint: &mut Value) {
    endpoint["spec"]["serviceSettings"] = json!({
        "modelId": "first", "numThreads": 1, "adaptiveAllocations": {"enabled": true, "maxNumberOfAllocations": 10},
    });
}

impl World {
    /// An adaptive endpoint that serves with one allocation.
    async fn run_adaptive(&self, name: &str) {
        self.create_endpoint(name, adaptive).await;
        self.end_download(&succeeded("first")).await;
        self.start_workers(1).await;
        self.until_says::<InferenceEndpoint>(name, ("Ready", "True", "Serving")).await;
        self.until_quiet(QUIET).await;
    }

    /// What the scaling loop writes. Nobody else writes meanwhile, or this would be lost.
    async fn decide(&self, name: &str, allocations: i32, reason: &str) {
        let api: Api<InferenceEndpoint> = self.api();
        let decision = json!({"allocations": allocations, "reason": reason, "message": "by the test", "time": "2026-01-01T00:00:00Z"});
        let patch = Patch::Merge(json!({"status": {"decision": decision}}));
        api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn fall_asleep(&self, name: &str) {
        self.decide(name, 0, "Idle").await;
        self.until_replicas(name, 0).await;
        self.until_count::<Pod>(1).await;
        self.until_says::<InferenceEndpoint>(name, ("Ready", "True", "Idle")).await;
        self.until_quiet(QUIET).await;
    }

    /// What a gateway writes.
    async fn ask_to_wake(&self, name: &str, time: &str) {
        let annotation =
            json!({"metadata": {"annotations": {"inference.lexiscale.io/wake-requested-at": time}}});
        self.edit_endpoint(name, annotation).await;
    }

    async fn until_replicas(&self, name: &str, count: i32) {
        let what = format!("scaled to {count}");
        self.until(name, &what, |found: &Deployment| found.spec.replicas == Some(count)).await;
    }

    async fn decision(&self, name: &str) -> ScalingDecision {
        self.get::<InferenceEndpoint>(name).await.status.unwrap().decision.unwrap()
    }
}

/// As the chart makes Elasticsearch's default endpoint.
#[tokio::test]
async fn nothing_runs_before_the_first_request_where_the_endpoint_says_so() {
    with_operator(async |world| {
        let on_request = |endpoint: &mut Value| {
            adaptive(endpoint);
            endpoint["spec"]["deployment"] = json!({"scaling": {"start": "on_request"}});
        };
        world.create_endpoint("search", on_request).await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Idle")).await;
        world.until_quiet(QUIET).await;
        world.until_count::<ModelCache>(0).await;
        world.until_count::<Deployment>(0).await;

        world.ask_to_wake("search", "2026-01-02T03:04:05Z").await;
        world.end_download(&succeeded("first")).await;
        world.start_workers(1).await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
        assert_eq!(world.decision("search").await.reason, "WokenUp");
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_sleeps_quietly_until_a_request_wakes_it_to_one() {
    with_operator(async |world| {
        world.run_adaptive("search").await;
        assert_eq!(world.decision("search").await.reason, "Start");
        world.fall_asleep("search").await;
        let endpoint: InferenceEndpoint = world.get("search").await;
        let status = endpoint.status.unwrap();
        assert_eq!(status.conditions.len(), 1, "{:?}", status.conditions);
        assert_eq!(status.allocations.unwrap().desired, 0);
        let before = world.proxy.writes().len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(world.proxy.writes()[before..], [] as [String; 0]);

        world.ask_to_wake("search", "2026-01-01T00:00:01.5Z").await;
        world.until_replicas("search", 1).await;
        world.pods("worker", 1).await;
        // The status is written last.
        world.until_says::<InferenceEndpoint>("search", ("Reconciling", "True", "VolumePending")).await;
        let woken = world.decision("search").await;
        assert_eq!((woken.allocations, woken.reason.as_str()), (1, "WokenUp"));
        assert!(woken.message.contains("2026-01-01T00:00:01.5Z"), "{}", woken.message);
        world.start_workers(1).await;
        let endpoint: InferenceEndpoint = world.until_says("search", ("Ready", "True", "Serving")).await;
        let status = endpoint.status.unwrap();
        assert!(status.cold_start_seconds.is_some_and(|seconds| seconds > 0), "{status:?}");
        assert_eq!(status.decision, Some(woken));
        world.until_quiet(QUIET).await;

        // What was answered once is not answered again.
        world.fall_asleep("search").await;
        world.ask_to_wake("search", "2026-01-01T00:00:00Z").await;
        world.until_replicas("search", 1).await;
    })
    .await;
}

/// Written while nobody led: the next leader answers. Nothing else changes with the leader.
#[tokio::test]
async fn another_leader_keeps_the_number_and_answers_what_it_finds() {
    with_world(async |world| {
        let first = Operator::start(&world, &["--leader-elect=true", "--identity=first"]);
        world.run_adaptive("search").await;
        world.decide("search", 3, "Load").await;
        world.until_replicas("search", 3).await;
        world.pods("worker", 2).await;
        world.until_quiet(QUIET).await;
        let kept = world.decision("search").await;
        first.stop().await;

        let second = Operator::start(&world, &["--leader-elect=true", "--identity=second"]);
        // What only a leader reports, so that it has surely had its passes.
        world.start_workers(2).await;
        world
            .until("search", "reported by the second", |endpoint: &InferenceEndpoint| {
                let status = endpoint.status.as_ref();
                let ready = status.and_then(|status| Some(status.allocations?.ready));
                ready == Some(3) && status.is_some_and(|status| status.conditions.len() == 1)
            })
            .await;
        world.until_quiet(QUIET).await;
        assert_eq!(world.decision("search").await, kept);
        assert_eq!(world.get::<Deployment>("search").await.spec.replicas, Some(3));
        world.fall_asleep("search").await;
        second.stop().await;

        world.ask_to_wake("search", "2026-01-01T00:00:00Z").await;
        let third = Operator::start(&world, &["--leader-elect=true", "--identity=third"]);
        world.until_replicas("search", 1).await;
        world.pods("worker", 1).await;
        third.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_minimum_that_is_raised_wakes_nobody_and_counts_afterwards() {
    with_operator(async |world| {
        world.run_adaptive("search").await;
        world.fall_asleep("search").await;
        let raised =
            json!({"spec": {"serviceSettings": {"adaptiveAllocations": {"minNumberOfAllocations": 2}}}});
        world.edit_endpoint("search", raised).await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Idle")).await;
        world.until_quiet(QUIET).await;
        let decision = world.decision("search").await;
        assert_eq!(decision.allocations, 0);
        assert!(decision.message.contains("minNumberOfAllocations 2"), "{}", decision.message);
        world.ask_to_wake("search", "2026-01-01T00:00:00Z").await;
        world.until_replicas("search", 2).await;
    })
    .await;
}
