//! Rules about an endpoint at zero allocations.

use jiff::SignedDuration;
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt;
use lexiscale_core::{
    labels,
    wake::{self, Sleep},
};
use lexiscale_crds::{
    AdaptiveAllocations, ConditionType, Conditions, InferenceEndpoint, InferenceEndpointStatus,
    ScalingDecision,
};
use serde_json::json;

use crate::{
    fixtures::{endpoint, now, settings},
    world::{World, summary},
};

fn bounds(endpoint: &mut InferenceEndpoint, minimum: i32, maximum: i32) {
    endpoint.spec.service_settings.num_allocations = None;
    endpoint.spec.service_settings.adaptive_allocations = Some(AdaptiveAllocations {
        enabled: Some(true),
        min_number_of_allocations: Some(minimum),
        max_number_of_allocations: Some(maximum),
    });
}

fn status(world: &mut World) -> &mut InferenceEndpointStatus {
    world.endpoints[0].status.as_mut().unwrap()
}

fn decision(world: &World) -> ScalingDecision {
    world.endpoints[0].status.as_ref().unwrap().decision.clone().unwrap()
}

fn replicas(world: &World) -> Option<i32> {
    world.get::<Deployment>()[0].spec.replicas
}

fn said(world: &World, kind: ConditionType) -> Option<(&str, &str)> {
    let condition = world.endpoints[0].condition(kind)?;
    Some((condition.status.as_str(), condition.reason.as_str()))
}

/// Adaptive from zero, running with one allocation, then put to zero as the scaling loop does it.
fn asleep() -> World {
    let mut adaptive = endpoint("search");
    bounds(&mut adaptive, 0, 10);
    let mut world = World::new(settings()).with(adaptive);
    world.run();
    assert_eq!(replicas(&world), Some(1));
    sleep(&mut world);
    world
}

/// Adaptive from zero, to start with its first request.
fn unasked() -> World {
    let mut late = endpoint("search");
    bounds(&mut late, 0, 10);
    late.spec.deployment = serde_json::from_value(json!({"scaling": {"start": "on_request"}})).unwrap();
    let mut world = World::new(settings()).with(late);
    world.settle();
    world
}

fn sleep(world: &mut World) {
    let time = Time(world.now);
    let decision = status(world).decision.as_mut().unwrap();
    decision.allocations = 0;
    "Idle".clone_into(&mut decision.reason);
    decision.time = time;
    world.settle();
    world.complete_rollouts();
    world.settle();
}

fn ask(world: &mut World) {
    let written = wake::request(&world.endpoints[0], world.now);
    world.endpoints[0].annotations_mut().insert(labels::WAKE_REQUESTED_AT.to_owned(), written);
}

#[test]
fn an_endpoint_at_zero_is_ready_and_idle_and_keeps_its_model() {
    let world = asleep();
    assert_eq!(replicas(&world), Some(0));
    assert_eq!(said(&world, ConditionType::Ready), Some(("True", "Idle")));
    assert_eq!(said(&world, ConditionType::Reconciling), None);
    assert_eq!(world.caches.len(), 1);
    assert_eq!(wake::sleep(&world.endpoints[0]), Sleep::Asleep);
    let status = world.endpoints[0].status.as_ref().unwrap();
    assert_eq!(status.allocations.unwrap().desired, 0);
}

#[test]
fn a_request_wakes_it_to_one_and_is_answered_once() {
    let mut world = asleep();
    world.now += SignedDuration::from_hours(30);
    ask(&mut world);
    assert_eq!(wake::sleep(&world.endpoints[0]), Sleep::Asked);
    assert_eq!(summary(&world.reconcile_endpoint("search")), ["apply Deployment search"]);
    world.settle();
    assert_eq!(replicas(&world), Some(1));
    let woken = decision(&world);
    assert_eq!((woken.allocations, woken.reason.as_str()), (1, "WokenUp"));
    assert_eq!(woken.time.0, world.now, "a slow start must not count as idle time");
    assert_eq!(said(&world, ConditionType::Ready), Some(("False", "WakingUp")));
    assert_eq!(said(&world, ConditionType::Reconciling), Some(("True", "WakingUp")));
    assert_eq!(wake::sleep(&world.endpoints[0]), Sleep::Awake);

    world.now += SignedDuration::from_millis(12_300);
    world.complete_rollouts();
    world.settle();
    assert_eq!(said(&world, ConditionType::Ready), Some(("True", "Serving")));
    assert_eq!(decision(&world), woken);
    assert_eq!(status(&mut world).cold_start_seconds, Some(13));

    sleep(&mut world);
    assert_eq!(replicas(&world), Some(0), "the old wake-up wakes nobody");
    assert_eq!(status(&mut world).cold_start_seconds, Some(13), "the best guess for the next one");
}

