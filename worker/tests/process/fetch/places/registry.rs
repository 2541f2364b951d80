//! The registry of the embedded node: a model as an artifact of files, and inside the layers of an image.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lexiscale_wire::FetchReason;
use lexiscale_worker::model::manifest::hexadecimal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{FILES, Fetcher, digest_by_hub, hub_of};
use crate::support::models::small_source;

/// Where `tests/cluster/cluster up` runs one.
fn registry() -> String {
    let named = std::env::var_os("LEXISCALE_REGISTRY").and_then(|address| address.into_string().ok());
    named.unwrap_or_else(|| "127.0.0.1:5000".to_owned())
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(&Sha256::digest(bytes)))
}

fn push_blob(repository: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let url = format!("http://{}/v2/{repository}/blobs/uploads/", registry());
    let begun = ureq::post(&url).send_empty().unwrap_or_else(|error| {
        panic!("no registry at {}: run tests/cluster/cluster up first ({error})", registry())
    });
    let location = begun.headers()["location"].to_str().unwrap();
    let location = if location.starts_with('/') {
        format!("http://{}{location}", registry())
    } else {
        location.to_owned()
    };
    let separator = if location.contains('?') { '&' } else { '?' };
    let url = format!("{location}{separator}digest={digest}");
    ureq::put(&url).header("content-type", "application/octet-stream").send(bytes).unwrap();
    digest
}

fn layer(repository: &str, media: &str, title: Option<&str>, bytes: &[u8]) -> Value {
    let annotations = title.map(|title| json!({"org.opencontainers.image.title": title}));
    json!({"mediaType": media, "digest": push_blob(repository, bytes), "size": bytes.len(), "annotations": annotations})
}

/// Returns the manifest's digest.
fn push(repository: &str, tag: &str, layers: &[Value]) -> String {
    let config = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": push_blob(repository, b"{}"), "size": 2});
    let media = "application/vnd.oci.image.manifest.v1+json";
    let mut layers = layers.to_vec();
    for layer in &mut layers {
        layer.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": layers});
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let url = format!("http://{}/v2/{repository}/manifests/{tag}", registry());
    ureq::put(&url).header("content-type", media).send(&bytes).unwrap();
    digest(&bytes)
}

async fn fetcher(source: String) -> Fetcher {
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub).of(&source);
    fetcher.wish.access.endpoint = Some(format!("http://{}", registry()));
    fetcher
}

fn read(file: &str) -> Vec<u8> {
    fs_err::read(small_source("bert-f32").join(file)).unwrap()
}

#[tokio::test]
async fn an_artifact_with_a_layer_for_each_file_is_a_model() {
    let repository = "lexiscale-tests/artifact";
    let (first, second) = tokio::task::spawn_blocking(move || {
        let mut layers: Vec<Value> = FILES
            .iter()
            .map(|file| layer(repository, "application/octet-stream", Some(file), &read(file)))
            .collect();
        let first = push(repository, "v1", &layers);
        layers[0] = layer(repository, "application/octet-stream", Some("config.json"), b"{}");
        (first, push(repository, "v2", &layers))
    })
    .await
    .unwrap();
    let registry = registry();
    let by_tag = fetcher(format!("oci://{registry}/{repository}:v1")).await;
    let model = by_tag.run().await.unwrap();
    assert_eq!(model.digest, digest_by_hub().await);
    assert_eq!(model.revision, first.replace(':', "-"));
    let by_digest = fetcher(format!("oci://{registry}/{repository}:v2@{first}")).await;
    assert_eq!(by_digest.run().await.unwrap().digest, model.digest, "the digest wins over the tag");
    // The pinned revision wins over a tag that has moved meanwhile.
    let mut pinned = fetcher(format!("oci://{registry}/{repository}:v2")).await;
    pinned.wish.revision = model.revision.parse().unwrap();
    assert_eq!(pinned.run().await.unwrap().digest, model.digest);
    let broken = fetcher(format!("oci://{registry}/{repository}@{second}")).await;
    let (reason, message) = broken.reason().await;
    assert!(matches!(reason, FetchReason::UnsupportedModel | FetchReason::InvalidModel), "{message}");
    let absent = fetcher(format!("oci://{registry}/{repository}:v9")).await;
    assert_eq!(absent.reason().await.0, FetchReason::ModelNotFound);
}

#[tokio::test]
async fn an_image_with_the_model_inside_is_a_model() {
    let repository = "lexiscale-tests/image";
    tokio::task::spawn_blocking(move || {
        let tar = |files: &[(&str, Vec<u8>)]| {
            let mut tar = tar::Builder::new(Vec::new());
            for (name, bytes) in files {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
            }
            tar.into_inner().unwrap()
        };
        let base = tar(&[("etc/passwd", b"root".to_vec()), ("models/config.json", b"{}".to_vec())]);
        let files: Vec<_> = FILES.iter().map(|file| (format!("models/{file}"), read(file))).collect();
        let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar(&files)).unwrap();
        let layers = [
            layer(repository, "application/vnd.oci.image.layer.v1.tar", None, &base),
            layer(repository, "application/vnd.oci.image.layer.v1.tar+gzip", None, &gzip.finish().unwrap()),
        ];
        push(repository, "latest", &layers);
    })
    .await
    .unwrap();
    let fetcher = fetcher(format!("oci://{}/{repository}", registry())).await;
    let model = fetcher.run().await.unwrap();
    assert_eq!(model.digest, digest_by_hub().await);
    assert_eq!(fetcher.left(), ["model"]);
}
