//! Edits by the user, and by others who should not.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Pod, Service},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde_json::json;

use crate::{
    cluster::{World, with_operator},
    fixtures::succeeded,
};

#[tokio::test]
async fn more_allocations_scale_without_a_roll() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        world.edit_endpoint("search", json!({"spec": {"serviceSettings": {"numAllocations": 3}}})).await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "False", "VolumePending")).await;
        world.start_workers(1).await;
        let endpoint: InferenceEndpoint = world.until_says("search", ("Ready", "True", "Serving")).await;
        assert_eq!(endpoint.status.unwrap().allocations.unwrap().ready, 3);
        assert_eq!(revisions(&world.list::<Pod>().await).len(), 1);

        world.edit_endpoint("search", json!({"spec": {"serviceSettings": {"numAllocations": 1}}})).await;
        world
            .until("search", "one allocation", |endpoint: &InferenceEndpoint| {
                let allocations = endpoint.status.as_ref().and_then(|status| status.allocations);
                allocations.is_some_and(|allocations| (allocations.current, allocations.ready) == (1, 1))
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn more_threads_roll_and_the_endpoint_stays_ready() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        world.edit_endpoint("search", json!({"spec": {"serviceSettings": {"numThreads": 2}}})).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Reconciling", "True", "VolumePending")).await;
        assert_eq!(endpoint.status.unwrap().conditions[0].status, "True", "the old revision serves");
        world.start_workers(1).await;
        world.start_workers(1).await;
        world
            .until("search", "settled", |endpoint: &InferenceEndpoint| {
                endpoint.status.as_ref().is_some_and(|status| status.conditions.len() == 1)
            })
            .await;
        let deployment: Deployment = world.get("search").await;
        let container = deployment.spec.template.spec.unwrap().containers.remove(0);
        assert_eq!(container.resources.unwrap().limits.unwrap()["cpu"].0, "2");
    })
    .await;
}

#[tokio::test]
async fn the_old_model_serves_until_the_new_one_is_there_and_goes_when_all_workers_have_changed() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let old_cache = world.the_cache().await;
        let old_revision = revisions(&world.list::<Pod>().await);
        world.edit_endpoint("search", json!({"spec": {"serviceSettings": {"modelId": "second"}}})).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Reconciling", "True", "DownloadingModel")).await;
        let status = endpoint.status.unwrap();
        assert_eq!(status.conditions[0].status, "True");
        assert_eq!(
            (status.model.unwrap().id, status.pending_model.unwrap().id),
            ("first".into(), "second".into())
        );
        world.until_count::<ModelCache>(2).await;
        assert_eq!(
            revisions(&world.list::<Pod>().await),
            old_revision,
            "nothing rolls before the model is there"
        );

        world.end_download(&succeeded("second")).await;
        world.start_workers(1).await;
        world.start_workers(1).await;
        let left = world.until_count::<ModelCache>(1).await;
        assert_ne!(left[0].name_any(), old_cache);
        world.until_count::<PersistentVolumeClaim>(1).await;
        let endpoint: InferenceEndpoint = world
            .until("search", "settled", |endpoint: &InferenceEndpoint| {
                endpoint.status.as_ref().is_some_and(|status| status.pending_model.is_none())
            })
            .await;
        assert_eq!(endpoint.status.unwrap().model.unwrap().digest.as_deref(), Some("sha256:second"));
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_or_changed_by_hand_comes_back() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let services: Api<Service> = world.api();
        let old = services.get("search").await.unwrap();
        services.delete("search", &DeleteParams::default()).await.unwrap();
        world.until("search", "made again", |service: &Service| service.uid() != old.uid()).await;

        let deployments: Api<Deployment> = world.api();
        let scaled = Patch::Merge(json!({"spec": {"replicas": 0}}));
        deployments.patch("search", &PatchParams::default(), &scaled).await.unwrap();
        world.until("search", "scaled back", |found: &Deployment| found.spec.replicas == Some(2)).await;

        let unlabelled = Patch::Merge(json!({"metadata": {"labels": {
            "app.kubernetes.io/managed-by": null, "inference.lexiscale.io/endpoint": null,
        }}}));
        services.patch("search", &PatchParams::default(), &unlabelled).await.unwrap();
        world
            .until("search", "labelled again", |service: &Service| {
                service.labels().contains_key("inference.lexiscale.io/endpoint")
            })
            .await;
        world.until_quiet(Duration::from_secs(1)).await;
    })
    .await;
}