/// What nobody has asked for yet costs neither a download nor a pod; Elasticsearch's default endpoint is such a one.
#[test]
fn one_that_starts_on_request_downloads_nothing_before() {
    let mut world = unasked();
    assert!(world.caches.is_empty() && world.get::<Deployment>().is_empty());
    assert_eq!(said(&world, ConditionType::Ready), Some(("True", "Idle")));
    assert_eq!(wake::sleep(&world.endpoints[0]), Sleep::Asleep);

    ask(&mut world);
    world.settle();
    assert_eq!(world.caches.len(), 1);
    assert_eq!(said(&world, ConditionType::Ready), Some(("False", "DownloadingModel")));
    world.now += SignedDuration::from_mins(10);
    world.run();
    assert_eq!(replicas(&world), Some(1));
    assert_eq!(decision(&world).reason, "WokenUp");
    assert_eq!(said(&world, ConditionType::Ready), Some(("True", "Serving")));
    assert_eq!(status(&mut world).cold_start_seconds, None, "no later start downloads again");

    sleep(&mut world);
    assert_eq!((replicas(&world), world.caches.len()), (Some(0), 1), "the model stays");
}

#[test]
fn one_that_no_longer_starts_on_request_starts() {
    let mut world = unasked();
    world.edit("search", |endpoint| endpoint.spec.deployment = None);
    world.run();
    assert_eq!((replicas(&world), decision(&world).reason.as_str()), (Some(1), "Start"));
}

/// Days later a worker crashes and comes back: that is no wake-up.
#[test]
fn only_a_wake_up_is_measured() {
    let mut world = asleep();
    ask(&mut world);
    world.settle();
    world.now += SignedDuration::from_secs(5);
    world.complete_rollouts();
    world.settle();
    let lose = |world: &mut World| {
        let mut deployment = world.get::<Deployment>().remove(0);
        deployment.status.as_mut().unwrap().ready_replicas = Some(0);
        deployment.status.as_mut().unwrap().available_replicas = Some(0);
        world.put(&deployment);
        world.settle();
    };
    world.now += SignedDuration::from_hours(50);
    lose(&mut world);
    assert_eq!(said(&world, ConditionType::Ready).unwrap().0, "False");
    world.now += SignedDuration::from_secs(500);
    world.complete_rollouts();
    world.settle();
    assert_eq!(status(&mut world).cold_start_seconds, Some(5));
}

/// The leader dies between the write of the Deployment and that of the status: the next one must come to the same.
#[test]
fn a_pass_that_was_cut_off_is_repeated_to_the_same_end() {
    let mut world = asleep();
    ask(&mut world);
    let before = world.endpoints.clone();
    world.reconcile_endpoint("search");
    world.endpoints = before;
    world.settle();
    assert_eq!((replicas(&world), decision(&world).allocations), (Some(1), 1));
}

#[test]
fn a_raised_minimum_counts_from_the_next_request_on() {
    let mut world = asleep();
    world.edit("search", |endpoint| bounds(endpoint, 2, 10));
    world.settle();
    assert_eq!(replicas(&world), Some(0));
    assert_eq!(said(&world, ConditionType::Ready), Some(("True", "Idle")));
    assert!(decision(&world).message.contains("minNumberOfAllocations 2"), "{}", decision(&world).message);
    ask(&mut world);
    world.settle();
    assert_eq!(replicas(&world), Some(2));
}

#[test]
fn a_number_above_the_minimum_survives_a_new_operator() {
    let mut adaptive = endpoint("search");
    bounds(&mut adaptive, 1, 10);
    let mut world = World::new(settings()).with(adaptive);
    world.run();
    let decision = status(&mut world).decision.as_mut().unwrap();
    decision.allocations = 7;
    "Load".clone_into(&mut decision.reason);
    world.settle();
    assert_eq!(replicas(&world), Some(7));
    // A new process knows nothing but the cluster, which is what every pass starts from.
    let mut successor = World::new(settings());
    successor.endpoints = world.endpoints.clone();
    successor.caches = world.caches.clone();
    successor.children = world.children.clone();
    successor.now = now() + SignedDuration::from_hours(1);
    assert_eq!(successor.reconcile_endpoint("search"), []);
    assert_eq!(successor.endpoints, world.endpoints);
}

/// Another model while nobody uses the endpoint: downloaded, and there when the next request comes.
#[test]
fn an_endpoint_that_sleeps_changes_its_model_and_sleeps_on() {
    let mut world = asleep();
    world.edit("search", |endpoint| endpoint.spec.service_settings.model_id = Some("other-model".to_owned()));
    world.run();
    assert_eq!(replicas(&world), Some(0));
    assert_eq!(said(&world, ConditionType::Ready), Some(("True", "Idle")));
    let model = world.endpoints[0].status.clone().unwrap().model.unwrap();
    assert_eq!(model.id, "other-model");
    assert_eq!(world.caches.len(), 1);
}

