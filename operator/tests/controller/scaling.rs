//! The loop: what gateways and workers say becomes allocations, and what they do not say changes nothing.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Event},
    apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use lexiscale_crds::{InferenceEndpoint, ScalingDecision};
use serde_json::{Value, json};

use crate::{
    cluster::{World, eventually, with_operator, with_world},
    fixtures::succeeded,
    operator::Operator,
    sources::{Gateway, Worker},
};

const QUIET: Duration = Duration::from_secs(1);

fn adaptive(minimum: i32) -> impl FnOnce(&mut Value) {
    move |endpoint| {
        endpoint["spec"]["serviceSettings"] = json!({
            "modelId": "first", "numThreads": 1,
            "adaptiveAllocations": {"enabled": true, "minNumberOfAllocations": minimum, "maxNumberOfAllocations": 6},
        });
        endpoint["spec"]["deployment"] = json!({"scaling": {"scaleToZeroTime": "1m"}});
    }
}

impl World {
    /// An operator that looks often.
    fn quick(&self) -> Operator {
        Operator::start(self, &["--gateway-namespace", &self.namespace, "--scaling-interval", "200ms"])
    }

    async fn serve_adaptive(&self, minimum: i32) -> Vec<Worker> {
        self.create_endpoint("search", adaptive(minimum)).await;
        self.end_download(&succeeded("first")).await;
        let workers = self.start_telling_workers(1).await;
        self.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
        workers
    }

