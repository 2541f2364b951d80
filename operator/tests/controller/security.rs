//! What the API server itself says about the pods.

use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde_json::json;

use crate::{
    cluster::{with_operator, with_world},
    fixtures::{failed, succeeded},
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
        let operator = Operator::start(&world, &[]);
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

/// The rights that the chart has to give, in the namespaces that are watched. Fewer, and something fails here; the test of the
/// chart holds the other end.
#[tokio::test]
async fn a_whole_life_needs_no_more_than_these_rights() {
    with_world(async |world| {
        let all = ["get", "list", "watch", "create", "patch", "delete"];
        let role = json!({"metadata": {"name": "operator"}, "rules": [
            {"apiGroups": ["inference.lexiscale.io"], "resources": ["inferenceendpoints"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["inference.lexiscale.io"], "resources": ["modelcaches"], "verbs": all},
            {"apiGroups": ["inference.lexiscale.io"], "resources": ["inferenceendpoints/status", "modelcaches/status"],
                "verbs": ["patch"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": all},
            {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": all},
            {"apiGroups": [""], "resources": ["persistentvolumeclaims", "serviceaccounts", "services"], "verbs": all},
            {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": all},
            {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": all},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["lexiscale-controller"],
                "verbs": ["get", "update"]},
        ]});
        let binding = json!({
            "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator-under-test"}],
        });
        let parameters = PostParams::default();
        world.api::<Role>().create(&parameters, &serde_json::from_value(role).unwrap()).await.unwrap();
        world.api::<RoleBinding>().create(&parameters, &serde_json::from_value(binding).unwrap()).await.unwrap();
        world.proxy.impersonate("operator-under-test");

        let operator = Operator::start(&world, &["--leader-elect=true"]);
        world.create_endpoint("search", |_| {}).await;
        world.end_download(&failed(lexiscale_wire::FetchReason::HubUnreachable)).await;
        world.end_download(&succeeded("first")).await;
        world.start_workers(2).await;
        world.until_says::<InferenceEndpoint>("search", ("Ready", "True", "Serving")).await;
        let other = json!({"spec": {"serviceSettings": {"modelId": "second", "numAllocations": 3}}});
        world.edit_endpoint("search", other).await;
        world.end_download(&succeeded("second")).await;
        for _ in 0..4 {
            world.start_workers(1).await;
        }
        world.until_count::<ModelCache>(1).await;
        world.api::<InferenceEndpoint>().delete("search", &DeleteParams::default()).await.unwrap();
        world.until_count::<ModelCache>(0).await;
        operator.stop().await;
        assert_eq!(world.proxy.refused(), [] as [String; 0]);
    })
    .await;
}
