//! What the API server itself says about the pods.

use std::time::Duration;

use k8s_openapi::api::{
    core::v1::{Event, Namespace, Pod},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use lexiscale_crds::{InferenceEndpoint, ModelCache};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cluster::{World, eventually, with_operator, with_world},
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

/// The rights that the chart gives. Fewer, and something fails here.
#[tokio::test]
async fn a_whole_life_needs_no_more_than_the_charts_rights() {
    with_world(async |world| {
        restrict(&world, rights_of_the_chart()).await;
        let gateways = format!("--gateway-namespace={}", world.namespace);
        let operator = Operator::start(&world, &["--leader-elect=true", &gateways]);
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

/// What the controller fails to read or to write is said on the object, once, and goes when it succeeds again.
#[tokio::test]
async fn a_missing_right_is_told_on_the_object_once() {
    with_world(async |world| {
        let mut rights = rights_of_the_chart();
        rights.retain(|rule| {
            !rule.resources.iter().flatten().any(|resource| resource == "poddisruptionbudgets")
        });
        restrict(&world, rights).await;
        let operator = Operator::start(&world, &[]);
        world.create_endpoint("search", |_| {}).await;
        let endpoint: InferenceEndpoint =
            world.until_says("search", ("Reconciling", "True", "ReadFailed")).await;
        let said = &endpoint.status.as_ref().unwrap().conditions[0];
        assert_eq!((said.type_.as_str(), said.status.as_str()), ("Ready", "False"));
        assert!(said.message.contains("pod disruption budgets"), "{}", said.message);
        let told = |event: &Event| event.reason.as_deref() == Some("ReadFailed");
        eventually(async || world.list::<Event>().await.into_iter().find(told)).await;
        // Some retries later.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let writes = world.proxy.writes();
        assert_eq!(writes.iter().filter(|write| write.ends_with("/status")).count(), 1, "{writes:#?}");

        let rules = json!({"rules": rights_of_the_chart()});
        let api: Api<Role> = world.api();
        api.patch("operator", &PatchParams::default(), &Patch::Merge(rules)).await.unwrap();
        world.until_says::<InferenceEndpoint>("search", ("Reconciling", "True", "DownloadingModel")).await;
        operator.stop().await;
    })
    .await;
}

/// The controller's rules within a namespace.
fn rights_of_the_chart() -> Vec<PolicyRule> {
    let is_one = |kind: &str, name: &str| match kind {
        "ClusterRole" => name == "lexiscale-system:lexiscale-controller",
        "Role" => name == "lexiscale-controller-lease",
        _ => false,
    };
    let rules = rules_of_the_chart(is_one);
    assert!(rules.len() > 2, "the controller's roles are not where they were");
    rules
}

/// Those beyond namespaces.
fn cluster_rights_of_the_chart() -> Vec<PolicyRule> {
    rules_of_the_chart(|kind, name| {
        (kind, name) == ("ClusterRole", "lexiscale-system:lexiscale-controller-nodes")
    })
}

/// From the chart as it is rendered for review: tests/chart/check keeps that file true.
fn rules_of_the_chart(is_wanted: impl Fn(&str, &str) -> bool) -> Vec<PolicyRule> {
    let rendered = include_str!("../../../tests/chart/rendered/default-values.yaml");
    let mut rules = Vec::new();
    for document in serde_norway::Deserializer::from_str(rendered) {
        let object = Value::deserialize(document).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        if is_wanted(kind, name) {
            rules.extend(serde_json::from_value::<Vec<PolicyRule>>(object["rules"].clone()).unwrap());
        }
    }
    rules
}

/// Gives the operator these rights in the test's namespace, the chart's beyond it, and no others.
async fn restrict(world: &World, rules: Vec<PolicyRule>) {
    let role = json!({"metadata": {"name": "operator"}, "rules": rules});
    let binding = json!({
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator-under-test"}],
    });
    let parameters = PostParams::default();
    world.api::<Role>().create(&parameters, &serde_json::from_value(role).unwrap()).await.unwrap();
    world.api::<RoleBinding>().create(&parameters, &serde_json::from_value(binding).unwrap()).await.unwrap();
    restrict_cluster(world).await;
    world.proxy.impersonate("operator-under-test");
}

/// They belong to the namespace, and go with it.
async fn restrict_cluster(world: &World) {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let owner = namespaces.get(&world.namespace).await.unwrap().owner_ref(&()).unwrap();
    let metadata = json!({"name": format!("{}:operator", world.namespace), "ownerReferences": [owner]});
    let role = json!({"metadata": metadata, "rules": cluster_rights_of_the_chart()});
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": metadata["name"]},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator-under-test"}],
    });
    let parameters = PostParams::default();
    let roles: Api<ClusterRole> = Api::all(world.client.clone());
    roles.create(&parameters, &serde_json::from_value(role).unwrap()).await.unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(world.client.clone());
    bindings.create(&parameters, &serde_json::from_value(binding).unwrap()).await.unwrap();
}
