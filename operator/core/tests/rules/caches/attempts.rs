//! One attempt after the other: which failures are tried again, when, and with what.

use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::ResourceExt;
use lexiscale_core::{
    labels,
    plan::{self, model_cache::ValidatedCache},
};
use lexiscale_crds::{CachePhase, CacheSettings, ConditionType, Conditions};
use lexiscale_wire::{FetchFailure, FetchReason, FetchReport};

use super::{downloading, downloading_from, fail, jobs, later, lose_volume, status};
use crate::{
    fixtures::{endpoint, settings, users_cache},
    world::{World, summary},
};

/// Two downloads of one name: the second would be refused, for ever under some admission, and nobody would know why.
#[test]
fn a_download_waits_for_the_jobs_of_a_deleted_namesake() {
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", "hf://org/model", "main"));
    world.settle();
    world.caches[0].metadata.uid = Some("uid-of-the-second".to_owned());
    let mut observed = world.observe_cache("warm");
    observed.jobs = world.get();
    let claim: PersistentVolumeClaim = serde_json::from_value(serde_json::json!({"metadata": {
        "name": "fresh", "uid": "uid-of-fresh",
        "ownerReferences": [{"apiVersion": "v1", "kind": "ModelCache", "name": "warm", "uid": "uid-of-the-second"}],
    }}))
    .unwrap();
    observed.claims = vec![claim];
    let cache = ValidatedCache::new(&observed.cache, &world.settings).unwrap();
    let plan = plan::model_cache::plan(&cache, &observed, &world.settings, world.now);
    assert_eq!(plan.leftovers, ["Job warm-1"]);
    assert!(!summary(&plan.writes).iter().any(|write| write.starts_with("apply Job")));
}

#[test]
fn a_missing_model_is_final_until_somebody_asks_again() {
    let mut world = downloading();
    fail(&mut world, FetchReason::ModelNotFound);
    let stalled = world.caches[0].condition(ConditionType::Stalled).unwrap();
    assert_eq!(
        (stalled.reason.as_str(), stalled.message.as_str()),
        ("ModelNotFound", "because of ModelNotFound")
    );
    assert_eq!(status(&world).last_failure.unwrap().exit_code, Some(1));
    later(&mut world, 1_000_000);
    assert_eq!(jobs(&world), ["warm-1"]);

    world.caches[0].annotations_mut().insert(labels::RETRY.to_owned(), "please".to_owned());
    world.settle();
    assert_eq!(jobs(&world), ["warm-2"]);
    assert_eq!(status(&world).attempts, Some(2));
    assert!(!world.caches[0].is(ConditionType::Stalled));
}

#[test]
fn an_endpoint_can_ask_again_for_its_cache() {
    let mut world = World::new(settings()).with(endpoint("search")).with(endpoint("ingest"));
    world.settle();
    let report = FetchReport::Failed(FetchFailure {
        reason: FetchReason::RevisionNotFound,
        message: String::new(),
        revision: None,
        bytes: 0,
    });
    world.end_download("Failed", 1, &report.to_termination_message());
    world.settle();
    assert_eq!(world.get::<Job>().len(), 1);
    world.edit("search", |endpoint| {
        endpoint.annotations_mut().insert(labels::RETRY.to_owned(), "now".to_owned());
    });
    world.settle();
    assert!(jobs(&world)[0].ends_with("-2"), "{:?}", jobs(&world));
}

/// The operator may not read Secrets, so it cannot see one being mended: the download is what finds out.
#[test]
fn refused_credentials_are_tried_again_and_no_credentials_are_final() {
    let mut world = downloading();
    fail(&mut world, FetchReason::Unauthorized);
    later(&mut world, 1_000_000);
    assert_eq!(jobs(&world), ["warm-1"]);
    assert!(world.caches[0].is(ConditionType::Stalled));
    let storage = CacheSettings { secret_name: Some("hub-token".to_owned()), ..CacheSettings::default() };
    world.caches[0].spec.storage = Some(storage);
    world.settle();
    assert_eq!(jobs(&world), ["warm-2"], "naming a Secret starts anew");
    for attempt in 3..=10 {
        fail(&mut world, FetchReason::Unauthorized);
        assert!(!world.caches[0].is(ConditionType::Stalled));
        later(&mut world, 600);
        assert_eq!(jobs(&world), [format!("warm-{attempt}")]);
    }
}

