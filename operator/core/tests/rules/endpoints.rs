//! Rules about endpoints.

mod models;
mod precision;
mod rollouts;

use k8s_openapi::{
    api::{apps::v1::Deployment, batch::v1::Job, core::v1::ServiceAccount},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;
use lexiscale_core::{
    children::{ChildKind, LiveChild},
    identity::Identity,
    plan::Write,
    settings::{AccessMode, Settings},
    validated::{Invalid, ValidatedEndpoint},
};
use lexiscale_crds::{
    AdaptiveAllocations, ConditionType, Conditions, DeploymentSettings, InferenceEndpoint,
    InferenceEndpointStatus,
};

use crate::{
    fixtures::{at, endpoint, settings},
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

/// The collector takes the children in any order: a Deployment that is gone already must not be made again beside a service
/// account that is about to go, or its pods are refused.
#[test]
fn workers_wait_for_what_they_need_of_a_deleted_namesake() {
    let mut world = running("search");
    let old = world.observe_endpoint("search").children;
    world.edit("search", |endpoint| endpoint.metadata.uid = Some("uid-of-the-second".to_owned()));
    for (left, applied) in [
        (ChildKind::ServiceAccount, &[][..]),
        (ChildKind::NetworkPolicy, &["apply ServiceAccount search"]),
        (ChildKind::Service, &["apply ServiceAccount search", "apply NetworkPolicy search"]),
        (
            ChildKind::PodDisruptionBudget,
            &["apply ServiceAccount search", "apply NetworkPolicy search", "apply Service search"],
        ),
    ] {
        let mut observed = world.observe_endpoint("search");
        observed.children = old.iter().filter(|child| child.kind() == left).cloned().collect();
        let plan = world.plan_endpoint("search", &observed);
        assert_eq!(plan.leftovers, [format!("{} search", left.as_str())]);
        let writes = summary(&plan.writes);
        let writes: Vec<_> = writes.iter().filter(|write| !write.starts_with("join")).collect();
        assert_eq!(writes, applied, "with {} left over", left.as_str());
    }
}

/// Somebody put a service account of theirs in the place of ours, labels and all, and it stays.
#[test]
fn workers_that_run_are_scaled_beside_what_is_in_the_way() {
    let mut world = running("search");
    world.edit("search", |endpoint| endpoint.spec.service_settings.num_allocations = Some(5));
    let mut account = world.get::<ServiceAccount>().into_iter().find(|it| it.name_any() == "search").unwrap();
    account.metadata.owner_references.iter_mut().flatten().for_each(|owner| owner.uid = "theirs".to_owned());
    let mut observed = world.observe_endpoint("search");
    observed.children.retain(|child| child.kind() != ChildKind::ServiceAccount);
    observed.children.push(LiveChild::new(&account));
    let plan = world.plan_endpoint("search", &observed);
    assert_eq!(plan.leftovers, ["ServiceAccount search"]);
    assert_eq!(summary(&plan.writes), ["apply Deployment search"]);
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
