//! Where the cluster and the repository are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::process::Command;

/// The context of the embedded node's kubeconfig (`tests/cluster/lib/settings.sh`).
const EMBEDDED_CONTEXT: &str = "lexiscale-embedded";

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A client of the cluster under test.
pub async fn client() -> Result<Client> {
    let file = kubeconfig();
    let kubeconfig = Kubeconfig::read_from(&file).with_context(|| {
        format!(
            "failed to read {}: start the test node with `make cluster-up`, or set KUBECONFIG",
            file.display()
        )
    })?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("failed to build a client from the kubeconfig")
}

#[expect(clippy::disallowed_methods, reason = "KUBECONFIG is how every Kubernetes tool is told its cluster")]
pub(crate) fn kubeconfig() -> PathBuf {
    match std::env::var("KUBECONFIG") {
        Ok(path) if !path.is_empty() => PathBuf::from(path),
        _ => repository().join("target/cluster/kubeconfig"),
    }
}

/// Whether the cluster under test is the embedded node, on whose machine the tests run: by the name of its context, as its own scripts
/// know it, wherever the file was copied to.
pub fn embedded() -> bool {
    let context = Kubeconfig::read_from(kubeconfig()).ok().and_then(|config| config.current_context);
    context.as_deref() == Some(EMBEDDED_CONTEXT)
}

/// One of the manifests under `crds/examples`.
pub fn example<K: serde::de::DeserializeOwned>(name: &str) -> Result<K> {
    let path = repository().join("crds/examples").join(name);
    serde_norway::from_str(&fs_err::read_to_string(&path)?)
        .with_context(|| format!("failed to read {}", path.display()))
}

/// Runs kubectl as a user would and gives what it printed, standard error included.
pub async fn kubectl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("kubectl").args(arguments).env("KUBECONFIG", kubeconfig()).output().await?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "kubectl {arguments:?}: {text}");
    Ok(text)
}
