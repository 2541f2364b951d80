//! What the API server itself says about the pods.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    cluster::{with_operator, with_world},
    fixtures::succeeded,
    operator::Operator,
};

/// The strictest Pod Security level refuses pods that ask for more than they need. Ours are all accepted.
#[tokio::test]
async fn all_pods_are_accepted_where_restricted_is_enforced() {
    with_world(async |world| {
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        let restricted = Patch::Merge(json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }}}));
        namespaces.patch(&world.namespace, &PatchParams::default(), &restricted).await.unwrap();
        let operator = Operator::start(&world, &[]).await;
        world.run_endpoint("search").await;
        operator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn no_pod_gets_a_token() {
    with_operator(async |world| {
        world.create_endpoint("search", |_| {}).await;
        world.end_download(&succeeded("first")).await;
        world.pods("worker", 2).await;
        let pods: Vec<Pod> = world.list().await;
        assert_eq!(pods.len(), 3);
        for pod in pods {
            let spec = pod.spec.unwrap();
            assert_ne!(spec.service_account_name.as_deref(), Some("default"));
            let mounts =
                spec.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
            assert!(mounts.into_iter().all(|mount| !mount.mount_path.contains("serviceaccount")));
        }
    })
    .await;
}