/// A model that was there and is not any more: it is fetched again, and the workers that have it in memory serve meanwhile.
#[tokio::test]
async fn a_deleted_volume_is_filled_again() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let cache = world.the_cache().await;
        let claims: Api<PersistentVolumeClaim> = world.api();
        replaced_in_use(&world, async |old| {
            claims.delete(old, &DeleteParams::default()).await.unwrap();
        })
        .await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Reconciling", "True", "DownloadingModel")).await;
        assert_eq!(endpoint.status.unwrap().conditions[0].status, "True");
        world.end_download(&succeeded("first")).await;
        world.until_says::<ModelCache>(&cache, ("Ready", "True", "Ready")).await;
        world.start_workers(1).await;
        world.start_workers(1).await;
        world
            .until("search", "settled", |endpoint: &InferenceEndpoint| {
                endpoint.status.as_ref().is_some_and(|status| status.conditions.len() == 1)
            })
            .await;
    })
    .await;
}

/// `kubectl delete mc` under running workers: they serve on, and roll to the volume of the cache that takes its place.
#[tokio::test]
async fn a_deleted_cache_in_use_is_made_anew_beside_its_old_volume() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let cache = world.the_cache().await;
        let caches: Api<ModelCache> = world.api();
        let old = replaced_in_use(&world, async |_| {
            caches.delete(&cache, &DeleteParams::default()).await.unwrap();
        })
        .await;
        world.end_download(&succeeded("first")).await;
        world.start_workers(1).await;
        world.start_workers(1).await;
        world
            .until("search", "settled on the new volume", |endpoint: &InferenceEndpoint| {
                endpoint.status.as_ref().is_some_and(|status| status.conditions.len() == 1)
            })
            .await;
        // A pass that had read the old cache just before may have made a claim for it, which the collector takes again.
        let left = world.until_count::<PersistentVolumeClaim>(1).await.remove(0).name_any();
        assert_ne!(left, old);
        let deployment: Deployment = world.get("search").await;
        let volumes = deployment.spec.template.spec.unwrap().volumes.unwrap();
        assert_eq!(volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name, left);
    })
    .await;
}

/// An endpoint that leaves a user's cache is its owner no more than before, and the cache must notice all the same.
#[tokio::test]
async fn a_users_cache_forgets_an_endpoint_that_left() {
    with_operator(async |world| {
        let warm = json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "ModelCache",
            "metadata": {"name": "search", "labels": {"inference.lexiscale.io/operator": world.namespace}},
            "spec": {"source": "hf://org/first", "revision": "v1"},
        });
        let warm: ModelCache = serde_json::from_value(warm).unwrap();
        world.api().create(&kube::api::PostParams::default(), &warm).await.unwrap();
        // Of the same name as its cache, and both get on.
        world.run_endpoint("search").await;
        let used_by = |cache: &ModelCache| cache.status.as_ref().map_or(0, |status| status.used_by.len());
        world.until("search", "in use", |cache: &ModelCache| used_by(cache) == 1).await;
        let other = json!({"spec": {"serviceSettings": {"modelId": "second"}}});
        world.edit_endpoint("search", other).await;
        world.end_download(&succeeded("second")).await;
        world.start_workers(1).await;
        world.start_workers(1).await;
        world.until("search", "left alone", |cache: &ModelCache| used_by(cache) == 0).await;
    })
    .await;
}

/// Deletes a claim, or what it belongs to, while pods that run read from it: it goes only when another one is there. Its
/// name.
async fn replaced_in_use(world: &World, delete: impl AsyncFnOnce(&str)) -> String {
    let claims: Api<PersistentVolumeClaim> = world.api();
    let old = world.until_count::<PersistentVolumeClaim>(1).await[0].name_any();
    hold(&claims, &old, true).await;
    delete(&old).await;
    world.until_count::<PersistentVolumeClaim>(2).await;
    hold(&claims, &old, false).await;
    old
}

/// Keeps a claim that is deleted, as the cluster does while pods that run read from it; or lets it go.
async fn hold(claims: &Api<PersistentVolumeClaim>, name: &str, hold: bool) {
    let finalizers = if hold { json!(["lexiscale.io/test"]) } else { json!(null) };
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    claims.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn somebody_elses_object_of_the_same_name_is_not_seized() {
    with_operator(async |world| {
        let theirs = serde_json::from_value(json!({
            "metadata": {"name": "search"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}},
        }));
        let services: Api<Service> = world.api();
        services.create(&kube::api::PostParams::default(), &theirs.unwrap()).await.unwrap();
        world.create_endpoint("search", |_| {}).await;
        world.until_says::<InferenceEndpoint>("search", ("Stalled", "True", "WriteRejected")).await;
        assert_eq!(services.get("search").await.unwrap().spec.unwrap().selector.unwrap()["app"], "theirs");
    })
    .await;
}

fn revisions(pods: &[Pod]) -> std::collections::BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.annotations().get("inference.lexiscale.io/revision").cloned()).collect()
}
