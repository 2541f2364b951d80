//! The controller comes to an end, and leaves nothing.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, ResourceExt, api::DeleteParams};
use lexiscale_crds::{InferenceEndpoint, ModelCache};

use crate::{
    cluster::{World, with_operator},
    fixtures::succeeded,
};

/// Everything that is written wakes somebody; a controller that never rests wakes everybody for ever.
#[tokio::test]
async fn converges_and_then_writes_nothing() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        world.until_quiet(Duration::from_secs(2)).await;
        let before = world.proxy.writes().len();
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(world.proxy.writes()[before..], [] as [String; 0]);
        // Each write has a reason; one more than these is a sign of a pass that undoes another's work.
        let applied: Vec<_> =
            world.proxy.writes().into_iter().filter(|write| !write.ends_with("/status")).collect();
        let expected = [
            "join",
            "account",
            "policy",
            "service",
            "budget",
            "deployment",
            "account",
            "policy",
            "claim",
            "job",
            "stamp",
        ];
        assert_eq!(applied.len(), expected.len(), "{applied:#?}");
    })
    .await;
}

#[tokio::test]
async fn the_status_says_all_that_a_user_asks() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let endpoint: InferenceEndpoint = world.get("search").await;
        let status = endpoint.status.unwrap();
        let model = status.model.unwrap();
        assert_eq!(status.url, Some(format!("http://search.{}.svc:8080", world.namespace)));
        assert_eq!((model.id.as_str(), model.source.as_str()), ("first", "hf://org/first"));
        assert_eq!(model.revision.as_deref(), Some("commit-of-first"));
        assert_eq!(model.digest.as_deref(), Some("sha256:first"));
        assert_eq!(model.max_tokens, Some(512));
        let allocations = status.allocations.unwrap();
        assert_eq!((allocations.desired, allocations.current, allocations.ready), (2, 2, 2));
        assert_eq!((status.pending_model, status.last_failure), (None, None));

        let cache: ModelCache = world.get(&model.cache).await;
        let status = cache.status.unwrap();
        assert_eq!(status.used_by, ["search"]);
        assert_eq!(status.progress.unwrap().percent, 100);
        assert_eq!(status.attempts, Some(1));
    })
    .await;
}

#[tokio::test]
async fn deleting_an_endpoint_leaves_nothing_behind() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        delete(&world, "search").await;
        gone(&world).await;
    })
    .await;
}

#[tokio::test]
async fn deleting_an_endpoint_before_its_model_is_there_leaves_nothing_behind() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        world.pods("model-cache", 1).await;
        delete(&world, "search").await;
        gone(&world).await;
    })
    .await;
}

/// A new object of the same name must get its own children, and not the ones that the collector is about to take.
#[tokio::test]
async fn an_endpoint_made_anew_at_once_serves_again() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        delete(&world, "search").await;
        let second = world.create_endpoint("search", |_| {}).await;
        // Whoever is first: the collector takes the old cache and there is another download, or the new endpoint joins the
        // cache, which then stays with its model.
        let downloaded = succeeded("first");
        tokio::select! {
            () = world.start_workers(2) => {}
            () = world.end_download(&downloaded) => world.start_workers(2).await,
        }
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
        let deployment: Deployment = world.get("search").await;
        assert_eq!(Some(&deployment.owner_references()[0].uid), second.metadata.uid.as_ref());
    })
    .await;
}

async fn delete(world: &World, name: &str) {
    let api: Api<InferenceEndpoint> = world.api();
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

async fn gone(world: &World) {
    world.until_count::<InferenceEndpoint>(0).await;
    world.until_count::<ModelCache>(0).await;
    world.until_count::<Deployment>(0).await;
    world.until_count::<Job>(0).await;
    world.until_count::<PersistentVolumeClaim>(0).await;
    world.until_count::<Service>(0).await;
    world.until_count::<NetworkPolicy>(0).await;
    world.until_count::<PodDisruptionBudget>(0).await;
    let accounts: Vec<ServiceAccount> = world.until_count(1).await;
    assert_eq!(accounts[0].name_any(), "default");
}