/// What the loop proposes joins in the pass, unless something has overtaken it.
mod proposals {
    use lexiscale_core::{follower::Proposal, scaling::Reason};

    use super::*;

    fn running() -> World {
        let mut adaptive = endpoint("search");
        bounds(&mut adaptive, 0, 4);
        let mut world = World::new(settings()).with(adaptive);
        world.run();
        world
    }

    fn propose(world: &mut World, from: u32, replicas: u32, reason: Reason) {
        world.proposal = Some(Proposal {
            from,
            woken: None,
            replicas,
            reason,
            message: "by load".to_owned(),
            memory: Some("{}".to_owned()),
        });
        world.now += SignedDuration::from_secs(10);
        world.settle();
    }

    #[test]
    fn load_scales_within_the_bounds_and_the_memory_is_stored_with_it() {
        let mut world = running();
        propose(&mut world, 1, 9, Reason::HighLoad);
        assert_eq!(replicas(&world), Some(4));
        let found = decision(&world);
        assert_eq!((found.allocations, found.reason.as_str()), (4, "HighLoad"));
        assert_eq!((found.message.as_str(), found.memory.as_deref()), ("by load", Some("{}")));
        assert_eq!(found.time.0, world.now);
    }

    #[test]
    fn a_reason_to_stay_leaves_the_number_its_time() {
        let mut world = running();
        let before = decision(&world);
        propose(&mut world, 1, 1, Reason::Cooldown);
        let after = decision(&world);
        assert_eq!((after.allocations, after.reason.as_str(), after.time), (1, "Cooldown", before.time));
    }

    #[test]
    fn a_proposal_for_another_number_changes_nothing() {
        let mut world = running();
        propose(&mut world, 3, 2, Reason::LowLoad);
        assert_eq!((replicas(&world), decision(&world).reason.as_str()), (Some(1), "Start"));
    }

    /// The request came after everything that the loop has seen; putting its endpoint to sleep would make it wait for a start.
    #[test]
    fn a_request_that_asks_for_a_wake_up_speaks_against_zero() {
        let mut world = running();
        ask(&mut world);
        propose(&mut world, 1, 0, Reason::Idle);
        assert_eq!(replicas(&world), Some(1));
    }

    #[test]
    fn nobody_asks_and_it_sleeps_until_somebody_does() {
        let mut world = running();
        propose(&mut world, 1, 0, Reason::Idle);
        assert_eq!((replicas(&world), decision(&world).reason.as_str()), (Some(0), "Idle"));
        assert_eq!(wake::sleep(&world.endpoints[0]), Sleep::Asleep);
        // The loop was faster with an answer to what is past than the pass that wakes.
        ask(&mut world);
        propose(&mut world, 1, 0, Reason::Idle);
        assert_eq!((replicas(&world), decision(&world).reason.as_str()), (Some(1), "WokenUp"));
    }

    #[test]
    fn a_fixed_number_heeds_no_load() {
        let mut world = World::new(settings()).with(endpoint("search"));
        world.run();
        propose(&mut world, 2, 7, Reason::HighLoad);
        assert_eq!((replicas(&world), decision(&world).memory), (Some(2), None));
    }

    #[test]
    fn threads_that_no_node_has_stall_it_until_one_has() {
        let mut world = World::new(settings()).with(endpoint("search"));
        world.endpoints[0].spec.service_settings.num_threads = Some(8);
        world.largest_node = Some(4);
        world.settle();
        world.succeed_download();
        world.settle();
        assert_eq!(said(&world, ConditionType::Stalled), Some(("True", "InsufficientCapacity")));
        assert_eq!(replicas(&world), Some(2), "what is asked for is not lowered");
        world.largest_node = Some(8);
        world.settle();
        assert_eq!(said(&world, ConditionType::Stalled), None);
        world.largest_node = Some(4);
        world.complete_rollouts();
        world.settle();
        assert_eq!(
            said(&world, ConditionType::Ready),
            Some(("True", "Serving")),
            "it was found room all the same"
        );
        assert_eq!(said(&world, ConditionType::Stalled), Some(("True", "InsufficientCapacity")));
    }

    /// The large node of one that sleeps may be gone until it is needed again.
    #[test]
    fn threads_that_no_node_has_are_no_matter_while_it_sleeps() {
        let mut world = running();
        world.edit("search", |endpoint| endpoint.spec.service_settings.num_threads = Some(8));
        world.largest_node = Some(8);
        world.settle();
        world.complete_rollouts();
        propose(&mut world, 1, 0, Reason::Idle);
        world.complete_rollouts();
        world.largest_node = Some(4);
        world.settle();
        assert_eq!(said(&world, ConditionType::Stalled), None);
        assert_eq!(said(&world, ConditionType::Ready), Some(("True", "Idle")));
    }
}
