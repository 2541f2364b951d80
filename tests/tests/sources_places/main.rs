//! Models from every kind of place, end to end: a release whose values name servers of this process downloads them, and workers answer
//! by them. Ten workers are one download, a Secret goes where the download is and nowhere else, and killed downloads go on.

mod delivery;
mod killed;
mod places;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, embedded, references_of, with_namespace, with_release};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use lexiscale_crds::{ConditionType, Conditions, InferenceEndpoint, ModelCache, ServedPrecision};
use serde_json::{Value, json};

use places::{OF_BUCKET, OF_HUB, OF_WEB, Places, SNAPSHOT};

/// As many as a node has room for.
const WORKERS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_place_serves_the_same_model() -> Result<()> {
    if !embedded() {
        eprintln!("SKIPPED: its servers are in this process, so it needs the embedded node");
        return Ok(());
    }
    Box::pin(with_namespace("places", async |namespace| {
        let places = Box::pin(Places::open(&namespace)).await?;
        let values = places.values()?;
        let test = async || {
            let served = async {
                let endpoints = try_join_all(ENDPOINTS.iter().map(|row| served(&namespace, row))).await?;
                let digests: BTreeSet<String> = endpoints.into_iter().collect();
                ensure!(digests.len() == 1, "the same model with several digests: {digests:?}");
                delivery::is_told(&namespace).await?;
                workers_share_a_download_and_no_secret(&namespace, &places).await
            };
            let (signed, killed) = (signed(&namespace, &places), killed::goes_on(&namespace, &places));
            let falls_back = delivery::of_an_artifact_falls_back(&namespace, &places);
            tokio::try_join!(Box::pin(served), Box::pin(signed), Box::pin(killed), Box::pin(falls_back))?;
            Ok(())
        };
        let result = Box::pin(with_release(&namespace, "places", &values, test)).await;
        namespace.delete_volume().await?;
        result
    }))
    .await
}