    /// What an earlier leader left. Nobody else writes meanwhile, or this would be lost.
    async fn remember(&self, allocations: i32, reason: &str, memory: &Value) {
        let api: Api<InferenceEndpoint> = self.api();
        let decision = json!({
            "allocations": allocations, "reason": reason, "message": "by the test", "time": "2026-01-01T00:00:00Z",
            "memory": memory.to_string(),
        });
        let patch = Patch::Merge(json!({"status": {"decision": decision}}));
        api.patch_status("search", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn until_decided(&self, what: &str, holds: impl Fn(&ScalingDecision) -> bool) -> ScalingDecision {
        let decision = |endpoint: &InferenceEndpoint| endpoint.status.as_ref()?.decision.clone();
        let found: InferenceEndpoint =
            self.until("search", what, |endpoint| decision(endpoint).as_ref().is_some_and(&holds)).await;
        decision(&found).unwrap()
    }

    async fn until_scaled(&self, holds: impl Fn(i32) -> bool) -> i32 {
        let found: Deployment = self
            .until("search", "scaled", |found: &Deployment| found.spec.replicas.is_some_and(&holds))
            .await;
        found.spec.replicas.unwrap()
    }
}

/// The whole of it: more load, more allocations; a gateway that says nothing and another leader take none away.
#[tokio::test]
async fn load_raises_the_number_and_neither_silence_nor_a_restart_lowers_it() {
    with_world(async |world| {
        let operator = world.quick();
        let gateway = Arc::new(Gateway::start(&world, "gateway").await);
        let _workers = world.serve_adaptive(1).await;
        let load = gateway.is_busy("search", 3);
        let replicas = world.until_scaled(|replicas| replicas >= 3).await;
        let decision = world.until_decided("raised", |decision| decision.allocations >= replicas).await;
        assert_eq!(decision.reason, "HighLoad", "{decision:?}");
        assert!(decision.memory.is_some_and(|memory| memory.contains("elasticsearch")));
        let told = eventually(async || {
            let events = world.api::<Event>().list(&ListParams::default()).await.unwrap().items;
            events.into_iter().find(|event| event.reason.as_deref() == Some("ScaledUp"))
        });
        let told = tokio::time::timeout(Duration::from_secs(30), told).await.unwrap().message.unwrap();
        assert!(told.contains("from 1 to") && told.contains("requests/s"), "{told}");

        // They start, and the load goes on until the number stands.
        let raised = world.get::<Deployment>("search").await.spec.replicas.unwrap();
        gateway.falls_silent();
        drop(load);
        let held = world.until_decided("held", |decision| decision.reason == "NoData").await;
        assert!(held.message.contains("gateway gateway does not answer"), "{held:?}");
        assert!(held.allocations >= raised, "{held:?}");
        operator.stop().await;

        let quiet = Gateway::start(&world, "another").await;
        quiet.counts("search", |counters| counters.idle = Some(30.0));
        Arc::into_inner(gateway).unwrap().goes().await;
        let successor = world.quick();
        let kept =
            world.until_decided("kept by the cooldown", |decision| decision.reason == "Cooldown").await;
        assert_eq!(kept.allocations, held.allocations, "{kept:?}");
        successor.stop().await;
    })
    .await;
}

#[tokio::test]
async fn zero_needs_the_word_of_every_gateway_and_of_the_workers() {
    let test = with_world(async |world| {
        let first = world.quick();
        let gateways = [Gateway::start(&world, "one").await, Gateway::start(&world, "two").await];
        let gone = Gateway::start(&world, "dead").await;
        let workers = world.serve_adaptive(0).await;
        world.until_quiet(QUIET).await;
        first.stop().await;
        world.remember(1, "Steady", &json!({"mode": "elasticsearch", "idle": 5000.0, "queued": 0})).await;
        gateways[0].counts("search", |counters| counters.idle = Some(90.0));
        gateways[1].counts("search", |counters| counters.idle = Some(12.0));
        workers[0].counts(|counters| counters.idle = Some(7.0));
        // It takes no requests, so that the others are enough to scale by, but not to go to zero by.
        gone.stands(false).await;
        gone.falls_silent();

        let operator = world.quick();
        let objects = |word: &'static str| move |decision: &ScalingDecision| decision.message.contains(word);
        let decision = world.until_decided("held", objects("gateway dead does not answer")).await;
        assert_eq!((decision.allocations, decision.reason.as_str()), (1, "NoData"));
        gone.goes().await;
        world.until_decided("held", objects("gateway two had a request 12 s ago")).await;
        gateways[1].counts("search", |counters| counters.idle = None);
        world.until_decided("held", objects("had a request 7 s ago")).await;
        assert_eq!(world.get::<Deployment>("search").await.spec.replicas, Some(1));
        workers[0].counts(|counters| counters.idle = Some(61.0));
        world.until_scaled(|replicas| replicas == 0).await;
        let slept = world.until_decided("asleep", |decision| decision.allocations == 0).await;
        assert_eq!(slept.reason, "Idle", "{slept:?}");
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Idle")).await;
        world.until_quiet(QUIET).await;
        operator.stop().await;
    });
    Box::pin(test).await;
}

/// Nothing that the loop does is a write, unless it changes something.
#[tokio::test]
async fn a_steady_load_writes_nothing() {
    with_world(async |world| {
        let operator = world.quick();
        let gateway = Arc::new(Gateway::start(&world, "gateway").await);
        let _workers = world.serve_adaptive(1).await;
        gateway.counts("search", |counters| counters.idle = Some(1.0));
        world.until_quiet(Duration::from_secs(4)).await;
        operator.stop().await;
    })
    .await;
}

/// A gateway whose clock or memory is broken. Believed, it would be a thousand allocations.
#[tokio::test]
async fn numbers_that_cannot_be_are_no_load_and_are_not_remembered() {
    with_world(async |world| {
        let operator = world.quick();
        let gateway = Arc::new(Gateway::start(&world, "gateway").await);
        let _workers = world.serve_adaptive(1).await;
        let mistake = gateway.keeps_counting("search", |counters| {
            counters.arrivals += 1;
            counters.completed += 1;
            // Thirty years. Much more, and the sum would swallow what is counted after it.
            counters.service_time += 1e9;
        });
        let kept = world.until_decided("not believed", |decision| decision.reason == "NoData").await;
        assert!(kept.message.contains("serviceTime of the observation is 1"), "{kept:?}");
        assert_eq!(world.get::<Deployment>("search").await.spec.replicas, Some(1));
        drop(mistake);
        let _load = gateway.is_busy("search", 3);
        let replicas = world.until_scaled(|replicas| replicas > 1).await;
        assert!(replicas < 6, "the maximum for a load of 3");
        operator.stop().await;
    })
    .await;
}

/// An autoscaler of the cluster owns the number in place of the operator: the real one, with its own rights.
#[tokio::test]
async fn a_horizontal_pod_autoscaler_scales_an_endpoint_of_a_fixed_number() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let autoscaler = json!({
            "metadata": {"name": "search"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "InferenceEndpoint", "name": "search"},
                "minReplicas": 4, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}],
            },
        });
        let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(autoscaler).unwrap();
        world.api().create(&PostParams::default(), &autoscaler).await.unwrap();
        world.until_scaled(|replicas| replicas == 4).await;
        let decision = world.until_decided("fixed", |decision| decision.allocations == 4).await;
        assert_eq!(decision.reason, "Fixed");
    })
    .await;
}

