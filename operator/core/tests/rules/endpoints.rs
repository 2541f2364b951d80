//! Rules about endpoints.

use k8s_openapi::{
    api::{apps::v1::Deployment, batch::v1::Job},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::ResourceExt;
use lexiscale_core::{
    identity::Identity,
    observed::Rejection,
    plan::Write,
    settings::{AccessMode, Settings},
    status,
    validated::{Invalid, ValidatedEndpoint},
};
use lexiscale_crds::{
    AdaptiveAllocations, ConditionType, Conditions, DeploymentSettings, InferenceEndpoint,
    InferenceEndpointStatus,
};
use serde_json::json;

use crate::{
    fixtures::{at, endpoint, settings, users_cache},
    world::{World, summary},
};

fn running(name: &str) -> World {
    let mut world = World::new(settings()).with(endpoint(name));
    world.run();
    world
}

fn conditions(status: &InferenceEndpointStatus) -> Vec<(String, String, String)> {
    let told = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let mut list = Vec::new();
    for kind in ["Ready", "Reconciling", "Stalled"] {
        if let Some(condition) = told(kind) {
            list.push((condition.type_.clone(), condition.status.clone(), condition.reason.clone()));
        }
    }
    list
}

fn said(kind: &str, status: &str, reason: &str) -> (String, String, String) {
    (kind.to_owned(), status.to_owned(), reason.to_owned())
}

fn status_of(world: &World, name: &str) -> InferenceEndpointStatus {
    world.endpoint(name).status.clone().unwrap()
}

fn use_model(endpoint: &mut InferenceEndpoint, model: &str) {
    endpoint.spec.service_settings.model_id = Some(model.to_owned());
}

#[test]
fn a_running_endpoint_has_this_status() {
    let world = running("search");
    insta::assert_yaml_snapshot!(world.endpoint("search").status);
    insta::assert_yaml_snapshot!(world.caches[0].status);
}

#[test]
fn no_worker_before_the_model_is_there() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.settle();
    assert!(world.get::<Deployment>().is_empty());
    let status = status_of(&world, "search");
    assert_eq!(
        conditions(&status),
        [said("Ready", "False", "DownloadingModel"), said("Reconciling", "True", "DownloadingModel")]
    );
    assert!(status.model.is_some() && status.pending_model.is_none());
}

#[test]
fn adaptive_starts_at_its_minimum() {
    let mut adaptive = endpoint("search");
    adaptive.spec.service_settings.num_allocations = None;
    adaptive.spec.service_settings.adaptive_allocations = Some(AdaptiveAllocations {
        enabled: Some(true),
        min_number_of_allocations: Some(3),
        max_number_of_allocations: Some(10),
    });
    let mut world = World::new(settings()).with(adaptive);
    world.run();
    assert_eq!(world.get::<Deployment>()[0].spec.replicas, Some(3));
}

#[test]
fn more_allocations_scale_and_do_not_roll() {
    let mut world = running("search");
    let template = world.get::<Deployment>()[0].spec.template.clone();
    world.edit("search", |endpoint| endpoint.spec.service_settings.num_allocations = Some(5));
    let writes = world.reconcile_endpoint("search");
    assert_eq!(summary(&writes), ["apply Deployment search"]);
    assert_eq!(world.get::<Deployment>()[0].spec.template, template);
    assert_eq!(world.get::<Deployment>()[0].spec.replicas, Some(5));
    assert!(
        !world.endpoint("search").is(ConditionType::Ready),
        "the Deployment has not even seen the new number"
    );
}

/// The old model serves until the new one is there; a template that changes early starts workers that find no model.
#[test]
fn another_model_changes_the_template_only_when_it_is_there() {
    let mut world = running("search");
    let old = world.get::<Deployment>().remove(0);
    world.edit("search", |endpoint| use_model(endpoint, "other-model"));
    world.settle();
    assert_eq!(world.get::<Deployment>()[0].spec.template, old.spec.template);
    let status = status_of(&world, "search");
    assert_eq!(
        conditions(&status),
        [said("Ready", "True", "Serving"), said("Reconciling", "True", "DownloadingModel")]
    );
    assert_eq!(status.model.unwrap().id, ".elser_model_2_linux-x86_64");
    assert_eq!(status.pending_model.unwrap().id, "other-model");
    assert_eq!(world.caches.len(), 2, "both models are kept");

    world.succeed_download();
    world.settle();
    assert_ne!(world.get::<Deployment>()[0].spec.template, old.spec.template);
}

#[test]
fn allocations_scale_also_while_another_model_is_on_its_way() {
    let mut world = running("search");
    let old = world.get::<Deployment>().remove(0);
    world.edit("search", |endpoint| {
        use_model(endpoint, "other-model");
        endpoint.spec.service_settings.num_allocations = Some(4);
        endpoint.spec.service_settings.num_threads = Some(2);
    });
    let writes = summary(&world.reconcile_endpoint("search"));
    assert!(writes.contains(&"scale search to 4".to_owned()), "{writes:?}");
    assert_eq!(world.get::<Deployment>()[0].spec.template, old.spec.template);
}

