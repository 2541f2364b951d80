//! Rules about how long things took.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::Time,
};
use lexiscale_core::labels;
use lexiscale_crds::{CacheDurations, EndpointDurations};
use serde_json::json;

use crate::{
    fixtures::{NAMESPACE, endpoint, settings, users_cache},
    world::World,
};

/// Applied now, that is at 8:00:00.
fn warming() -> World {
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", "hf://org/model", "main"));
    world.caches[0].metadata.creation_timestamp = Some(Time(world.now));
    world.settle();
    world
}

fn pass(world: &mut World, milliseconds: i64) {
    world.now += SignedDuration::from_millis(milliseconds);
    world.settle();
}

fn of_cache(world: &World) -> Option<CacheDurations> {
    world.caches[0].status.as_ref().unwrap().durations
}

fn of_endpoint(world: &World) -> Option<EndpointDurations> {
    world.endpoint("search").status.as_ref().unwrap().durations
}

fn durations<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Its container runs 12 s; what of it the download does not account for is in the total only.
#[test]
fn a_cache_says_how_long_each_phase_took_and_says_it_once() {
    let mut world = warming();
    pass(&mut world, 14_250);
    assert_eq!(of_cache(&world), None, "it is under way");
    world.succeed_download();
    world.settle();
    let expected = durations(json!({
        "starting": "2.25s", "resolving": "21ms", "downloading": "9.313s", "verifying": "35ms", "converting": "1.204s",
        "comparing": "702ms", "total": "14.25s",
    }));
    assert_eq!(of_cache(&world), Some(expected));
    pass(&mut world, 3_600_000);
    world.children.retain(|(kind, _)| kind.as_str() != "Job");
    pass(&mut world, 1000);
    assert_eq!(of_cache(&world), Some(expected));
}

/// Counted from the creation of the cache, it would have taken weeks.
#[test]
fn a_volume_that_is_filled_anew_is_counted_from_its_loss() {
    let mut world = warming();
    world.succeed_download();
    pass(&mut world, 1_000_000_000);
    let mut lost = world.get::<PersistentVolumeClaim>().remove(0);
    lost.metadata.deletion_timestamp = Some(Time(world.now));
    world.put(&lost);
    world.settle();
    assert_eq!(of_cache(&world), None);
    pass(&mut world, 20_000);
    world.succeed_download();
    world.settle();
    let told = of_cache(&world).unwrap();
    assert_eq!(told.total, Some(std::time::Duration::from_secs(20).into()));
    assert_eq!(told.starting, Some(std::time::Duration::from_secs(8).into()));
}

/// A report of a worker that counted nothing, and a pod that is gone.
#[test]
fn what_is_not_known_is_absent() {
    let mut world = warming();
    world.now += SignedDuration::from_secs(14);
    let older = lexiscale_wire::FetchedModel { durations: None, ..crate::fixtures::fetched_model() };
    let report = lexiscale_wire::FetchReport::Succeeded(older).to_termination_message();
    world.end_download("Complete", 0, &report);
    for pod in &mut world.pods {
        let statuses = pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap();
        statuses[0].state.as_mut().unwrap().terminated.as_mut().unwrap().started_at = None;
    }
    world.settle();
    assert_eq!(of_cache(&world), Some(durations(json!({"total": "14s"}))));
}

/// A worker's pod, made at a time, whose container began and which was ready some seconds later.
fn pod(made: Timestamp, began: i64, ready: Option<i64>) -> k8s_openapi::api::core::v1::Pod {
    let after = |seconds: i64| (made + SignedDuration::from_secs(seconds)).to_string();
    let conditions =
        ready.map(|ready| json!([{"type": "Ready", "status": "True", "lastTransitionTime": after(ready)}]));
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("search-{began}"), "namespace": NAMESPACE, "creationTimestamp": made.to_string(),
            "labels": {labels::ENDPOINT: "search"},
        },
        "status": {
            "phase": "Running", "conditions": conditions,
            "containerStatuses": [{
                "name": "worker", "image": "", "imageID": "", "ready": ready.is_some(), "restartCount": 0,
                "state": {"running": {"startedAt": after(began)}},
            }],
        },
    }))
    .unwrap()
}

/// An endpoint that was applied 20 s ago, whose model came after 14 s, and whose Deployment and pod were made then.
fn starting() -> World {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.endpoints[0].metadata.creation_timestamp = Some(Time(world.now));
    world.settle();
    world.now += SignedDuration::from_secs(14);
    world.succeed_download();
    world.settle();
    let mut deployment = world.get::<Deployment>().remove(0);
    deployment.metadata.creation_timestamp = Some(Time(world.now));
    world.put(&deployment);
    world.pods.push(pod(world.now + SignedDuration::from_secs(1), 2, Some(4)));
    pass(&mut world, 6_120);
    world
}

#[test]
fn the_phases_of_an_endpoint_add_up_from_apply_to_ready() {
    let mut world = starting();
    assert_eq!(of_endpoint(&world), None, "it is under way");
    world.complete_rollouts();
    world.settle();
    let expected = durations(json!({
        "model": "14s", "creating": "1s", "starting": "2s", "loading": "3.12s", "total": "20.12s",
    }));
    assert_eq!(of_endpoint(&world), Some(expected));
    let told = of_endpoint(&world).unwrap();
    let sum: std::time::Duration =
        told.phases().into_iter().filter_map(|(_, took)| took).map(std::time::Duration::from).sum();
    assert_eq!(told.total, Some(sum.into()));
}

/// One that slept, rolled or lost its pods in between has been ready before.
#[test]
fn only_the_first_time_counts() {
    let mut world = starting();
    world.complete_rollouts();
    world.settle();
    let first = of_endpoint(&world);
    let mut deployment = world.get::<Deployment>().remove(0);
    deployment.status.as_mut().unwrap().ready_replicas = Some(0);
    deployment.status.as_mut().unwrap().available_replicas = Some(0);
    world.put(&deployment);
    pass(&mut world, 60_000);
    world.complete_rollouts();
    pass(&mut world, 60_000);
    assert_eq!(of_endpoint(&world), first);
    // An older version brought it up and remembers nothing.
    world.endpoints[0].status.as_mut().unwrap().durations = None;
    world.put(&deployment);
    pass(&mut world, 60_000);
    world.complete_rollouts();
    pass(&mut world, 60_000);
    assert_eq!(of_endpoint(&world), None);
}

/// Clocks of nodes and API servers differ; a phase of less than nothing, or a sum beyond the total, would puzzle whoever reads it.
#[test]
fn clocks_that_disagree_take_no_time_away() {
    let mut world = starting();
    world.pods = vec![pod(world.now - SignedDuration::from_secs(40), 100_000, Some(100_001))];
    world.complete_rollouts();
    world.settle();
    let expected = durations(json!({"model": "14s", "starting": "6.12s", "total": "20.12s"}));
    assert_eq!(of_endpoint(&world), Some(expected));
}
