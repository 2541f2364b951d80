//! Rules about workers that roll, and about what fails meanwhile.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt;
use lexiscale_core::{observed::Rejection, status};
use serde_json::json;

use super::{conditions, running, said, status_of};
use crate::{
    fixtures::{at, endpoint, settings},
    world::World,
};

fn failing_pod(world: &World, revision: &str) -> k8s_openapi::api::core::v1::Pod {
    let deployment = world.get::<Deployment>().remove(0);
    let mut metadata: ObjectMeta = deployment.spec.template.metadata.unwrap();
    metadata.name = Some(format!("search-{revision}"));
    let status = json!({"phase": "Running", "containerStatuses": [{
        "name": "worker", "image": "w", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 3, "message": "cannot load the model"}},
    }]});
    k8s_openapi::api::core::v1::Pod { metadata, status: serde_json::from_value(status).unwrap(), spec: None }
}

fn serving_pod(world: &World) -> k8s_openapi::api::core::v1::Pod {
    let mut pod = failing_pod(world, "old");
    pod.status =
        serde_json::from_value(json!({"conditions": [{"type": "Ready", "status": "True"}]})).unwrap();
    pod
}

/// One of two allocations has a successor, which is not ready.
fn half_roll(world: &mut World) {
    let mut deployment = world.get::<Deployment>().remove(0);
    deployment.status = serde_json::from_value(json!({
        "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2,
    }))
    .unwrap();
    world.put(&deployment);
    world.reconcile_endpoint("search");
}

#[test]
fn a_failing_new_revision_leaves_the_old_one_serving_and_says_so() {
    let mut world = running("search");
    let old = serving_pod(&world);
    world.edit("search", |endpoint| endpoint.spec.service_settings.num_threads = Some(4));
    world.reconcile_endpoint("search");
    world.pods.push(old);
    world.pods.push(failing_pod(&world, "new"));
    half_roll(&mut world);
    let status = status_of(&world, "search");
    assert_eq!(
        conditions(&status),
        [said("Ready", "True", "Serving"), said("Stalled", "True", "RolloutFailed")]
    );
    let failure = status.last_failure.unwrap();
    assert_eq!((failure.reason.as_str(), failure.exit_code), ("Crashed", Some(3)));
    insta::assert_snapshot!(
        status.conditions[1].message,
        @"the new revision fails (Crashed: container worker crashed: cannot load the model); the previous revision goes on serving"
    );
}

#[test]
fn a_roll_that_goes_well_is_no_news_for_those_who_ask() {
    let mut world = running("search");
    let old = serving_pod(&world);
    world.edit("search", |endpoint| endpoint.spec.service_settings.num_threads = Some(4));
    world.reconcile_endpoint("search");
    world.pods.push(old);
    half_roll(&mut world);
    let status = status_of(&world, "search");
    assert_eq!(
        conditions(&status),
        [said("Ready", "True", "Serving"), said("Reconciling", "True", "Rolling")]
    );
}

/// Whoever waits for an edit to be done must not read about the old model, and its cache must not go while a pod reads it.
#[test]
fn a_roll_is_not_over_while_an_old_pod_still_answers() {
    let mut world = running("search");
    let old = serving_pod(&world);
    world.edit("search", |endpoint| endpoint.spec.service_settings.num_threads = Some(4));
    world.reconcile_endpoint("search");
    world.pods.push(old);
    world.complete_rollouts();
    world.reconcile_endpoint("search");
    let reconciling = [said("Ready", "True", "Serving"), said("Reconciling", "True", "Rolling")];
    assert_eq!(conditions(&status_of(&world, "search")), reconciling);
    world.pods.clear();
    world.reconcile_endpoint("search");
    assert_eq!(conditions(&status_of(&world, "search")), [said("Ready", "True", "Serving")]);
}

#[test]
fn a_crash_loop_without_an_old_revision_is_not_ready_and_stalled() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.settle();
    world.succeed_download();
    world.settle();
    world.pods.push(failing_pod(&world, "first"));
    world.reconcile_endpoint("search");
    let status = status_of(&world, "search");
    assert_eq!(conditions(&status), [said("Ready", "False", "Crashed"), said("Stalled", "True", "Crashed")]);
}

#[test]
fn a_failure_is_remembered_until_the_endpoint_is_ready_again() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.settle();
    world.succeed_download();
    world.settle();
    world.pods.push(failing_pod(&world, "first"));
    world.reconcile_endpoint("search");
    let first_seen = status_of(&world, "search").last_failure.unwrap().time;
    world.now = at(1_800_000_999);
    world.reconcile_endpoint("search");
    assert_eq!(status_of(&world, "search").last_failure.unwrap().time, first_seen);
    world.pods.retain(|pod| pod.name_any() != "search-first");
    world.reconcile_endpoint("search");
    assert!(status_of(&world, "search").last_failure.is_some(), "not ready yet");
    world.complete_rollouts();
    world.reconcile_endpoint("search");
    assert_eq!(status_of(&world, "search").last_failure, None);
}

#[test]
fn what_the_api_server_rejects_is_said_in_its_words() {
    let world = World::new(settings()).with(endpoint("search"));
    let observed = world.observe_endpoint("search");
    let rejection =
        Rejection { child: "Service search".to_owned(), message: "exceeded quota: services=0".to_owned() };
    let plan = world.plan_endpoint("search", &observed);
    let status =
        status::endpoint::of_plan(&world.validated("search"), &observed, &plan, &[rejection], world.now);
    assert_eq!(conditions(&status)[1], said("Stalled", "True", "WriteRejected"));
    assert!(status.conditions[0].message.contains("exceeded quota: services=0"));
}
