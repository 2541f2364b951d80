//! Endpoints that share a model, and caches that users make.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint, ModelCache};
use serde_json::json;

use crate::{
    cluster::with_operator,
    fixtures::{failed, succeeded},
};

#[tokio::test]
async fn two_endpoints_on_one_model_share_one_download() {
    let test = with_operator(async |world| {
        let create = |name| Box::pin(world.create_endpoint(name, |_| {}));
        let (search, ingest) = futures::join!(create("search"), create("ingest"));
        world.end_download(&succeeded("first")).await;
        world.start_workers(4).await;
        for name in ["search", "ingest"] {
            world.until_says::<InferenceEndpoint>(name, ("Ready", "True", "Serving")).await;
        }
        assert_eq!(world.list::<Job>().await.len(), 1);
        assert_eq!(world.list::<PersistentVolumeClaim>().await.len(), 1);
        let name = world.the_cache().await;
        let cache: ModelCache = world.get(&name).await;
        let mut owners: Vec<_> =
            cache.owner_references().iter().map(|owner| Some(owner.uid.clone())).collect();
        owners.sort();
        let mut expected = vec![search.metadata.uid, ingest.metadata.uid];
        expected.sort();
        assert_eq!(owners, expected);
        let cache: ModelCache = world
            .until(&name, "used by both", |cache: &ModelCache| {
                cache.status.as_ref().is_some_and(|status| status.used_by == ["ingest", "search"])
            })
            .await;
        world.until_quiet(Duration::from_secs(1)).await;

        // One leaves by deletion: the collector takes its reference, and nobody takes the model.
        let api: Api<InferenceEndpoint> = world.api();
        api.delete("search", &DeleteParams::default()).await.unwrap();
        let left = world
            .until(&name, "used by one", |cache: &ModelCache| {
                cache.owner_references().len() == 1
                    && cache.status.as_ref().is_some_and(|status| status.used_by == ["ingest"])
            })
            .await;
        assert_eq!(left.uid(), cache.uid());
        world.until_quiet(Duration::from_secs(1)).await;
        world.until_says::<InferenceEndpoint>("ingest", ("Ready", "True", "Serving")).await;
    });
    Box::pin(test).await;
}

/// Leaving by an edit: the other endpoint's reference must survive, and the cache must outlive the one that made it.
#[tokio::test]
async fn leaving_a_shared_cache_takes_only_ones_own_reference() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        let shared = world.the_cache().await;
        let ingest = world.create_endpoint("ingest", |_| {}).await;
        world.start_workers(2).await;
        world.until_says::<InferenceEndpoint>("ingest", ("Ready", "True", "Serving")).await;

        world.edit_endpoint("search", json!({"spec": {"serviceSettings": {"modelId": "second"}}})).await;
        world.end_download(&succeeded("second")).await;
        world.start_workers(1).await;
        world.start_workers(1).await;
        let cache = world
            .until(&shared, "left by search", |cache: &ModelCache| cache.owner_references().len() == 1)
            .await;
        assert_eq!(Some(&cache.owner_references()[0].uid), ingest.metadata.uid.as_ref());
        assert_eq!(cache.spec.source, "hf://org/first");
        world.until_quiet(Duration::from_secs(1)).await;
    })
    .await;
}

#[tokio::test]
async fn a_cache_that_a_user_made_is_used_and_stays() {
    with_operator(async |world| {
        let warm = serde_json::from_value(json!({
            "apiVersion": "inference.lexiscale.io/v1alpha1",
            "kind": "ModelCache",
            "metadata": {"name": "warm", "labels": {"inference.lexiscale.io/operator": world.namespace}},
            "spec": {"source": "hf://org/first", "revision": "v1"},
        }));
        world.api::<ModelCache>().create(&PostParams::default(), &warm.unwrap()).await.unwrap();
        world.end_download(&succeeded("first")).await;
        world.until_says::<ModelCache>("warm", ("Ready", "True", "Ready")).await;

        world.create_endpoint("search", |_| {}).await;
        world.start_workers(2).await;
        let endpoint: InferenceEndpoint = world.until_says("search", ("Ready", "True", "Serving")).await;
        assert_eq!(endpoint.status.unwrap().model.unwrap().cache, "warm");
        world
            .until("warm", "used by search", |cache: &ModelCache| {
                cache.status.as_ref().is_some_and(|status| status.used_by == ["search"])
            })
            .await;

        world.api::<InferenceEndpoint>().delete("search", &DeleteParams::default()).await.unwrap();
        world.until_count::<Deployment>(0).await;
        let cache = world
            .until("warm", "used by nobody", |cache: &ModelCache| {
                cache.status.as_ref().is_some_and(|status| status.used_by.is_empty())
            })
            .await;
        assert_eq!(cache.owner_references(), []);
        assert_eq!(world.list::<PersistentVolumeClaim>().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_younger_of_two_endpoints_with_one_inference_id_is_stalled_until_the_older_goes() {
    with_operator(async |world| {
        world
            .create_endpoint("first-comer", |object| object["spec"]["inferenceId"] = json!("shared-id"))
            .await;
        // The API server counts age in seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        world.create_endpoint("shared-id", |_| {}).await;
        let stalled = ("Stalled", "True", "DuplicateInferenceId");
        let endpoint: InferenceEndpoint = world.until_says("shared-id", stalled).await;
        let message = &endpoint.status.unwrap().conditions[0].message;
        assert!(message.contains("first-comer"), "{message}");
        assert!(
            world.api::<k8s_openapi::api::core::v1::Service>().get_opt("shared-id").await.unwrap().is_none()
        );

        world.api::<InferenceEndpoint>().delete("first-comer", &DeleteParams::default()).await.unwrap();
        // How far it comes from there depends on whether the other's cache is collected before it is joined.
        world
            .until("shared-id", "no longer stalled", |endpoint: &InferenceEndpoint| {
                endpoint.is(ConditionType::Reconciling) && !endpoint.is(ConditionType::Stalled)
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn both_endpoints_say_why_their_shared_model_is_missing() {
    with_operator(async |world| {
        futures::join!(world.create_endpoint("search", |_| {}), world.create_endpoint("ingest", |_| {}));
        world.end_download(&failed(lexiscale_wire::FetchReason::ModelNotFound)).await;
        for name in ["search", "ingest"] {
            world.until_says::<InferenceEndpoint>(name, ("Stalled", "True", "ModelNotFound")).await;
        }
    })
    .await;
}
