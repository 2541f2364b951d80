//! Credentials that a real API server makes and judges: tokens of service accounts, Roles and their bindings.

use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource};
use lexiscale_core::name::object_name;
use lexiscale_crds::InferenceEndpoint;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::{Cluster, INSTANCE, with_namespace};
use crate::harness::{Answer, Gateway};
use crate::worker::{Behaviour, Worker};

/// All that a gateway asks for.
pub(crate) const VERBS: [&str; 6] = ["get", "list", "create", "update", "delete", "infer"];
pub(crate) const AUDIENCE: &str = "lexiscale-tests";
const BODY: &str = r#"{"input":"a"}"#;

impl Cluster {
    async fn put<K>(&self, object: Value)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// A service account that may do this, and its token.
    pub(crate) async fn account(
        &self,
        name: &str,
        verbs: &[&str],
        resource_names: &[&str],
        audience: &str,
    ) -> String {
        self.put::<ServiceAccount>(json!({"metadata": {"name": name}})).await;
        self.put::<Role>(json!({"metadata": {"name": name}, "rules": [{
            "apiGroups": ["inference.lexiscale.io"], "resources": ["inferenceendpoints"], "verbs": verbs, "resourceNames": resource_names,
        }]}))
        .await;
        self.put::<RoleBinding>(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        }))
        .await;
        self.token(name, audience).await
    }

    async fn token(&self, account: &str, audience: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let request: TokenRequest =
            serde_json::from_value(json!({"spec": {"audiences": [audience], "expirationSeconds": 600}}))
                .unwrap();
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        made.status.and_then(|status| status.token).unwrap()
    }
}

async fn send(gateway: &Gateway, method: Method, path: &str, body: &str, token: &str) -> Answer {
    let mut request =
        Request::builder().method(method).uri(path).header(AUTHORIZATION, format!("Bearer {token}"));
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    gateway.request(request.body(body.to_owned().into()).unwrap()).await
}

async fn start(cluster: &Cluster) -> Gateway {
    Gateway::start(cluster, &["--auth", "kubernetes", "--auth-audience", AUDIENCE]).await
}

/// A Role names objects as kubectl shows them, whatever the id that clients know.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_gives_one_verb_on_one_endpoint_and_no_more() {
    with_namespace(|cluster| async move {
        let id = "my_articles";
        let settings = json!({"numAllocations": 1, "numThreads": 1});
        for id in [id, "others"] {
            cluster.make(id, "elser", settings.clone()).await;
        }
        let worker = Worker::start(Behaviour::Embeds).await;
        cluster.routes(id, &[worker.address]).await;
        let gateway = start(&cluster).await;
        let name = object_name(id);
        let token = cluster.account("searcher", &["infer"], &[&name], AUDIENCE).await;

        let answer = send(&gateway, Method::POST, "/_inference/my_articles", BODY, &token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for (method, path) in [
            (Method::POST, "/_inference/others"),
            (Method::GET, "/_inference/my_articles"),
            (Method::GET, "/_inference"),
            (Method::DELETE, "/_inference/my_articles"),
            (Method::PUT, "/_inference/my_articles"),
        ] {
            let answer = send(&gateway, method.clone(), path, "", &token).await;
            assert_eq!(answer.error(), (403, "security_exception".to_owned()), "{method} {path}");
            let who = format!("[system:serviceaccount:{}:searcher]", cluster.namespace);
            assert!(answer.text().contains(&who), "{}", answer.text());
        }
        assert_eq!(send(&gateway, Method::GET, "/", "", &token).await.status, 200);
        let metrics = gateway.metrics().await;
        for line in [
            r#"auth_decisions_total{outcome="Allowed",source="ApiServer"}"#,
            r#"auth_decisions_total{outcome="Forbidden",source="ApiServer"}"#,
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
    })
    .await;
}

/// Whoever makes objects by kubectl names them as they like; the Role then names the object, not what the
/// gateway would have called it.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_names_the_object_even_where_its_id_is_another() {
    with_namespace(|cluster| async move {
        cluster
            .put::<InferenceEndpoint>(json!({
                "metadata": {"name": "plain", "labels": {"inference.lexiscale.io/operator": INSTANCE}},
                "spec": {"inferenceId": "fancy", "taskType": "sparse_embedding", "service": "elser",
                         "serviceSettings": {"numAllocations": 1, "numThreads": 1}},
            }))
            .await;
        let gateway = start(&cluster).await;
        let by_object = cluster.account("by-object", &["get"], &["plain"], AUDIENCE).await;
        let by_id = cluster.account("by-id", &["get"], &["fancy"], AUDIENCE).await;
        let status =
            async |token: &str| send(&gateway, Method::GET, "/_inference/fancy", "", token).await.status;
        assert_eq!((status(&by_object).await, status(&by_id).await), (StatusCode::OK, StatusCode::FORBIDDEN));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_foreign_or_made_up_are_no_tokens() {
    with_namespace(|cluster| async move {
        let gateway = start(&cluster).await;
        let good = cluster.account("searcher", &["list"], &[], AUDIENCE).await;
        assert_eq!(send(&gateway, Method::GET, "/_inference", "", &good).await.status, 200);
        let foreign = cluster.token("searcher", "somebody-else").await;
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
        for token in [foreign.as_str(), forged.as_str(), "made-up"] {
            let answer = send(&gateway, Method::GET, "/_inference", "", token).await;
            assert_eq!(answer.error(), (401, "security_exception".to_owned()));
            assert!(!answer.text().contains(token));
        }
        assert_eq!(gateway.get("/_inference").await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

/// A right that is new is seen after the seconds that a refusal is remembered.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_given_later_is_seen_soon() {
    with_namespace(|cluster| async move {
        let gateway = start(&cluster).await;
        let token = cluster.account("searcher", &["get"], &["articles"], AUDIENCE).await;
        let list = async || send(&gateway, Method::GET, "/_inference", "", &token).await.status;
        assert_eq!(list().await, StatusCode::FORBIDDEN);
        let roles: Api<Role> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        roles.delete("searcher", &DeleteParams::default()).await.unwrap();
        cluster
            .put::<Role>(json!({"metadata": {"name": "searcher"}, "rules": [{
                "apiGroups": ["inference.lexiscale.io"], "resources": ["inferenceendpoints"], "verbs": ["list"],
            }]}))
            .await;
        gateway.until("the right is seen", async || list().await == StatusCode::OK).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_create_may_create_by_put() {
    with_namespace(|cluster| async move {
        let gateway = start(&cluster).await;
        let token = cluster.account("maker", &["create"], &[], AUDIENCE).await;
        let body = r#"{"service":"elser","service_settings":{"num_allocations":1,"num_threads":1}}"#;
        let make = send(&gateway, Method::PUT, "/_inference/sparse_embedding/made", body, &token);
        let (answer, ()) = tokio::join!(make, cluster.becomes_ready("made", 1));
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = send(&gateway, Method::DELETE, "/_inference/made", "", &token).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(cluster.ids().await, ["made"]);
    })
    .await;
}
