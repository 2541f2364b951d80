//! The registry of the embedded node: a model as an artifact of files, and inside the layers of an image.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lexiscale_places::Repository;
use lexiscale_wire::FetchReason;
use serde_json::Value;

use super::{FILES, Fetcher, digest_by_hub, hub_of};
use crate::support::models::small_source;

/// Where `tests/cluster/cluster up` runs one.
fn registry() -> String {
    let named = std::env::var_os("LEXISCALE_REGISTRY").and_then(|address| address.into_string().ok());
    named.unwrap_or_else(|| "127.0.0.1:5000".to_owned())
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
    let name = "lexiscale-tests/artifact";
    let (first, second) = tokio::task::spawn_blocking(move || {
        let repository = Repository::new(&registry(), name);
        let layer = |file: &str, bytes: &[u8]| {
            repository.layer("application/octet-stream", Some(file), bytes).unwrap()
        };
        let mut layers: Vec<Value> = FILES.iter().map(|file| layer(file, &read(file))).collect();
        let first = repository.manifest("v1", &layers).unwrap();
        layers[0] = layer("config.json", b"{}");
        (first, repository.manifest("v2", &layers).unwrap())
    })
    .await
    .unwrap();
    let registry = registry();
    let by_tag = fetcher(format!("oci://{registry}/{name}:v1")).await;
    let model = by_tag.run().await.unwrap();
    assert_eq!(model.digest, digest_by_hub().await);
    assert_eq!(model.revision, first.replace(':', "-"));
    let by_digest = fetcher(format!("oci://{registry}/{name}:v2@{first}")).await;
    assert_eq!(by_digest.run().await.unwrap().digest, model.digest, "the digest wins over the tag");
    // The pinned revision wins over a tag that has moved meanwhile.
    let mut pinned = fetcher(format!("oci://{registry}/{name}:v2")).await;
    pinned.wish.revision = model.revision.parse().unwrap();
    assert_eq!(pinned.run().await.unwrap().digest, model.digest);
    let broken = fetcher(format!("oci://{registry}/{name}@{second}")).await;
    let (reason, message) = broken.reason().await;
    assert!(matches!(reason, FetchReason::UnsupportedModel | FetchReason::InvalidModel), "{message}");
    let absent = fetcher(format!("oci://{registry}/{name}:v9")).await;
    assert_eq!(absent.reason().await.0, FetchReason::ModelNotFound);
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[tokio::test]
async fn an_image_with_the_model_inside_is_a_model() {
    let name = "lexiscale-tests/image";
    tokio::task::spawn_blocking(move || {
        let base = tar(&[("etc/passwd", b"root".to_vec()), ("models/config.json", b"{}".to_vec())]);
        let files: Vec<_> = FILES.iter().map(|file| (format!("models/{file}"), read(file))).collect();
        let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar(&files)).unwrap();
        let repository = Repository::new(&registry(), name);
        let layer = |media: &str, bytes: &[u8]| repository.layer(media, None, bytes).unwrap();
        let layers = [
            layer("application/vnd.oci.image.layer.v1.tar", &base),
            layer("application/vnd.oci.image.layer.v1.tar+gzip", &gzip.finish().unwrap()),
        ];
        repository.manifest("latest", &layers).unwrap();
    })
    .await
    .unwrap();
    let fetcher = fetcher(format!("oci://{}/{name}", registry())).await;
    let model = fetcher.run().await.unwrap();
    assert_eq!(model.digest, digest_by_hub().await);
    assert_eq!(fetcher.left(), ["model"]);
}

/// A volume that was lost is filled by either way, and must hold the same: the layers say that one file was replaced and another taken
/// away, and of a mounted image the runtime has done so already.
#[tokio::test]
async fn a_mounted_image_is_the_model_that_a_fetch_of_it_is() {
    let name = "lexiscale-tests/mounted";
    let digest = tokio::task::spawn_blocking(move || {
        let below = tar(&[
            ("etc/passwd", b"root".to_vec()),
            ("models/config.json", b"{}".to_vec()),
            ("models/special_tokens_map.json", b"{}".to_vec()),
            ("models/old/tokenizer.json", b"{}".to_vec()),
        ]);
        let files: Vec<_> = FILES.iter().map(|file| (format!("models/{file}"), read(file))).collect();
        let mut files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        files.push(("models/.wh.special_tokens_map.json", Vec::new()));
        files.push(("models/.wh.old", Vec::new()));
        Repository::new(&registry(), name).image("latest", &[&below, &tar(&files)]).unwrap()
    })
    .await
    .unwrap();
    let source = format!("oci://{}/{name}@{digest}", registry());
    let fetched = fetcher(source.clone()).await.run().await.unwrap();

    let image = tempfile::tempdir().unwrap();
    for folder in ["etc", "models"] {
        fs_err::create_dir(image.path().join(folder)).unwrap();
    }
    fs_err::write(image.path().join("etc/passwd"), "root").unwrap();
    for file in FILES {
        fs_err::write(image.path().join("models").join(file), read(file)).unwrap();
    }
    let mount = async || {
        let mut mounted = fetcher(source.clone()).await;
        mounted.wish.access.endpoint = Some("http://127.0.0.1:1".to_owned());
        mounted.wish.access.image_folder = Some(image.path().to_owned());
        mounted
    };
    let mounted = mount().await;
    let model = mounted.run().await.unwrap();
    assert_eq!(
        (&model.revision, &model.source_digest, &model.digest),
        (&fetched.revision, &fetched.source_digest, &fetched.digest)
    );
    assert_eq!(model.revision, digest.replace(':', "-"));
    assert_eq!(mounted.left(), ["model"]);

    // What is not there ends in a reason after which the operator fetches.
    let mut by_tag = mount().await;
    by_tag.wish.source = format!("oci://{}/{name}:latest", registry()).parse().unwrap();
    assert_eq!(by_tag.reason().await.0, FetchReason::InvalidModel);
    let weights = image.path().join("models/model.safetensors");
    fs_err::rename(&weights, image.path().join("weights")).unwrap();
    fs_err::os::unix::fs::symlink("../weights", &weights).unwrap();
    let (reason, message) = mount().await.reason().await;
    assert_eq!(reason, FetchReason::InvalidModel);
    assert!(message.contains("model.safetensors is a link in it"), "{message}");
    fs_err::remove_dir_all(image.path().join("models")).unwrap();
    assert_eq!(mount().await.reason().await.0, FetchReason::UnsupportedModel);
}
