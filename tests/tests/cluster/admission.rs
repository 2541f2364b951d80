//! What the API server accepts and refuses at `kubectl apply`, with the messages that a user reads. Only the definitions have to
//! be installed; no operator takes part.

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, repository, with_namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use lexiscale_crds::{InferenceEndpoint, manifests};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Refusal {
    name: String,
    change: Value,
    says: Vec<String>,
}

fn table(file: &str) -> Result<Vec<Refusal>> {
    let path = repository().join("tests/tests/cluster/admission").join(file);
    serde_norway::from_str(&fs_err::read_to_string(path)?).context("failed to read the table")
}

fn example(file: &str) -> Result<Value> {
    e2e::example(file)
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, change: &Value) {
    let (Value::Object(target), Value::Object(change)) = (&mut *target, change) else {
        *target = change.clone();
        return;
    };
    for (key, value) in change {
        match value {
            Value::Null => drop(target.remove(key)),
            Value::Object(_) => {
                merge(target.entry(key).or_insert_with(|| Value::Object(serde_json::Map::new())), value);
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                drop(target.insert(key.clone(), value.clone()));
            }
        }
    }
}

/// Creates as `kubectl apply` does for a new object: unknown fields are errors.
async fn create(namespace: &Namespace, manifest: &Value) -> Result<DynamicObject, kube::Error> {
    let path = InferenceEndpoint::url_path(&(), Some(&namespace.name));
    let request = http::Request::post(format!("{path}?fieldValidation=Strict&fieldManager=e2e"))
        .header("content-type", "application/json")
        .body(manifest.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    namespace.client.request(request).await
}

/// Edits as `kubectl apply --server-side` does.
async fn apply(namespace: &Namespace, manifest: &Value) -> Result<DynamicObject, kube::Error> {
    let kind = ApiResource::erase::<InferenceEndpoint>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(namespace.client.clone(), &namespace.name, &kind);
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    let parameters = PatchParams::apply("e2e").validation_strict();
    api.patch(name, &parameters, &Patch::Apply(manifest)).await
}

async fn definitions_are_installed(namespace: &Namespace) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(namespace.client.clone());
    for definition in manifests::all() {
        let name = definition.name_any();
        api.patch(&name, &PatchParams::apply("lexiscale-operator").force(), &Patch::Apply(&definition))
            .await?;
        e2e::eventually(&format!("{name} is served"), std::time::Duration::from_secs(30), async || {
            let stored = api.get(&name).await?;
            let conditions = stored.status.and_then(|status| status.conditions).unwrap_or_default();
            Ok(conditions
                .iter()
                .any(|condition| condition.type_ == "Established" && condition.status == "True"))
        })
        .await?;
    }
    Ok(())
}

fn check(refusal: &Refusal, answer: Result<DynamicObject, kube::Error>) -> Result<(), String> {
    let message = match answer {
        Ok(_) => return Err(format!("`{}` was accepted", refusal.name)),
        Err(kube::Error::Api(status)) => status.message,
        Err(other) => return Err(format!("`{}`: {other}", refusal.name)),
    };
    let missing: Vec<_> = refusal.says.iter().filter(|text| !message.contains(text.as_str())).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("`{}`: {missing:?} is not in: {message}", refusal.name))
    }
}

fn ensure_none(failures: &[String]) -> Result<()> {
    ensure!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// A user who makes a mistake reads which field is wrong and what would be right, and nothing is stored.
#[tokio::test]
async fn refuses_bad_manifests_with_the_field_and_the_bound() -> Result<()> {
    with_namespace("refused", async |namespace| {
        definitions_are_installed(&namespace).await?;
        let rows = table("refused.yaml")?;
        ensure!(rows.len() >= 40, "the table has only {} rows", rows.len());
        let mut failures = Vec::new();
        for row in &rows {
            let mut manifest = example("elser-fixed.yaml")?;
            merge(&mut manifest, &row.change);
            failures.extend(check(row, create(&namespace, &manifest).await).err());
        }
        ensure_none(&failures)?;
        let stored = namespace.api::<InferenceEndpoint>().list(&kube::api::ListParams::default()).await?;
        ensure!(stored.items.is_empty(), "{} refused manifests were stored", stored.items.len());
        Ok(())
    })
    .await
}

/// An index that was built with one service, task or id must not find another behind the same name.
#[tokio::test]
async fn refuses_edits_of_what_cannot_change() -> Result<()> {
    with_namespace("edits", async |namespace| {
        definitions_are_installed(&namespace).await?;
        let stored = example("elser-fixed.yaml")?;
        apply(&namespace, &stored).await?;
        let mut failures = Vec::new();
        for row in table("refused_edits.yaml")? {
            let mut manifest = stored.clone();
            merge(&mut manifest, &row.change);
            failures.extend(check(&row, apply(&namespace, &manifest).await).err());
        }
        namespace.api::<InferenceEndpoint>().delete("my-elser-model", &DeleteParams::default()).await?;
        ensure_none(&failures)
    })
    .await
}