/// An endpoint: its name, its model, the Secret of its download, how many workers it has.
struct Row(&'static str, &'static str, Option<&'static str>, usize);

const ENDPOINTS: [Row; 9] = [
    // A private repository of a mirror with a certificate of its own.
    Row("hub", "hub", Some(OF_HUB), WORKERS),
    Row("web", "web", Some(OF_WEB), 1),
    Row("bucket", "bucket", Some(OF_BUCKET), 1),
    Row("artifact", "artifact", Some(OF_WEB), 1),
    Row("image", "image", Some(OF_WEB), 1),
    Row("mounted", "mounted", None, 1),
    Row("unresolved", "unresolved", Some(OF_WEB), 1),
    Row("folder", "pvc://models/plain", None, 1),
    Row("links", SNAPSHOT, None, 1),
];

/// Waits until an endpoint serves, compares its vectors, and returns the digests of its model.
async fn served(namespace: &Namespace, Row(name, model, secret, workers): &Row) -> Result<String> {
    let cache = secret.map_or_else(|| json!({}), |secret| json!({ "secretName": secret }));
    let endpoint: InferenceEndpoint = serde_json::from_value(json!({
        "apiVersion": "inference.lexiscale.io/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": { "name": name, "labels": { "inference.lexiscale.io/operator": namespace.name } },
        "spec": {
            "taskType": "sparse_embedding",
            "service": "elasticsearch",
            "serviceSettings": { "modelId": model, "numAllocations": workers, "numThreads": 1 },
            "deployment": { "precision": "fp32", "cpuRequest": "20m", "cache": cache },
        },
    }))?;
    namespace.api().create(&PostParams::default(), &endpoint).await?;
    let endpoint = namespace.ready_endpoint(name).await?;
    let references = references_of(&places::model().join("reference.json"))?;
    let texts: Vec<&str> = references.iter().map(|reference| reference.text.as_str()).collect();
    for (reference, embedding) in references.iter().zip(namespace.embed(&endpoint, &texts).await?) {
        reference
            .check(&embedding, Some(ServedPrecision::Fp32))
            .with_context(|| format!("endpoint {name}"))?;
    }
    let status = namespace.cache_of(&endpoint).await?.status.context("a cache without a status")?;
    let digests = status.digest.zip(status.source_digest);
    let (digest, source) = digests.with_context(|| format!("the cache of {name} has no digest"))?;
    Ok(format!("{digest} of {source}"))
}

/// Whoever breaks this fills the line of a hub with a thousand workers, or gives every worker its token.
async fn workers_share_a_download_and_no_secret(namespace: &Namespace, places: &Places) -> Result<()> {
    let weights = "/content/team/private/model.safetensors";
    let asked = places.hub.requests().iter().filter(|request| request.path == weights).count();
    ensure!(asked == 1, "{WORKERS} workers of one model, and its weights were asked for {asked} times");
    let (mut workers, mut holders) = (0, Vec::new());
    for pod in namespace.api::<Pod>().list(&ListParams::default()).await? {
        let secrets = secrets(&pod);
        let owner = pod.owner_references().first().map(|owner| owner.kind.as_str());
        let labels = pod.labels();
        if owner == Some("ReplicaSet") && labels.contains_key("inference.lexiscale.io/endpoint") {
            workers += usize::from(labels["inference.lexiscale.io/endpoint"] == "hub");
            ensure!(secrets.is_empty(), "worker {} has {secrets:?}", pod.name_any());
        }
        if secrets.contains(OF_HUB) {
            holders.push((pod.name_any(), owner.map(str::to_owned)));
        }
    }
    ensure!(workers == WORKERS, "{workers} workers");
    let is_download = matches!(holders.as_slice(), [(_, Some(owner))] if owner == "Job");
    ensure!(is_download, "the token is where it does not belong: {holders:?}");
    Ok(())
}

/// Names of Secrets that a pod has, however it has them.
fn secrets(pod: &Pod) -> BTreeSet<String> {
    let value = serde_json::to_value(&pod.spec).unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut open = vec![&value];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(entries) => {
                names.extend(entries.get("secretName").and_then(Value::as_str).map(str::to_owned));
                for key in ["secretRef", "secretKeyRef"] {
                    names
                        .extend(entries.get(key).and_then(|value| value["name"].as_str()).map(str::to_owned));
                }
                open.extend(entries.values());
            }
            Value::Array(values) => open.extend(values),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    names
}

/// A cache of a user's own.
async fn make_cache(namespace: &Namespace, name: &str, mut spec: Value) -> Result<()> {
    spec["storage"] = json!({ "secretName": OF_WEB });
    let cache: ModelCache = serde_json::from_value(json!({
        "apiVersion": "inference.lexiscale.io/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": name, "labels": { "inference.lexiscale.io/operator": namespace.name } },
        "spec": spec,
    }))?;
    namespace.api().create(&PostParams::default(), &cache).await?;
    Ok(())
}

/// The list beside the files is signed by the key that is named, or nothing is served; and files are what the spec says they are.
async fn signed(namespace: &Namespace, places: &Places) -> Result<()> {
    let (source, key) = (places.folder("team/signed"), places.signer.public_pem());
    let stranger = lexiscale_pki::Signer::new()?.public_pem();
    let mut other = places::checksums(&places::model())?;
    other.insert("tokenizer.json".to_owned(), "0".repeat(64));
    let caches = [
        ("signed", json!({ "source": source, "publicKey": key }), ""),
        ("forged", json!({ "source": source, "publicKey": stranger }), "SignatureInvalid"),
        ("unsigned", json!({ "source": places.folder("team/plain"), "publicKey": key }), "SignatureInvalid"),
        ("altered", json!({ "source": source, "checksums": other }), "ChecksumMismatch"),
    ];
    for (name, spec, reason) in caches {
        make_cache(namespace, name, spec).await?;
        let ends = |cache: &ModelCache| {
            let ready = cache.condition(ConditionType::Ready);
            ready.is_some_and(
                |ready| if reason.is_empty() { ready.status == "True" } else { ready.reason == reason },
            )
        };
        let cache = namespace.cache(name, &format!("ends as it should {reason}"), ends).await?;
        let digest = cache.status.and_then(|status| status.digest);
        ensure!(digest.is_some() == reason.is_empty(), "cache {name} has digest {digest:?}");
        namespace.api::<ModelCache>().delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}
