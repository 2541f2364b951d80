//! One small model at every kind of place: the hub of a private repository, a web server with TLS, a bucket, the node's registry, a
//! claim. All but the claim are servers of this process with a Service of the test's namespace.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use e2e::{Namespace, repository};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::PostParams;
use lexiscale_hub::{Hub, Repository, RunningHub};
use lexiscale_pki::{Authority, Signer};
use lexiscale_places::{Keys, Server, serve_buckets, serve_tls, sha256};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const FILES: [&str; 4] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// On the claim, that commit in a cache of the hub's own client.
pub(crate) const SNAPSHOT: &str =
    "pvc://models/hub/models--team--bert/snapshots/0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "token-of-the-hub";
const KEYS: Keys<'_> = Keys { id: "id-of-the-bucket", secret: "secret-of-the-bucket" };
/// Where the tests of the worker look for a registry too.
const REGISTRY: &str = "127.0.0.1:5000";
const REPOSITORY: &str = "lexiscale-tests/places";

/// Names of Secrets.
pub(crate) const OF_HUB: &str = "of-hub";
pub(crate) const OF_WEB: &str = "of-web";
pub(crate) const OF_BUCKET: &str = "of-bucket";

/// The small model, as the repository has it.
pub(crate) fn model() -> PathBuf {
    repository().join("tests/assets/models/bert-f32")
}

/// Until it is dropped.
pub(crate) struct Places {
    pub(crate) hub: RunningHub,
    /// Host of the hub, which is a web server too.
    pub(crate) web: String,
    registry: String,
    pub(crate) pushed: Pushed,
    bucket: String,
    pub(crate) signer: Signer,
    _servers: [Server; 3],
    _folders: TempDir,
}

impl Places {
    pub(crate) async fn open(namespace: &Namespace) -> Result<Self> {
        let folders = tempfile::tempdir()?;
        let (authority, signer) = (Authority::new()?, Signer::new()?);
        let hub = hub(folders.path(), &signer)?.start().await?;
        let node = namespace.node_address().await?;
        let (web, web_server) = with_tls(namespace, "models", node, hub.address(), &authority).await?;
        let (registry, registry_server) =
            with_tls(namespace, "registry", node, REGISTRY.parse()?, &authority).await?;
        let buckets = folders.path().join("buckets");
        copy(&buckets.join("models/team/bert"))?;
        let bucket_server = serve_buckets(node, &buckets, Some(KEYS)).await?;
        let bucket = namespace.name_server("s3", 80, bucket_server.address()).await?;
        let pushed = tokio::task::spawn_blocking(push).await??;
        let claim = folders.path().join("claim");
        fill(&claim)?;
        make_claim(namespace, &claim).await?;
        make_secret(namespace, OF_HUB, &[("token", TOKEN), ("ca.crt", authority.pem())]).await?;
        make_secret(namespace, OF_WEB, &[("ca.crt", authority.pem())]).await?;
        let keys = [("AWS_ACCESS_KEY_ID", KEYS.id), ("AWS_SECRET_ACCESS_KEY", KEYS.secret)];
        make_secret(namespace, OF_BUCKET, &keys).await?;
        let servers = [web_server, registry_server, bucket_server];
        Ok(Self { hub, web, registry, pushed, bucket, signer, _servers: servers, _folders: folders })
    }

    /// A folder of the web server.
    pub(crate) fn folder(&self, repository: &str) -> String {
        format!("https://{}/{repository}/resolve/{COMMIT}/", self.web)
    }

    /// What the operator is told by the chart: servers inside the cluster may be asked because these values name them.
    pub(crate) fn values(&self) -> Result<Value> {
        let entry = |id: &str, source: String| json!({ "ids": [id], "source": source, "revision": "main", "license": "Apache-2.0" });
        let registry = |tag: &str| format!("oci://{}/{REPOSITORY}:{tag}", self.registry);
        let Pushed { artifact, image } = &self.pushed;
        let mut private = entry("hub", "hf://team/private".to_owned());
        private["hubEndpoint"] = json!(format!("https://{}", self.web));
        let mut vouched = entry("web", self.folder("team/plain"));
        vouched["checksums"] = json!(checksums(&model())?);
        Ok(json!({
            "gateway": { "replicas": 0 },
            "crds": { "upgrade": false },
            "s3Endpoint": format!("http://{}", self.bucket),
            "catalog": { "extraModels": [
                private,
                vouched,
                entry("bucket", "s3://models/team/bert".to_owned()),
                entry("artifact", registry("artifact")),
                entry("image", registry("image")),
                entry("mounted", on_node(image)),
                // No node resolves names of Services, so it cannot pull this.
                entry("unresolved", format!("oci://{}/{REPOSITORY}@{artifact}", self.registry)),
            ] },
        }))
    }
}

