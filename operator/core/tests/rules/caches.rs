//! Rules about caches and their downloads.

use jiff::SignedDuration;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, ServiceAccount},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::ResourceExt;
use lexiscale_core::{
    children::ChildKind,
    labels,
    plan::{self, model_cache::ValidatedCache},
    status,
};
use lexiscale_crds::{CachePhase, CacheSettings, ConditionType, Conditions, ModelCacheStatus};
use lexiscale_wire::{FetchFailure, FetchReason, FetchReport, Phase, Progress};

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

fn job_of(source: &str, edit: impl FnOnce(&mut World)) -> serde_json::Value {
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", source, "main"));
    edit(&mut world);
    world.settle();
    serde_json::to_value(world.get::<Job>().remove(0).spec.unwrap().template.spec.unwrap()).unwrap()
}

fn arguments(pod: &serde_json::Value) -> Vec<&str> {
    pod["containers"][0]["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
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

/// A Secret is for the download and for nobody else; workers run what it brought.
#[test]
fn a_secret_is_mounted_into_the_download_only() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.edit("search", |endpoint| {
        let cache = CacheSettings { secret_name: Some("hub-token".to_owned()), ..CacheSettings::default() };
        endpoint.spec.deployment.get_or_insert_default().cache = Some(cache);
    });
    world.settle();
    let job = serde_json::to_value(world.get::<Job>().remove(0)).unwrap();
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][2]["secret"]["secretName"], "hub-token");
    assert!(arguments(pod).windows(2).any(|pair| pair == ["--secret-folder", "/var/run/secrets/lexiscale"]));
    world.succeed_download();
    world.settle();
    let deployment = serde_json::to_string(&world.get::<Deployment>()).unwrap();
    assert!(!deployment.contains("hub-token") && !deployment.contains("secret"), "{deployment}");
}

#[test]
fn a_claim_as_source_is_mounted_for_reading_and_needs_no_network() {
    let pod = job_of("pvc://models/team/splade", |_| {});
    let volume = &pod["volumes"][2];
    assert_eq!(volume["persistentVolumeClaim"]["claimName"], "models");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
    assert_eq!(mount["readOnly"], true);
    assert!(!arguments(&pod).contains(&"--hub-endpoint"));
    let mut world = World::new(settings());
    world.caches.push(users_cache("warm", "pvc://models/team/splade", "main"));
    world.settle();
    let policy = world.get::<k8s_openapi::api::networking::v1::NetworkPolicy>().remove(0).spec.unwrap();
    assert_eq!(policy.egress, None);
    assert!(policy.policy_types.unwrap().contains(&"Egress".to_owned()));
}

/// A server in the cluster is for the operator to name, not for whoever may create a cache.
#[test]
fn only_servers_of_the_operators_own_settings_may_be_inside() {
    let trusted = |pod: &serde_json::Value| arguments(pod).contains(&"--trusted-server");
    let own = |world: &mut World| world.settings.hub_endpoint = Some("http://hub.models.svc/".to_owned());
    assert!(trusted(&job_of("hf://org/model", own)));
    let users =
        |world: &mut World| world.caches[0].spec.hub_endpoint = Some("http://hub.models.svc".to_owned());
    assert!(!trusted(&job_of("hf://org/model", users)));
    assert!(!trusted(&job_of("https://models.internal/splade/", own)));
    let s3 =
        |world: &mut World| world.settings.s3_endpoint = Some("http://minio.storage.svc:9000".to_owned());
    let pod = job_of("s3://bucket/splade", s3);
    assert!(trusted(&pod) && arguments(&pod).contains(&"http://minio.storage.svc:9000"));
    let open = |world: &mut World| {
        world.settings.downloads.allow_private_addresses = true;
        world.settings.downloads.ports = vec![8443];
    };
    let pod = job_of("https://models.internal/splade/", open);
    assert!(arguments(&pod).contains(&"--allow-private-addresses") && arguments(&pod).contains(&"8443"));
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

#[test]
fn settings_that_change_leave_an_existing_volume_as_it_is() {
    let mut world = downloading();
    world.settings.cache_storage_class = Some("fast".to_owned());
    world.settings.cache_size = "50Gi".parse().unwrap();
    assert_eq!(world.reconcile_cache("warm"), []);
}

#[test]
fn progress_is_one_line_that_a_person_reads() {
    let world = downloading();
    let mut observed = world.observe_cache("warm");
    let plan = world.plan_cache("warm");
    let mut line = |progress: Progress| {
        observed.progress = Some(progress);
        let status = status::model_cache::of_plan(&observed, &plan, &[], world.now);
        status.progress.unwrap().text
    };
    let progress = Progress {
        phase: Phase::Downloading,
        bytes_done: 115_343_360,
        bytes_total: Some(268_435_456),
        files_done: 1,
        files_total: 5,
        bytes_per_second: 12_582_912,
        eta_seconds: Some(12),
        attempt: 1,
    };
    assert_eq!(line(progress.clone()), "42 % of 256.0 MiB, 12.0 MiB/s, 12 s left");
    assert_eq!(
        line(Progress { bytes_total: None, eta_seconds: None, ..progress.clone() }),
        "110.0 MiB, 12.0 MiB/s"
    );
    assert_eq!(line(Progress { phase: Phase::Converting, ..progress }), "Converting");
}