#[test]
fn an_unreachable_hub_is_tried_for_ever_with_growing_delays() {
    let mut world = downloading();
    let mut delays = Vec::new();
    for attempt in 1..=9_u32 {
        assert_eq!(jobs(&world), [format!("warm-{attempt}")]);
        fail(&mut world, FetchReason::HubUnreachable);
        assert!(!world.caches[0].is(ConditionType::Stalled));
        let ready = world.caches[0].condition(ConditionType::Ready).unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "HubUnreachable"));
        let mut waited = 0;
        while jobs(&world) == [format!("warm-{attempt}")] {
            waited += 10;
            later(&mut world, 10);
        }
        delays.push(waited);
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
}

#[test]
fn a_checksum_that_keeps_failing_is_final_in_the_end() {
    let mut world = downloading();
    for _ in 0..6 {
        assert!(!world.caches[0].is(ConditionType::Stalled));
        fail(&mut world, FetchReason::ChecksumMismatch);
        later(&mut world, 600);
    }
    assert!(world.caches[0].is(ConditionType::Stalled));
    assert_eq!(status(&world).attempts, Some(6));
}

/// A branch that moves between two attempts would mix two revisions on one volume.
#[test]
fn a_retry_asks_for_the_revision_that_was_resolved_first() {
    let mut world = downloading();
    fail(&mut world, FetchReason::HubUnreachable);
    later(&mut world, 3600);
    assert_eq!(asked_revision(&world), "resolved123");
    let job = world.get::<Job>().remove(0);
    assert_eq!(
        job.metadata.annotations.unwrap()[labels::TRY],
        "2",
        "its own resolution is no change of inputs"
    );
}

/// `--revision` of the latest download.
fn asked_revision(world: &World) -> String {
    let job = world.get::<Job>().pop().unwrap();
    let arguments = job.spec.unwrap().template.spec.unwrap().containers[0].args.clone().unwrap();
    let revision = arguments.iter().position(|argument| argument == "--revision").unwrap() + 1;
    arguments[revision].clone()
}

/// Where nothing has a history, a state that a failed download saw may never come back; asking for it would stall the cache for ever.
#[test]
fn what_a_failed_download_saw_is_pinned_only_where_it_can_come_back() {
    for (source, pinned) in [
        ("hf://org/model", "resolved123"),
        ("oci://registry.example/model:v1", "resolved123"),
        ("https://models.example/splade/", "main"),
        ("s3://bucket/splade", "main"),
        ("pvc://claim/splade", "main"),
    ] {
        let mut world = downloading_from(source);
        fail(&mut world, FetchReason::HubUnreachable);
        later(&mut world, 3600);
        assert_eq!(asked_revision(&world), pinned, "{source}");
        // What was used once is what every volume must hold.
        world.succeed_download();
        world.settle();
        lose_volume(&mut world);
        assert_eq!(asked_revision(&world), "c0ffee0000", "{source}");
    }
}

#[test]
fn a_download_that_was_killed_without_a_word_is_tried_again() {
    let mut world = downloading();
    world.end_download("Failed", 137, "");
    world.reconcile_cache("warm");
    let ready = world.caches[0].condition(ConditionType::Ready).unwrap();
    assert_eq!(ready.reason, "Crashed");
    later(&mut world, 10);
    assert_eq!(jobs(&world), ["warm-2"]);
}

/// A wrong worker image: the pod never begins, and a corrected image must not wait for it.
#[test]
fn a_job_that_never_began_is_replaced_when_its_image_changes() {
    let mut world = downloading();
    world.settings.worker_image = "registry.example.com/lexiscale/worker:1.2.4".parse().unwrap();
    assert_eq!(summary(&world.reconcile_cache("warm")), ["delete Job warm-1"]);
    assert_eq!(summary(&world.reconcile_cache("warm")), ["apply Job warm-2"]);
}

/// An upgrade of the operator must not begin a long download anew.
#[test]
fn a_running_download_is_left_alone_when_the_image_changes() {
    let mut world = downloading();
    let job = world.get::<Job>().remove(0);
    let pod = serde_json::json!({
        "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "warm-1", "uid": job.uid()}]},
        "status": {"phase": "Running"},
    });
    world.pods.push(serde_json::from_value(pod).unwrap());
    world.settings.worker_image = "registry.example.com/lexiscale/worker:1.2.4".parse().unwrap();
    assert_eq!(world.reconcile_cache("warm"), []);
    assert_eq!(status(&world).phase, Some(CachePhase::Downloading));
}