/// A rollout that fails must be able to go back to a model that is still on its volume.
#[test]
fn the_old_model_is_let_go_only_when_all_workers_have_the_new_one() {
    let mut world = running("search");
    let old = world.caches[0].name_any();
    world.edit("search", |endpoint| use_model(endpoint, "other-model"));
    world.settle();
    world.succeed_download();
    world.reconcile_cache(&world.caches[1].name_any());
    world.reconcile_endpoint("search");
    let mut rolling = world.get::<Deployment>().remove(0);
    rolling.metadata.generation = Some(2);
    world.put(&rolling);
    world.settle();
    assert!(world.caches.iter().any(|cache| cache.name_any() == old), "the rollout has only begun");
    world.complete_rollouts();
    let writes = summary(&world.reconcile_endpoint("search"));
    assert_eq!(writes, [format!("discard {old}")]);
}

#[test]
fn two_endpoints_on_one_model_share_one_cache() {
    let mut world = World::new(settings()).with(endpoint("search")).with(endpoint("ingest"));
    world.run();
    assert_eq!(world.caches.len(), 1);
    assert_eq!(world.caches[0].owner_references().len(), 2);
    assert_eq!(world.caches[0].status.as_ref().unwrap().used_by, ["ingest", "search"]);
}

#[test]
fn leaving_a_shared_cache_keeps_it_for_the_others() {
    let mut world = World::new(settings()).with(endpoint("search")).with(endpoint("ingest"));
    world.run();
    let shared = world.caches[0].name_any();
    world.edit("search", |endpoint| use_model(endpoint, "other-model"));
    world.settle();
    world.succeed_download();
    world.settle();
    world.complete_rollouts();
    let writes = summary(&world.reconcile_endpoint("search"));
    assert_eq!(writes, [format!("leave {shared}")]);
    let shared = world.caches.iter().find(|cache| cache.name_any() == shared).unwrap();
    assert_eq!(shared.owner_references().len(), 1);
}

/// A cache that a user made to warm a model ahead is used, never owned, and so outlives every endpoint.
#[test]
fn a_users_cache_is_used_and_never_owned() {
    let source = "hf://opensearch-project/opensearch-neural-sparse-encoding-v2-distill";
    let mut world = World::new(settings()).with(endpoint("search"));
    world.caches.push(users_cache("warm", source, "c0ffee"));
    world.run();
    assert_eq!(world.caches.len(), 1);
    assert_eq!(world.caches[0].owner_references(), []);
    assert_eq!(status_of(&world, "search").model.unwrap().cache, "warm");
    world.edit("search", |endpoint| use_model(endpoint, "other-model"));
    world.run();
    assert!(world.caches.iter().any(|cache| cache.name_any() == "warm"));
}

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

