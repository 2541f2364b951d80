//! Rules about an endpoint's model: when it changes, and which cache it is in.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use lexiscale_core::{status, validated::ValidatedEndpoint};

use super::{conditions, running, said, status_of, use_model};
use crate::{
    fixtures::{endpoint, settings, users_cache},
    world::{World, summary},
};

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
