//! The volume of a cache: what lies on it, what becomes of it, how large it must be.

use k8s_openapi::{
    api::{apps::v1::Deployment, batch::v1::Job, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::ResourceExt;
use lexiscale_core::{children::ChildKind, labels};
use lexiscale_crds::{CachePhase, CacheSettings, ConditionType, Conditions};
use lexiscale_wire::FetchReason;

use super::{arguments, downloading, fail, jobs, later, lose_volume, status};
use crate::{
    fixtures::{endpoint, settings, users_cache},
    world::World,
};

#[test]
fn success_is_written_on_the_claim() {
    let mut world = downloading();
    world.succeed_download();
    world.settle();
    let claim = world.get::<PersistentVolumeClaim>().remove(0);
    assert!(claim.annotations().contains_key(labels::MODEL));
    assert_eq!(status(&world).phase, Some(CachePhase::Ready));
    assert_eq!(status(&world).digest.as_deref(), Some("sha256:abcd"));
    // The Job may go; the claim knows.
    world.children.retain(|(kind, _)| kind.as_str() != "Job");
    assert_eq!(world.reconcile_cache("warm"), []);
    assert_eq!(status(&world).phase, Some(CachePhase::Ready));
}

/// Somebody deletes the claim of a cache that is ready: its successor is empty, whatever the status says.
#[test]
fn a_new_claim_is_filled_anew() {
    let mut world = downloading();
    world.succeed_download();
    world.settle();
    world.children.retain(|(kind, _)| kind.as_str() != "PersistentVolumeClaim");
    world.reconcile_cache("warm");
    assert!(!world.caches[0].is(ConditionType::Ready));
    let mut claim = world.get::<PersistentVolumeClaim>().remove(0);
    claim.metadata.uid = Some("uid-of-second-claim".to_owned());
    world.put(&claim);
    world.settle();
    assert_eq!(jobs(&world), ["warm-2"]);
}

/// `kubectl delete pvc` under running workers: the claim stays until the last of them has gone, and they go only when there
/// is another volume to read from.
#[test]
fn a_claim_that_is_being_deleted_is_replaced_under_another_name() {
    let mut world = downloading();
    world.succeed_download();
    world.settle();
    let mut held = world.get::<PersistentVolumeClaim>().remove(0);
    held.metadata.deletion_timestamp = Some(Time(world.now));
    world.put(&held);
    world.settle();
    let claims = world.get::<PersistentVolumeClaim>();
    assert_eq!(claims.len(), 2);
    let fresh = claims.iter().find(|claim| claim.metadata.deletion_timestamp.is_none()).unwrap();
    assert_ne!(fresh.name_any(), held.name_any());
    assert!(!world.caches[0].is(ConditionType::Ready));
    world.succeed_download();
    world.settle();
    assert_eq!(status(&world).claim, Some(fresh.name_any()));
    // The old claim goes at last, and that is no news.
    world.children.retain(|(_, child)| child["metadata"]["name"] != held.name_any());
    assert_eq!(world.reconcile_cache("warm"), []);
}

/// `kubectl delete mc` under running workers: the endpoint makes it anew, and the old claim lives on as long as they do.
#[test]
fn a_cache_made_anew_does_not_wait_for_the_claim_of_the_old_one() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.run();
    let mut held = world.get::<PersistentVolumeClaim>().remove(0);
    held.metadata.deletion_timestamp = Some(Time(world.now));
    world.caches.clear();
    world.children.retain(|(kind, child)| {
        let of_endpoint = child["metadata"]["ownerReferences"][0]["kind"] == "InferenceEndpoint";
        of_endpoint && *kind != ChildKind::PersistentVolumeClaim
    });
    world.put(&held);
    world.reconcile_endpoint("search");
    world.caches[0].metadata.uid = Some("uid-of-the-second".to_owned());
    world.settle();
    world.succeed_download();
    world.settle();
    let fresh = world.caches[0].status.clone().unwrap().claim.unwrap();
    assert_ne!(fresh, held.name_any());
    let deployment = world.get::<Deployment>().remove(0);
    let volumes = deployment.spec.template.spec.unwrap().volumes.unwrap();
    assert_eq!(volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name, fresh);
}

#[test]
fn a_full_volume_is_tried_again_when_it_has_grown() {
    let mut world = downloading();
    fail(&mut world, FetchReason::InsufficientStorage);
    later(&mut world, 1_000_000);
    assert_eq!(jobs(&world), ["warm-1"]);
    world.caches[0].spec.storage =
        Some(CacheSettings { size: Some(Quantity("20Gi".to_owned())), ..CacheSettings::default() });
    world.settle();
    assert_eq!(jobs(&world), ["warm-2"]);
}

/// Gigabytes that cannot fit need not be downloaded to find that out.
#[test]
fn a_model_that_is_known_to_be_larger_than_its_volume_is_not_even_begun() {
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", "hf://org/model", "main"));
    world.caches[0].spec.bytes = Some(11 << 30);
    world.settle();
    assert_eq!(jobs(&world), Vec::<String>::new());
    assert!(world.caches[0].is(ConditionType::Stalled));
    let ready = world.caches[0].condition(ConditionType::Ready).unwrap();
    assert_eq!(ready.reason, "InsufficientStorage");
    assert_eq!(ready.message, "the model has 11.0 GiB, but its volume only 10.0 GiB; raise storage.size");
    world.caches[0].spec.storage =
        Some(CacheSettings { size: Some(Quantity("20Gi".to_owned())), ..CacheSettings::default() });
    world.settle();
    assert_eq!(jobs(&world), ["warm-1"]);
}

/// What was fetched first is what an index was made with.
#[test]
fn a_lost_volume_is_filled_with_the_same_bytes_or_not_at_all() {
    let mut world = downloading();
    world.succeed_download();
    world.settle();
    assert_eq!(status(&world).source_digest.as_deref(), Some("sha256:5678"));
    lose_volume(&mut world);
    let job = serde_json::to_value(world.get::<Job>().remove(0)).unwrap();
    let pod = &job["spec"]["template"]["spec"];
    assert!(arguments(pod).windows(2).any(|pair| pair == ["--pinned-digest", "sha256:5678"]), "{pod}");
}

#[test]
fn settings_that_change_leave_an_existing_volume_as_it_is() {
    let mut world = downloading();
    world.settings.cache_storage_class = Some("fast".to_owned());
    world.settings.cache_size = "50Gi".parse().unwrap();
    assert_eq!(world.reconcile_cache("warm"), []);
}
