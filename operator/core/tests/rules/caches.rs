//! Rules about caches and their downloads.

mod attempts;
mod delivery;
mod progress;
mod sources;
mod volumes;

use jiff::SignedDuration;
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, ServiceAccount},
};
use kube::ResourceExt;
use lexiscale_crds::ModelCacheStatus;
use lexiscale_wire::{FetchFailure, FetchReason, FetchReport};

use crate::{
    fixtures::{endpoint, settings, users_cache},
    world::{World, summary},
};

fn downloading() -> World {
    downloading_from("hf://org/model")
}

fn downloading_from(source: &str) -> World {
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", source, "main"));
    world.settle();
    world
}

fn fail(world: &mut World, reason: FetchReason) {
    let report = FetchReport::Failed(FetchFailure {
        reason,
        message: format!("because of {reason}"),
        revision: Some("resolved123".to_owned()),
        bytes: 7,
    });
    world.end_download("Failed", 1, &report.to_termination_message());
    world.reconcile_cache("warm");
}

fn status(world: &World) -> ModelCacheStatus {
    world.caches[0].status.clone().unwrap()
}

fn jobs(world: &World) -> Vec<String> {
    let mut names: Vec<_> = world.get::<Job>().iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}

fn lose_volume(world: &mut World) {
    world.children.retain(|(kind, _)| kind.as_str() != "PersistentVolumeClaim");
    world.reconcile_cache("warm");
    let mut claim = world.get::<PersistentVolumeClaim>().remove(0);
    claim.metadata.uid = Some("uid-of-second-claim".to_owned());
    world.put(&claim);
    world.settle();
}

fn later(world: &mut World, seconds: i64) {
    world.now += SignedDuration::from_secs(seconds);
    world.settle();
}

fn arguments(pod: &serde_json::Value) -> Vec<&str> {
    pod["containers"][0]["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_claim_comes_before_the_job() {
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", "hf://org/model", "main"));
    let first = summary(&world.reconcile_cache("warm"));
    assert_eq!(
        first,
        [
            "apply ServiceAccount warm-2a9e3724",
            "apply NetworkPolicy warm-2a9e3724",
            "apply PersistentVolumeClaim warm-c8e0a8f0",
        ]
    );
    assert_eq!(summary(&world.reconcile_cache("warm")), ["apply Job warm-1"]);
    assert_eq!(world.reconcile_cache("warm"), []);
}

/// A user warms a model under the name of the endpoint that will use it. Children of one name would be fought over for ever.
#[test]
fn a_cache_and_an_endpoint_of_one_name_share_no_child() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.caches.push(users_cache("search", "hf://org/model", "main"));
    world.caches[0].metadata.uid = Some("uid-of-the-cache".to_owned());
    world.settle();
    let mut names: Vec<_> = world
        .children
        .iter()
        .map(|(kind, child)| format!("{} {}", kind.as_str(), child["metadata"]["name"]))
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    let accounts = world.get::<ServiceAccount>();
    for job in world.get::<Job>() {
        let account = job.spec.unwrap().template.spec.unwrap().service_account_name;
        assert!(accounts.iter().any(|found| Some(found.name_any()) == account), "{account:?}");
    }
}

/// Ten endpoints with workers of their own, and one download for all of them.
#[test]
fn ten_endpoints_of_one_model_download_it_once() {
    let mut world = World::new(settings());
    for number in 0..10 {
        world = world.with(endpoint(&format!("search-{number}")));
    }
    world.settle();
    assert_eq!((world.caches.len(), jobs(&world).len()), (1, 1));
    world.succeed_download();
    world.settle();
    assert_eq!((world.caches.len(), jobs(&world).len()), (1, 1));
    let claims: Vec<_> = world.get::<PersistentVolumeClaim>().iter().map(ResourceExt::name_any).collect();
    let deployments = world.get::<Deployment>();
    assert_eq!((deployments.len(), claims.len()), (10, 1));
    for deployment in deployments {
        let volumes = deployment.spec.template.spec.unwrap().volumes.unwrap();
        let claim = volumes.iter().find_map(|volume| volume.persistent_volume_claim.as_ref()).unwrap();
        assert_eq!(claim.claim_name, claims[0]);
    }
}