/// KEDA scales between zero and one itself, by an update of the scale subresource under a manager of its own, and leaves the rest to an
/// autoscaler of the cluster that it makes.
#[tokio::test]
async fn keda_scales_an_endpoint_of_a_fixed_number_down_to_one_and_nobody_fights_it() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let api: Api<InferenceEndpoint> = world.api();
        let keda = PostParams { field_manager: Some("keda".to_owned()), ..PostParams::default() };
        let scale = async |replicas: i32| {
            let mut scale = api.get_scale("search").await.unwrap();
            scale.spec.get_or_insert_default().replicas = Some(replicas);
            api.replace_scale("search", &keda, &scale).await
        };
        let deployment = async || world.get::<Deployment>("search").await.spec.replicas;

        // Zero is the operator's, which wakes; what KEDA put to sleep nobody would.
        let refused = scale(0).await.unwrap_err().to_string();
        assert!(
            refused.contains("numAllocations") && refused.contains("greater than or equal to 1"),
            "{refused}"
        );
        world.until_quiet(QUIET).await;
        assert_eq!(deployment().await, Some(2));

        for replicas in [1, 3, 1] {
            scale(replicas).await.unwrap();
            world.until_scaled(|found| found == replicas).await;
            let decided = world.until_decided("followed", |decision| decision.allocations == replicas).await;
            assert_eq!(decided.reason, "Fixed");
            world.until_quiet(QUIET).await;
            let endpoint = world.get::<InferenceEndpoint>("search").await;
            assert_eq!(
                endpoint.spec.service_settings.num_allocations,
                Some(replicas),
                "somebody wrote it back"
            );
            assert_eq!(deployment().await, Some(replicas), "somebody wrote it back");
            assert_eq!(owners_of_the_number(&endpoint), ["keda"]);
        }
    })
    .await;
}

/// The managers that have written `numAllocations` last.
fn owners_of_the_number(endpoint: &InferenceEndpoint) -> Vec<&str> {
    let fields = endpoint.metadata.managed_fields.iter().flatten();
    let owns = |fields: &&ManagedFieldsEntry| {
        let owned = fields.fields_v1.as_ref().map(|fields| &fields.0["f:spec"]["f:serviceSettings"]);
        owned.is_some_and(|owned| !owned["f:numAllocations"].is_null())
    };
    fields.filter(owns).filter_map(|fields| fields.manager.as_deref()).collect()
}

#[tokio::test]
async fn threads_that_no_node_has_stall_an_endpoint_until_there_are_fewer() {
    with_operator(async |world| {
        let threads = |count: i32| json!({"spec": {"serviceSettings": {"numThreads": count}}});
        world
            .create_endpoint("search", |endpoint| {
                endpoint["spec"]["serviceSettings"]["numThreads"] = json!(32);
            })
            .await;
        world.end_download(&succeeded("first")).await;
        let found: InferenceEndpoint =
            world.until_says("search", ("Stalled", "True", "InsufficientCapacity")).await;
        let status = found.status.unwrap();
        assert_eq!(status.allocations.unwrap().desired, 2, "what is asked for is not lowered");
        let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap();
        assert!(
            stalled.message.contains("numThreads is 32, but the largest node has"),
            "{}",
            stalled.message
        );
        world.edit_endpoint("search", threads(1)).await;
        world.until_says::<InferenceEndpoint>("search", ("Reconciling", "True", "VolumePending")).await;
    })
    .await;
}