fn hub(folders: &Path, signer: &Signer) -> Result<Hub> {
    let open = |name: &str, folder: &Path| Repository::open(name, folder, Some(COMMIT));
    let listed = folders.join("signed");
    copy(&listed)?;
    let sums = checksums(&listed)?;
    let list: String = sums.iter().flat_map(|(name, sum)| [sum.as_str(), "  ", name, "\n"]).collect();
    fs_err::write(listed.join("SHA256SUMS"), &list)?;
    fs_err::write(listed.join("SHA256SUMS.sig"), signer.sign(list.as_bytes())?)?;
    Ok(Hub::new(vec![
        open("team/private", &model())?.with_token(TOKEN),
        open("team/plain", &model())?,
        open("team/killed", &model())?,
        open("team/signed", &listed)?,
    ]))
}

async fn with_tls(
    namespace: &Namespace,
    name: &str,
    node: IpAddr,
    behind: SocketAddr,
    authority: &Authority,
) -> Result<(String, Server)> {
    let host = format!("{name}.{}.svc.cluster.local", namespace.name);
    let server = serve_tls(node, behind, authority, &host).await?;
    Ok((namespace.name_server(name, 443, server.address()).await?, server))
}

/// By digest, from where the node's own runtime pulls: its loopback, which no pod can ask.
pub(crate) fn on_node(digest: &str) -> String {
    format!("oci://{REGISTRY}/{REPOSITORY}@{digest}")
}

/// What lies in the registry, by digest.
pub(crate) struct Pushed {
    pub(crate) artifact: String,
    pub(crate) image: String,
}

/// An artifact with a layer for each file, and an image that has them in a layer.
fn push() -> Result<Pushed> {
    let repository = lexiscale_places::Repository::new(REGISTRY, REPOSITORY);
    let mut layers = Vec::new();
    let mut archive = tar::Builder::new(Vec::new());
    // As distributions have it: nobody but root may look.
    let mut home = tar::Header::new_gnu();
    home.set_entry_type(tar::EntryType::Directory);
    home.set_size(0);
    home.set_mode(0o700);
    archive.append_data(&mut home, "root/", std::io::empty())?;
    for name in FILES {
        let bytes = fs_err::read(model().join(name))?;
        layers.push(repository.layer("application/octet-stream", Some(name), &bytes)?);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("models/{name}"), bytes.as_slice())?;
    }
    let artifact = repository.manifest("artifact", &layers)?;
    let image = repository.image("image", &[&archive.into_inner()?])?;
    Ok(Pushed { artifact, image })
}

/// A plain folder, and a cache of the hub's own client: snapshots of links to blobs.
fn fill(claim: &Path) -> Result<()> {
    copy(&claim.join("plain"))?;
    let cache = claim.join("hub/models--team--bert");
    let (blobs, snapshot) = (cache.join("blobs"), cache.join("snapshots").join(COMMIT));
    for folder in [&blobs, &snapshot, &cache.join("refs")] {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(cache.join("refs/main"), COMMIT)?;
    for (name, sum) in checksums(&model())? {
        fs_err::copy(model().join(&name), blobs.join(&sum))?;
        fs_err::os::unix::fs::symlink(format!("../../blobs/{sum}"), snapshot.join(&name))?;
    }
    Ok(())
}

async fn make_claim(namespace: &Namespace, folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // A temporary folder is its owner's alone, and downloads run as somebody else.
    let root = folder.parent().context("a folder without a parent")?;
    fs_err::set_permissions(root, std::fs::Permissions::from_mode(0o755))?;
    namespace.create_volume(folder).await?;
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": "models" },
        "spec": {
            "storageClassName": namespace.name,
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } },
        },
    }))?;
    namespace.api().create(&PostParams::default(), &claim).await?;
    Ok(())
}

async fn make_secret(namespace: &Namespace, name: &str, entries: &[(&str, &str)]) -> Result<()> {
    let entries: BTreeMap<String, String> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut secret = Secret { string_data: Some(entries), ..Secret::default() };
    secret.metadata.name = Some(name.to_owned());
    namespace.api().create(&PostParams::default(), &secret).await?;
    Ok(())
}

fn copy(folder: &Path) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    for name in FILES {
        fs_err::copy(model().join(name), folder.join(name))?;
    }
    Ok(())
}

/// sha256 of each file.
pub(crate) fn checksums(folder: &Path) -> Result<BTreeMap<String, String>> {
    let sum = |name: &&str| -> Result<(String, String)> {
        Ok(((*name).to_owned(), sha256(&fs_err::read(folder.join(name))?)))
    };
    FILES.iter().map(sum).collect()
}
