//! Pushes into a registry that speaks plain http, as the embedded node's does: artifacts of files, images of archives. Blocking.

use std::fmt::Write;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const EMPTY_CONFIG: &[u8] = b"{}";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A repository of a registry.
#[derive(Clone, Debug)]
pub struct Repository {
    url: String,
}

impl Repository {
    /// `registry` is host and port.
    pub fn new(registry: &str, name: &str) -> Self {
        Self { url: format!("http://{registry}/v2/{name}") }
    }

    /// Pushes a layer; a file has a title.
    pub fn layer(&self, media: &str, title: Option<&str>, bytes: &[u8]) -> anyhow::Result<Value> {
        let mut layer = json!({"mediaType": media, "digest": self.blob(bytes)?, "size": bytes.len()});
        if let Some(title) = title {
            layer["annotations"] = json!({"org.opencontainers.image.title": title});
        }
        Ok(layer)
    }

    /// Pushes an image of plain archives, which a container runtime can unpack, and returns its digest.
    pub fn image(&self, tag: &str, archives: &[&[u8]]) -> anyhow::Result<String> {
        let layers = archives.iter().map(|archive| self.layer(TAR, None, archive));
        let layers = layers.collect::<anyhow::Result<Vec<_>>>()?;
        let digests: Vec<_> = archives.iter().map(|archive| digest_of(archive)).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let rootfs = json!({"type": "layers", "diff_ids": digests});
        let config = json!({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs});
        let config = serde_json::to_vec(&config)?;
        self.push(tag, "application/vnd.oci.image.config.v1+json", &config, &layers)
    }

    /// Pushes a manifest and returns its digest.
    pub fn manifest(&self, tag: &str, layers: &[Value]) -> anyhow::Result<String> {
        self.push(tag, "application/vnd.oci.empty.v1+json", EMPTY_CONFIG, layers)
    }

    fn push(&self, tag: &str, kind: &str, config: &[u8], layers: &[Value]) -> anyhow::Result<String> {
        let config = json!({"mediaType": kind, "digest": self.blob(config)?, "size": config.len()});
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let bytes = serde_json::to_vec(&manifest)?;
        let url = format!("{}/manifests/{tag}", self.url);
        ureq::put(&url).header("content-type", MANIFEST).send(&bytes)?;
        Ok(digest_of(&bytes))
    }

    fn blob(&self, bytes: &[u8]) -> anyhow::Result<String> {
        let digest = digest_of(bytes);
        let uploads = format!("{}/blobs/uploads/", self.url);
        let begun = ureq::post(&uploads).send_empty().with_context(|| {
            format!("no registry at {uploads}: `tests/cluster/cluster up` starts one, LEXISCALE_REGISTRY names another")
        })?;
        let location = begun.headers().get("location").context("no location to upload to")?.to_str()?;
        let (scheme, rest) = self.url.split_once("://").context("the address of a registry is no URL")?;
        let server = rest.split('/').next().unwrap_or_default();
        let absolute = if location.starts_with('/') {
            format!("{scheme}://{server}{location}")
        } else {
            location.to_owned()
        };
        let separator = if absolute.contains('?') { '&' } else { '?' };
        let url = format!("{absolute}{separator}digest={digest}");
        ureq::put(&url).header("content-type", "application/octet-stream").send(bytes)?;
        Ok(digest)
    }
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// In hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("writing to a string does not fail");
        digits
    })
}
