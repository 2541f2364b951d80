//! Endpoints that are attached to the deployment of another one.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use lexiscale_crds::InferenceEndpoint;
use serde_json::json;

use crate::cluster::with_operator;

/// Two endpoints, one deployment; and what the second one says is what the first one does.
#[tokio::test]
async fn an_attached_endpoint_tells_the_state_of_the_other_and_has_no_children() {
    with_operator(async |world| {
        let attached = json!({"deploymentId": "holder"});
        world.create_endpoint("guest", |object| object["spec"]["serviceSettings"] = attached).await;
        world.until_says::<InferenceEndpoint>("guest", ("Stalled", "True", "DeploymentNotFound")).await;
        world.run_endpoint("holder").await;
        world.until_says::<InferenceEndpoint>("guest", ("Ready", "True", "Serving")).await;
        assert_eq!(world.list::<Deployment>().await.len(), 1);
        world.api::<InferenceEndpoint>().delete("holder", &DeleteParams::default()).await.unwrap();
        world.until_says::<InferenceEndpoint>("guest", ("Stalled", "True", "DeploymentNotFound")).await;
    })
    .await;
}
