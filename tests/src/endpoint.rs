//! What the tests ask of an `InferenceEndpoint`: waiting for a condition, an embedding past the gateway, traces after deletion.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint, ModelCache};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Namespace, until};

/// Long enough for a pod start on two busy cores, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_mins(4);

impl Namespace {
    /// Waits until an endpoint satisfies a predicate; a failure shows its last status.
    pub async fn endpoint(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&InferenceEndpoint) -> bool,
    ) -> Result<InferenceEndpoint> {
        let api: Api<InferenceEndpoint> = self.api();
        until(&format!("endpoint {name} {what}"), PATIENCE, async || {
            let endpoint = api.get(name).await?;
            Ok(if holds(&endpoint) { Ok(endpoint) } else { Err(endpoint.status) })
        })
        .await
    }

    /// Waits until an endpoint is ready and nothing is under way.
    pub async fn ready_endpoint(&self, name: &str) -> Result<InferenceEndpoint> {
        self.endpoint(name, "is ready", is_settled).await
    }

    /// Embeds texts by the workers' Service, through the API server's proxy.
    pub async fn embed(&self, endpoint: &InferenceEndpoint, texts: &[&str]) -> Result<Vec<Value>> {
        let url = endpoint
            .status
            .as_ref()
            .and_then(|status| status.url.as_deref())
            .context("the status has no url")?;
        let service =
            url.trim_start_matches("http://").split(['.', ':']).next().context("the url names no service")?;
        let path = format!("/api/v1/namespaces/{}/services/{service}:http/proxy/_inference", self.name);
        let body = json!({ "input": texts }).to_string().into_bytes();
        let request = http::Request::post(path).header("content-type", "application/json").body(body)?;
        let answer: Value = self.client.request(request).await?;
        let items = answer["sparse_embedding"].as_array().context("no sparse_embedding in the answer")?;
        ensure!(items.len() == texts.len(), "{} embeddings for {} texts", items.len(), texts.len());
        Ok(items.iter().map(|item| item["embedding"].clone()).collect())
    }

    /// Names of everything that an endpoint could have left in the namespace.
    pub async fn remains(&self) -> Result<Vec<String>> {
        let mut remains = Vec::new();
        remains.extend(self.names::<InferenceEndpoint>().await?);
        remains.extend(self.names::<ModelCache>().await?);
        remains.extend(self.names::<Deployment>().await?);
        remains.extend(self.names::<ReplicaSet>().await?);
        remains.extend(self.names::<Job>().await?);
        remains.extend(self.names::<Pod>().await?);
        remains.extend(self.names::<PersistentVolumeClaim>().await?);
        remains.extend(self.names::<Service>().await?);
        remains.extend(self.names::<EndpointSlice>().await?);
        remains.extend(self.names::<PodDisruptionBudget>().await?);
        remains.extend(self.names::<NetworkPolicy>().await?);
        remains.extend(
            self.names::<ServiceAccount>().await?.into_iter().filter(|name| name != "ServiceAccount/default"),
        );
        remains.extend(self.volumes().await?);
        Ok(remains)
    }

    /// Waits until no more than this remains; less may, as what was there before may be on its way out.
    pub async fn until_remains(&self, expected: &[String]) -> Result<()> {
        until("nothing is left of the endpoint", Duration::from_mins(2), async || {
            let remains = self.remains().await?;
            Ok(if remains.iter().all(|name| expected.contains(name)) { Ok(()) } else { Err(remains) })
        })
        .await
    }

    /// Volumes belong to no namespace, but to a claim of one.
    async fn volumes(&self) -> Result<Vec<String>> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let of_us = |volume: &PersistentVolume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            claim.is_some_and(|claim| claim.namespace.as_ref() == Some(&self.name))
        };
        let list = volumes.list(&ListParams::default()).await?;
        Ok(list
            .iter()
            .filter(|volume| of_us(volume))
            .map(|volume| format!("PersistentVolume/{}", volume.name_any()))
            .collect())
    }

    /// `Kind/name` of all objects of a kind.
    pub async fn names<K>(&self) -> Result<Vec<String>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let list = self.api::<K>().list(&ListParams::default()).await?;
        Ok(list.iter().map(|object| format!("{}/{}", K::kind(&()), object.name_any())).collect())
    }
}

/// Ready for the generation that is stored, and neither reconciling nor stalled.
pub fn is_settled(endpoint: &InferenceEndpoint) -> bool {
    let observed = endpoint.status.as_ref().and_then(|status| status.observed_generation);
    observed == endpoint.metadata.generation
        && endpoint.is(ConditionType::Ready)
        && !endpoint.is(ConditionType::Reconciling)
        && !endpoint.is(ConditionType::Stalled)
}

/// The reason of a condition, empty if it is not set.
pub fn reason(endpoint: &InferenceEndpoint, kind: ConditionType) -> &str {
    endpoint.condition(kind).map_or("", |condition| &condition.reason)
}
