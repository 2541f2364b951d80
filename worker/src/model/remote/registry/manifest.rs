//! What a manifest says of a model's files. PURE.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::remote::{Hash, RemoteFile};
use crate::model::source::is_sha256;

pub(super) const MEDIA_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Where clients of registries, and the model specification of the CNCF, write a file's name.
const TITLES: [&str; 2] = ["org.opencontainers.image.title", "org.cncf.model.filepath"];
const MAX_LAYERS: usize = 512;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// Of an index.
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Manifest {
    /// The manifest of an index that is this machine's, else the first: a model is the same on all of them.
    pub(super) fn of_platform(&self) -> Option<String> {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let is_ours = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture;
        let ours = self.manifests.iter().find(|manifest| manifest.platform.as_ref().is_some_and(is_ours));
        ours.or(self.manifests.first()).map(|manifest| manifest.digest.clone())
    }
}

/// Layers that are files, and layers that are archives of files. An error says why it holds no model.
pub(super) fn layers(manifest: Manifest) -> Result<(Vec<RemoteFile>, Vec<RemoteFile>), String> {
    if manifest.layers.len() > MAX_LAYERS {
        return Err(format!("it has {} layers", manifest.layers.len()));
    }
    let (mut files, mut archives) = (Vec::new(), Vec::new());
    for (number, layer) in manifest.layers.into_iter().enumerate() {
        let Descriptor { media_type, digest, size, annotations, platform: _ } = layer;
        let digits = digest.strip_prefix("sha256:").filter(|digits| is_sha256(digits));
        let digits =
            digits.ok_or_else(|| format!("layer {number} has digest {digest:?}, which is no sha256"))?;
        let hash = Some(Hash::Sha256(digits.to_owned()));
        let file = |name: String| RemoteFile { name, size: Some(size), hash: hash.clone(), tag: None };
        let is_gzip = media_type.ends_with("gzip");
        // Docker's types end in `.tar`, those of OCI in `.tar` or `+tar`.
        let is_tar = media_type.rsplit(['.', '+']).next() == Some("tar");
        if is_gzip || is_tar {
            archives.push(file(format!("layer-{number}.tar{}", if is_gzip { ".gz" } else { "" })));
        } else if media_type.contains("tar+") {
            return Err(format!(
                "layer {number} is compressed as {media_type}; gzip and plain tar are known"
            ));
        } else if let Some(title) = TITLES.iter().find_map(|title| annotations.get(*title)) {
            files.push(file(title.trim_start_matches("./").to_owned()));
        }
    }
    match (files.is_empty(), archives.is_empty()) {
        (true, true) => Err("it has no layer that is a named file or a tar archive".to_owned()),
        (false, false) => {
            Err("it has files and archives among its layers; it must be one or the other".to_owned())
        }
        (false, true) | (true, false) => Ok((files, archives)),
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;

    #[test]
    fn any_manifest_gets_a_verdict() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let layer = |media: &str| serde_json::json!({"mediaType": media, "digest": digest, "size": 3, "annotations": {(TITLES[0]): "a"}});
        let artifact =
            serde_json::json!({"layers": [layer("application/octet-stream"), layer("x")]}).to_string();
        let image =
            serde_json::json!({"layers": [layer("application/vnd.oci.image.layer.v1.tar+gzip")]}).to_string();
        let platform = serde_json::json!({"os": "linux", "architecture": "amd64"});
        let index = serde_json::json!({"manifests": [{"digest": digest, "size": 1, "platform": platform}]})
            .to_string();
        let words = [
            "sha256:",
            "tar+gzip",
            "tar+zstd",
            "\"size\":18446744073709551615",
            "\"annotations\":{",
            "null",
            "../",
        ];
        fuzz(&Inputs::of_texts("oci-manifest", &[&artifact, &image, &index], &words), |input| {
            let Ok(manifest) = serde_json::from_slice::<Manifest>(input) else { return };
            let _ = manifest.of_platform();
            if let Ok((files, archives)) = layers(manifest) {
                assert!(files.is_empty() != archives.is_empty());
                let is_hashed =
                    |file: &RemoteFile| matches!(&file.hash, Some(Hash::Sha256(digits)) if is_sha256(digits));
                assert!(files.iter().chain(&archives).all(is_hashed), "{files:?} {archives:?}");
            }
        });
    }

    fn read(given: &serde_json::Value) -> Result<(Vec<String>, Vec<String>), String> {
        let manifest = serde_json::from_value(serde_json::json!({ "layers": given })).unwrap();
        let names = |files: Vec<RemoteFile>| files.into_iter().map(|file| file.name).collect();
        layers(manifest).map(|(files, archives)| (names(files), names(archives)))
    }

    #[test]
    fn files_are_layers_with_a_title_and_archives_are_told_by_their_type() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let layer = |media: &str, key: &str, title: &str| serde_json::json!({"mediaType": media, "digest": digest, "size": 3, "annotations": {key: title}});
        let artifact = serde_json::json!([
            layer("application/octet-stream", TITLES[0], "config.json"),
            layer("application/vnd.cncf.model.weight.v1.raw", TITLES[1], "onnx/model.onnx"),
            layer("application/octet-stream", "other", "no file"),
        ]);
        let names: Vec<String> = vec!["config.json".to_owned(), "onnx/model.onnx".to_owned()];
        assert_eq!(read(&artifact), Ok((names, vec![])));
        let image = serde_json::json!([
            layer("application/vnd.oci.image.layer.v1.tar", "x", ""),
            layer("application/vnd.docker.image.rootfs.diff.tar.gzip", "x", ""),
        ]);
        let archives: Vec<String> = vec!["layer-0.tar".to_owned(), "layer-1.tar.gz".to_owned()];
        assert_eq!(read(&image), Ok((vec![], archives)));
        for bad in [
            serde_json::json!([]),
            serde_json::json!([layer("application/vnd.oci.image.layer.v1.tar+zstd", "x", "")]),
            serde_json::json!([{"mediaType": "x", "digest": "md5:00", "size": 1}]),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_an_index_our_own_platform_is_taken() {
        let manifest = |digest: &str, architecture: &str| serde_json::json!({"digest": digest, "size": 1, "platform": {"os": "linux", "architecture": architecture}});
        let ours = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let index = serde_json::json!({"manifests": [manifest("a", "s390x"), manifest("b", ours)]});
        let index: Manifest = serde_json::from_value(index).unwrap();
        assert_eq!(index.of_platform().as_deref(), Some("b"));
    }
}
