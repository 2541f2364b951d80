//! Failures are never silent: each has a reason and words that somebody can act on.

use std::time::Duration;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, ResourceQuota},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use lexiscale_crds::{CachePhase, InferenceEndpoint, ModelCache};
use lexiscale_wire::FetchReason;
use serde_json::json;

use crate::{
    cluster::with_operator,
    fixtures::{failed, succeeded},
};

#[tokio::test]
async fn a_missing_model_is_named_told_as_an_event_and_heals_when_asked() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        world.end_download(&failed(FetchReason::ModelNotFound)).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Stalled", "True", "ModelNotFound")).await;
        let failure = endpoint.status.unwrap().last_failure.unwrap();
        assert_eq!((failure.component.as_str(), failure.exit_code), ("model-cache", Some(1)));
        assert!(failure.message.contains("the hub said ModelNotFound"), "{}", failure.message);
        let told = |event: &Event| {
            event.involved_object.name.as_deref() == Some("search")
                && event.reason.as_deref() == Some("ModelNotFound")
                && event.type_.as_deref() == Some("Warning")
        };
        for _ in 0..100 {
            if world.list::<Event>().await.iter().any(told) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(world.list::<Event>().await.iter().filter(|event| told(event)).count(), 1);

        let again = json!({"metadata": {"annotations": {"inference.lexiscale.io/retry": "1"}}});
        world.edit_endpoint("search", again).await;
        world.end_download(&succeeded("first")).await;
        world.start_workers(2).await;
        let endpoint: InferenceEndpoint = world.until_says("search", ("Ready", "True", "Serving")).await;
        assert_eq!(endpoint.status.unwrap().last_failure, None);
        let cache: ModelCache = world.get(&world.the_cache().await).await;
        assert_eq!(cache.status.unwrap().attempts, Some(2));
        assert_eq!(world.list::<Job>().await.len(), 1, "the failed Job is gone");
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_hub_is_tried_again_by_itself() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        world.end_download(&failed(FetchReason::HubUnreachable)).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Reconciling", "True", "HubUnreachable")).await;
        assert!(endpoint.status.unwrap().conditions[0].message.contains("try 2 begins at"));
        world.end_download(&succeeded("first")).await;
        world.start_workers(2).await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
    })
    .await;
}

#[tokio::test]
async fn every_terminal_reason_reaches_the_endpoint() {
    let reasons = [
        FetchReason::RevisionNotFound,
        FetchReason::Unauthorized,
        FetchReason::InsufficientStorage,
        FetchReason::UnsupportedModel,
        FetchReason::InvalidModel,
    ];
    let one = async |reason: FetchReason| {
        with_operator(async |world| {
            world.create_endpoint("search", |_| {}).await;
            world.end_download(&failed(reason)).await;
            world.until_says::<InferenceEndpoint>("search", ("Stalled", "True", reason.as_str())).await;
        })
        .await;
    };
    futures::future::join_all(reasons.map(one)).await;
}

#[tokio::test]
async fn an_unknown_model_id_says_how_to_add_it() {
    with_operator(async |world| {
        world
            .create_endpoint("search", |object| {
                object["spec"]["serviceSettings"]["modelId"] = json!("nobody");
            })
            .await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Stalled", "True", "UnknownModel")).await;
        let message = &endpoint.status.unwrap().conditions[0].message;
        assert!(message.contains("\"nobody\"") && message.contains("first, second"), "{message}");
        world.edit_endpoint("search", json!({"spec": {"serviceSettings": {"modelId": "first"}}})).await;
        world.until_says::<InferenceEndpoint>("search", ("Reconciling", "True", "DownloadingModel")).await;
    })
    .await;
}

