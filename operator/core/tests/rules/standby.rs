//! Rules about standby allocations.

use jiff::SignedDuration;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, core::v1::Service};
use kube::ResourceExt;
use lexiscale_core::{
    labels,
    name::{child_name, standby_child_name},
    plan::endpoint::EndpointPlan,
    standby::{HOLD, REPEATED},
    wake,
};
use lexiscale_crds::{AdaptiveAllocations, ConditionType, Conditions, ScalingSettings, StandbyStatus};
use serde_json::{Value, json};

use crate::{
    fixtures::{endpoint, settings},
    world::{World, summary},
};

/// An adaptive endpoint with two standbys that runs.
fn world() -> World {
    let mut adaptive = endpoint("search");
    adaptive.spec.service_settings.num_allocations = None;
    adaptive.spec.service_settings.adaptive_allocations =
        Some(AdaptiveAllocations { enabled: Some(true), ..AdaptiveAllocations::default() });
    adaptive.spec.deployment = serde_json::from_value(json!({"scaling": {"standby": 2}})).unwrap();
    let mut world = World::new(settings()).with(adaptive);
    world.run();
    world
}

/// The kubelet: a standby pod as its Deployment made it, ready, and reserving this much.
fn start(world: &mut World, name: &str, cpu: &str, conditions: &Value) {
    let template = deployment(world, &standby_child_name("search")).spec.template;
    let mut pod = serde_json::to_value(template).unwrap();
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
    let mut all = vec![json!({"type": "Ready", "status": "True"})];
    all.extend(conditions.as_array().unwrap().clone());
    pod["status"]["conditions"] = json!(all);
    world.pods.retain(|pod| pod.name_any() != name);
    world.pods.push(serde_json::from_value::<Pod>(pod).unwrap());
}

fn deployment(world: &World, name: &str) -> Deployment {
    world.get::<Deployment>().into_iter().find(|found| found.name_any() == name).unwrap()
}

fn burst(world: &mut World) {
    let now = world.now.to_string();
    world.endpoints[0].annotations_mut().insert(labels::BURST_AT.to_owned(), now);
}