#[test]
fn a_failing_new_revision_leaves_the_old_one_serving_and_says_so() {
    let mut world = running("search");
    let old = serving_pod(&world);
    world.edit("search", |endpoint| endpoint.spec.service_settings.num_threads = Some(4));
    world.reconcile_endpoint("search");
    world.pods.push(old);
    world.pods.push(failing_pod(&world, "new"));
    let mut deployment = world.get::<Deployment>().remove(0);
    deployment.status = serde_json::from_value(json!({
        "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2,
    }))
    .unwrap();
    world.put(&deployment);
    world.reconcile_endpoint("search");
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
    let mut deployment = world.get::<Deployment>().remove(0);
    deployment.status = serde_json::from_value(json!({
        "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2,
    }))
    .unwrap();
    world.put(&deployment);
    world.reconcile_endpoint("search");
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

#[test]
fn the_older_of_two_endpoints_has_the_inference_id() {
    let mut older = endpoint("search");
    older.spec.inference_id = Some("shared".to_owned());
    let mut younger = endpoint("shared");
    younger.metadata.creation_timestamp = Some(Time(at(1_700_000_500)));
    let peers = [older.clone(), younger.clone()];
    let catalog = settings().catalog;
    assert!(ValidatedEndpoint::new(&older, &peers, &catalog).is_ok());
    let refused = ValidatedEndpoint::new(&younger, &peers, &catalog).unwrap_err();
    assert_eq!(refused, Invalid::Duplicate { id: "shared".to_owned(), holder: "search".to_owned() });
    assert_eq!(refused.reason(), "DuplicateInferenceId");
}

/// Workers of a typo must not go away: the old model serves on, and the status says why nothing changes.
#[test]
fn an_unknown_model_stalls_and_leaves_the_workers_alone() {
    let mut world = running("search");
    world.edit("search", |endpoint| use_model(endpoint, "no-such-id"));
    let observed = world.observe_endpoint("search");
    let invalid =
        ValidatedEndpoint::new(&observed.endpoint, &observed.peers, &world.settings.catalog).unwrap_err();
    let status = status::endpoint::of_invalid(&observed, &invalid, world.now);
    assert_eq!(
        conditions(&status),
        [said("Ready", "True", "Serving"), said("Stalled", "True", "UnknownModel")]
    );
    assert_eq!(status.observed_generation, Some(2));
}

/// Deleting an endpoint and making it again at once: the collector is still at work on the old one's children.
#[test]
fn children_of_a_deleted_namesake_are_waited_for() {
    let mut world = running("search");
    let old = world.observe_endpoint("search").children;
    world.edit("search", |endpoint| endpoint.metadata.uid = Some("uid-of-the-second".to_owned()));
    let mut observed = world.observe_endpoint("search");
    observed.children = old;
    let plan = world.plan_endpoint("search", &observed);
    assert!(plan.leftovers.contains(&"Service search".to_owned()), "{:?}", plan.leftovers);
    assert!(
        summary(&plan.writes).iter().all(|write| write.starts_with("join")),
        "{:?}",
        summary(&plan.writes)
    );
}

#[test]
fn a_child_that_is_no_longer_wanted_is_deleted() {
    let mut world = running("search");
    let identity = Identity::of(world.endpoint("search"), "InferenceEndpoint").unwrap();
    let mut stray = world.get::<k8s_openapi::api::core::v1::Service>().remove(0);
    stray.metadata.name = Some("search-of-an-older-version".to_owned());
    stray.metadata.uid = Some("uid-of-stray".to_owned());
    assert!(identity.owns(&stray.metadata));
    world.put(&stray);
    let writes = world.reconcile_endpoint("search");
    assert_eq!(summary(&writes), ["delete Service search-of-an-older-version"]);
}

#[test]
fn what_somebody_changed_is_put_back_and_what_they_added_stays() {
    let mut world = running("search");
    let mut deployment = world.get::<Deployment>().remove(0);
    deployment
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("kubectl.example.com/note".into(), "mine".into());
    world.put(&deployment);
    assert_eq!(world.reconcile_endpoint("search"), []);
    deployment.spec.replicas = Some(9);
    world.put(&deployment);
    assert_eq!(summary(&world.reconcile_endpoint("search")), ["apply Deployment search"]);
}

#[test]
fn every_pass_writes_the_cache_before_the_children_and_deletes_last() {
    let mut world = World::new(settings()).with(endpoint("search"));
    let writes = world.reconcile_endpoint("search");
    assert!(matches!(writes[0], Write::JoinCache(_)));
    assert_eq!(
        summary(&writes)[1..],
        [
            "apply ServiceAccount search",
            "apply NetworkPolicy search",
            "apply Service search",
            "apply PodDisruptionBudget search"
        ]
    );
    assert!(world.endpoint("search").is(ConditionType::Reconciling));
}

/// A volume that one node alone can have, and workers that are pushed to others, where they wait for it for ever.
#[test]
fn workers_go_where_a_volume_of_one_node_is_and_spread_over_one_of_many() {
    for (mode, together) in [(AccessMode::ReadWriteOnce, true), (AccessMode::ReadWriteMany, false)] {
        let settings = Settings { cache_access_mode: mode, ..settings() };
        let mut world = World::new(settings).with(endpoint("search"));
        world.run();
        let template = world.get::<Deployment>().remove(0).spec.template;
        let (metadata, pod) = (template.metadata.unwrap(), template.spec.unwrap());
        let affinity = pod.affinity.and_then(|affinity| affinity.pod_affinity);
        let terms =
            affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution);
        assert_eq!((terms.is_some(), pod.topology_spread_constraints.is_none()), (together, together));
        for term in terms.unwrap_or_default() {
            let wanted = term.label_selector.unwrap().match_labels.unwrap();
            let labels = metadata.labels.as_ref().unwrap();
            assert!(
                wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
                "the first must match itself"
            );
        }
    }
}

/// With another name it would be a second cache, and a second download of what is there.
#[test]
fn an_operators_cache_is_joined_under_the_name_that_it_has() {
    let mut world = World::new(settings()).with(endpoint("search"));
    world.reconcile_endpoint("search");
    world.caches[0].metadata.name = Some("older-name".to_owned());
    world.caches[0].metadata.owner_references = None;
    assert_eq!(summary(&world.reconcile_endpoint("search"))[0], "join older-name");
    world.settle();
    assert_eq!(world.caches.len(), 1);
}

/// A volume is bound where its first user runs: a download elsewhere would tie the workers to a place they may not be at.
#[test]
fn the_download_runs_where_the_workers_may() {
    let mut constrained = endpoint("search");
    let nodes = std::collections::BTreeMap::from([("pool".to_owned(), "inference".to_owned())]);
    constrained.spec.deployment =
        Some(DeploymentSettings { node_selector: Some(nodes.clone()), ..DeploymentSettings::default() });
    let mut world = World::new(settings()).with(constrained);
    world.settle();
    let pod = world.get::<Job>().remove(0).spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.node_selector, Some(nodes));
}