#[tokio::test]
async fn a_volume_that_nobody_provides_is_said_in_the_schedulers_words() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Reconciling", "True", "VolumePending")).await;
        let message = &endpoint.status.unwrap().conditions[0].message;
        assert!(message.contains("PersistentVolumeClaim"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn workers_that_crash_from_the_start_stall_the_endpoint_with_their_last_words() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        world.end_download(&succeeded("first")).await;
        let last_words = json!({"exitCode": 7, "reason": "Error", "message": "the model is cursed\n"});
        world.crash_workers(2, last_words).await;
        let endpoint: InferenceEndpoint = world.until_says("search", ("Stalled", "True", "Crashed")).await;
        let status = endpoint.status.unwrap();
        assert_eq!(status.conditions[0].status, "False");
        let failure = status.last_failure.unwrap();
        assert_eq!((failure.component.as_str(), failure.exit_code), ("worker", Some(7)));
        assert!(failure.message.contains("the model is cursed"), "{}", failure.message);
        assert!(failure.pod.is_some() && failure.time.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_new_revision_that_fails_leaves_the_old_one_serving_and_says_so() {
    with_operator(async |world| {
        world.run_endpoint("search").await;
        world.edit_endpoint("search", json!({"spec": {"deployment": {"memory": "16Mi"}}})).await;
        world.crash_workers(1, json!({"exitCode": 137, "reason": "OOMKilled"})).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Stalled", "True", "RolloutFailed")).await;
        let status = endpoint.status.unwrap();
        let ready = &status.conditions[0];
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
        assert_eq!(status.allocations.unwrap().ready, 2);
        assert_eq!(status.last_failure.unwrap().reason, "OOMKilled");

        world.edit_endpoint("search", json!({"spec": {"deployment": null}})).await;
        world
            .until("search", "settled", |endpoint: &InferenceEndpoint| {
                endpoint
                    .status
                    .as_ref()
                    .is_some_and(|status| status.conditions.len() == 1 && status.last_failure.is_none())
            })
            .await;
    })
    .await;
}

/// F22: a quota refuses, is raised, and everything goes on without anybody touching the endpoint.
#[tokio::test]
async fn a_quota_is_said_in_the_api_servers_words_and_heals_when_it_is_lifted() {
    with_operator(async |world| {
        let quotas: Api<ResourceQuota> = world.api();
        let none = json!({"metadata": {"name": "none"}, "spec": {"hard": {"services": "0"}}});
        quotas.create(&PostParams::default(), &serde_json::from_value(none).unwrap()).await.unwrap();
        world
            .until("none", "enforced", |quota: &ResourceQuota| {
                quota.status.as_ref().is_some_and(|status| status.hard.is_some())
            })
            .await;
        world.create_endpoint("search", |_| {}).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Stalled", "True", "WriteRejected")).await;
        let message = &endpoint.status.unwrap().conditions[0].message;
        assert!(message.contains("exceeded quota: none"), "{message}");
        quotas.delete("none", &DeleteParams::default()).await.unwrap();
        world.until_says::<InferenceEndpoint>("search", ("Reconciling", "True", "VolumePending")).await;
    })
    .await;
}

#[tokio::test]
async fn pods_that_a_quota_refuses_are_said_in_the_api_servers_words() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        let quotas: Api<ResourceQuota> = world.api();
        world.pods("model-cache", 1).await;
        let none = json!({"metadata": {"name": "one-pod"}, "spec": {"hard": {"pods": "0"}}});
        quotas.create(&PostParams::default(), &serde_json::from_value(none).unwrap()).await.unwrap();
        world
            .until("one-pod", "enforced", |quota: &ResourceQuota| {
                quota.status.as_ref().is_some_and(|status| status.hard.is_some())
            })
            .await;
        world.end_download(&succeeded("first")).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Stalled", "True", "PodsRefused")).await;
        let message = &endpoint.status.unwrap().conditions[0].message;
        assert!(message.contains("exceeded quota: one-pod"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn a_download_that_does_not_tell_its_progress_is_no_failure() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        let name = world.the_cache().await;
        world.begin_download().await;
        let cache: ModelCache = world.until_says(&name, ("Ready", "False", "Downloading")).await;
        assert_eq!(cache.status.unwrap().phase, Some(CachePhase::Downloading));
        world.until_quiet(Duration::from_secs(3)).await;
    })
    .await;
}