fn plan<T>(world: &World, read: impl FnOnce(&EndpointPlan<'_>) -> T) -> T {
    let observed = world.observe_endpoint("search");
    read(&world.plan_endpoint("search", &observed))
}

fn set_standbys(world: &mut World, count: i32) {
    world.edit("search", |endpoint| {
        let standby = Some(count);
        endpoint.spec.deployment.as_mut().unwrap().scaling =
            Some(ScalingSettings { standby, ..ScalingSettings::default() });
    });
}

/// The scaling loop: nobody has asked for anything in a long time.
fn sleep(world: &mut World) {
    let decision = world.endpoints[0].status.as_mut().unwrap().decision.as_mut().unwrap();
    decision.allocations = 0;
    "Idle".clone_into(&mut decision.reason);
    world.settle();
}

/// A gateway: a request has come.
fn wake_up(world: &mut World) {
    let written = wake::request(&world.endpoints[0], world.now);
    world.endpoints[0].annotations_mut().insert(labels::WAKE_REQUESTED_AT.to_owned(), written);
    world.settle();
}

/// Allocations and standbys that are asked for.
fn replicas(world: &World) -> (Option<i32>, Option<i32>) {
    let of = |name: &str| deployment(world, name).spec.replicas;
    (of(&child_name("search")), of(&standby_child_name("search")))
}

/// Pods with the CPU that each is to reserve.
fn resizes(world: &World) -> Vec<(String, String)> {
    plan(world, |plan| {
        plan.standby.resizes.iter().map(|resize| (resize.pod.clone(), resize.cpu.to_string())).collect()
    })
}

fn said(world: &World) -> Option<StandbyStatus> {
    world.endpoints[0].status.as_ref().unwrap().standby.clone()
}

/// Who counts or addresses allocations must not find a standby among them: it reserves nothing.
#[test]
fn standbys_are_of_a_deployment_of_their_own_that_reserves_next_to_nothing() {
    let world = world();
    let (own, standby) =
        (deployment(&world, &child_name("search")), deployment(&world, &standby_child_name("search")));
    assert_eq!((own.spec.replicas, standby.spec.replicas), (Some(1), Some(2)));
    let resources = |deployment: &Deployment| {
        let container = &deployment.spec.template.spec.as_ref().unwrap().containers[0];
        serde_json::to_value(&container.resources).unwrap()
    };
    assert_eq!(resources(&standby)["requests"]["cpu"], "10m");
    assert_eq!(resources(&standby)["limits"], resources(&own)["limits"]);
    assert_eq!(resources(&standby)["requests"]["memory"], resources(&own)["requests"]["memory"]);
    let selects = |deployment: &Deployment, pods: &Deployment| {
        let labels = pods.spec.template.metadata.as_ref().unwrap().labels.clone().unwrap();
        let wanted = deployment.spec.selector.match_labels.clone().unwrap();
        wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    assert!(selects(&own, &own) && selects(&standby, &standby));
    assert!(!selects(&own, &standby) && !selects(&standby, &own));
    let services = world.get::<Service>();
    let lent = services.iter().find(|found| found.labels().contains_key(labels::STANDBY)).unwrap();
    assert_eq!(lent.spec.as_ref().unwrap().selector, standby.spec.selector.match_labels);
}

#[test]
fn without_standbys_there_is_nothing_of_them() {
    let mut world = world();
    burst(&mut world);
    world.settle();
    set_standbys(&mut world, 0);
    world.settle();
    assert!(
        world.children.iter().all(|(_, child)| !child["metadata"]["name"].to_string().contains("standby"))
    );
    assert_eq!(said(&world), None);
}

/// "Costs nothing while idle" holds for standbys too.
#[test]
fn an_endpoint_at_zero_has_no_standby() {
    let mut world = world();
    sleep(&mut world);
    assert_eq!(replicas(&world), (Some(0), Some(0)));
    assert_eq!(said(&world), None);
}

/// For as long as a new one found no room, those of the old model would serve it, while the status says that the new one serves.
#[test]
fn old_standbys_go_before_new_ones_come() {
    let world = world();
    let rolling = |name: &str| {
        let strategy = serde_json::to_value(deployment(&world, name).spec.strategy).unwrap();
        strategy["rollingUpdate"].clone()
    };
    let (own, standby) = (rolling(&child_name("search")), rolling(&standby_child_name("search")));
    assert_eq!(standby, json!({"maxSurge": 0, "maxUnavailable": "100%"}));
    assert_eq!(own["maxUnavailable"], json!(0), "no request finds nobody");
}

/// A download may take an hour, and each standby costs the memory of a worker for as long.
#[test]
fn zero_and_removal_count_also_while_another_model_is_on_its_way() {
    let mut world = world();
    let old = deployment(&world, &standby_child_name("search")).spec.template;
    world.edit("search", |endpoint| {
        endpoint.spec.service_settings.model_id = Some("other-model".to_owned());
    });
    world.settle();
    assert_eq!(replicas(&world), (Some(1), Some(2)));
    sleep(&mut world);
    assert_eq!(replicas(&world), (Some(0), Some(0)));
    wake_up(&mut world);
    assert_eq!(replicas(&world), (Some(1), Some(2)));
    assert_eq!(deployment(&world, &standby_child_name("search")).spec.template, old);
    set_standbys(&mut world, 0);
    world.settle();
    assert_eq!(replicas(&world), (Some(1), Some(0)));
    world.run();
    let left: Vec<_> = world.get::<Deployment>().iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, [child_name("search")]);
}

/// "Reconciling" tells those who wait that allocations are being changed.
#[test]
fn another_number_of_standbys_is_no_change_of_the_allocations() {
    let mut world = world();
    set_standbys(&mut world, 3);
    let writes = summary(&world.reconcile_endpoint("search"));
    assert_eq!(writes, [format!("apply Deployment {}", standby_child_name("search"))]);
    let endpoint = &world.endpoints[0];
    assert!(endpoint.is(ConditionType::Ready) && !endpoint.is(ConditionType::Reconciling));
}

/// The annotation stays for ever. Who forgot the burst would reserve CPU for nobody after each wake-up.
#[test]
fn a_burst_of_before_a_sleep_does_not_count_after_it() {
    let mut world = world();
    burst(&mut world);
    world.settle();
    world.now += HOLD;
    sleep(&mut world);
    let asleep = said(&world).unwrap();
    assert_eq!((asleep.desired, asleep.ready, asleep.burst_noted_at.is_some()), (0, 0, true));
    wake_up(&mut world);
    assert_eq!(replicas(&world), (Some(1), Some(2)));
    start(&mut world, "a", "10m", &json!([]));
    assert_eq!(resizes(&world), []);
    burst(&mut world);
    assert_eq!(resizes(&world), [("a".to_owned(), "999m".to_owned())], "another one counts");
}

#[test]
fn in_a_burst_they_reserve_what_they_use_and_give_it_back() {
    let mut world = world();
    start(&mut world, "a", "10m", &json!([]));
    start(&mut world, "b", "10m", &json!([]));
    world.settle();
    assert_eq!(resizes(&world), []);
    burst(&mut world);
    // A thousandth less than the limit: the pod must stay of its quality of service class.
    let raised = ["a", "b"].map(|pod| (pod.to_owned(), "999m".to_owned()));
    assert_eq!(resizes(&world), raised);
    world.settle();
    assert_eq!(resizes(&world), raised, "until they are as wanted");
    start(&mut world, "a", "999m", &json!([]));
    start(&mut world, "b", "999m", &json!([]));
    world.settle();
    assert_eq!(resizes(&world), []);
    assert_eq!(
        said(&world).map(|standby| (standby.desired, standby.ready, standby.reserved)),
        Some((2, 2, 2))
    );
    let until = plan(&world, |plan| plan.standby.until).unwrap();
    assert_eq!(until.duration_since(world.now), HOLD);
    world.now = until;
    assert_eq!(resizes(&world), ["a", "b"].map(|pod| (pod.to_owned(), "10m".to_owned())));
    assert_eq!(plan(&world, |plan| plan.standby.until), None);
}

/// Without it, a burst of more than 45 s would lose its CPU in the middle.
#[test]
fn a_burst_that_is_told_again_goes_on() {
    let mut world = world();
    start(&mut world, "a", "999m", &json!([]));
    for _ in 0..10 {
        burst(&mut world);
        assert_eq!(resizes(&world), []);
        world.settle();
        world.now += REPEATED;
    }
    world.now += HOLD;
    assert_eq!(resizes(&world), [("a".to_owned(), "10m".to_owned())]);
}

/// The time of the annotation is a gateway's, whose clock may be anywhere.
#[test]
fn a_burst_counts_from_when_it_was_noted() {
    for skew in [SignedDuration::from_hours(-1), SignedDuration::from_hours(1)] {
        let mut world = world();
        start(&mut world, "a", "10m", &json!([]));
        let said = (world.now + skew).to_string();
        world.endpoints[0].annotations_mut().insert(labels::BURST_AT.to_owned(), said);
        assert_eq!(resizes(&world).len(), 1);
        world.settle();
        world.now += HOLD;
        assert_eq!(resizes(&world), [], "{skew}: over, and it never rose");
    }
}

#[test]
fn a_pod_that_starts_or_goes_is_left_as_it_is() {
    let mut world = world();
    start(&mut world, "starts", "10m", &json!([]));
    start(&mut world, "goes", "10m", &json!([]));
    for pod in &mut world.pods {
        match pod.name_any().as_str() {
            "starts" => pod.status = None,
            "goes" => {
                pod.metadata.deletion_timestamp =
                    serde_json::from_value(json!("2027-01-01T00:00:00Z")).unwrap();
            }
            _ => {}
        }
    }
    burst(&mut world);
    assert_eq!(resizes(&world), []);
}

/// Somebody has to see why a burst is slow, and nothing else may suffer from it.
#[test]
fn what_keeps_them_from_reserving_is_said_and_hinders_nothing() {
    let mut world = world();
    let pending = json!([{
        "type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "Node didn't have enough resource: cpu",
    }]);
    burst(&mut world);
    start(&mut world, "a", "999m", &pending);
    world.settle();
    let standby = said(&world).unwrap();
    assert_eq!((standby.ready, standby.reserved), (1, 0));
    assert_eq!(
        standby.message.as_deref(),
        Some(
            "the node does not grant a its request (Deferred: Node didn't have enough resource: cpu); they serve with the CPU \
             that is idle"
        )
    );
    let refused = plan(&world, |plan| {
        let mut standby = plan.standby.clone();
        standby.refused = Some("the server could not find the requested resource".to_owned());
        standby.status().unwrap().message.unwrap()
    });
    assert_eq!(
        refused,
        "the API server refuses to resize: the server could not find the requested resource; they serve with the CPU that is idle"
    );
    assert!(world.endpoints[0].is(ConditionType::Ready) && !world.endpoints[0].is(ConditionType::Stalled));
}

/// Somebody has to learn that there is none when a burst comes. Until then the endpoint serves as well without.
#[test]
fn what_keeps_them_from_serving_is_said_and_the_endpoint_is_ready_all_the_same() {
    let mut world = world();
    start(&mut world, "a", "10m", &json!([]));
    start(&mut world, "b", "10m", &json!([]));
    let mut says = |status: &Value, expected: &str| {
        let pod = world.pods.iter_mut().find(|pod| pod.name_any() == "b").unwrap();
        pod.status = serde_json::from_value(status.clone()).unwrap();
        world.settle();
        let standby = said(&world).unwrap();
        assert_eq!((standby.ready, standby.message.as_deref()), (1, Some(expected)));
        let endpoint = &world.endpoints[0];
        assert!(
            endpoint.is(ConditionType::Ready) && endpoint.status.as_ref().unwrap().last_failure.is_none()
        );
        assert!(!endpoint.is(ConditionType::Reconciling) && !endpoint.is(ConditionType::Stalled));
    };
    says(
        &json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "1 Insufficient memory."},
        ]}),
        "standby b does not serve (InsufficientCapacity: no node can take the pod: 1 Insufficient memory.)",
    );
    let crashed = json!({"phase": "Running", "containerStatuses": [{
        "name": "worker", "image": "w", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 3, "message": "cannot load the model"}},
    }]});
    says(&crashed, "standby b does not serve (Crashed: container worker crashed: cannot load the model)");
    let mut refused = deployment(&world, &standby_child_name("search"));
    refused.status = serde_json::from_value(json!({"conditions": [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: memory"},
    ]}))
    .unwrap();
    world.put(&refused);
    world.settle();
    let message = said(&world).unwrap().message;
    assert_eq!(message.as_deref(), Some("the API server refuses standby pods: exceeded quota: memory"));
    assert!(world.endpoints[0].is(ConditionType::Ready));
}
