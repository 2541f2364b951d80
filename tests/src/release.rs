//! The chart a second time: a release in a test's namespace, under that name as its instance, beside the shared release.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::{Namespace, repository};

/// Runs helm against the cluster under test.
pub async fn helm(arguments: &[&str], values: &[&Path]) -> Result<()> {
    let mut command = Command::new("helm");
    command.args(arguments);
    for file in values {
        command.arg("--values").arg(file);
    }
    let output =
        command.output().await.context("failed to run helm; `make test-cluster` puts it into the PATH")?;
    ensure!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Installs a release with these values on top of the demo's, runs a test, and takes the release away however the test ended: the
/// namespace would not take what belongs to none with it.
pub async fn with_release(
    namespace: &Namespace,
    release: &str,
    values: &Value,
    test: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let root = repository();
    let name = namespace.name.as_str();
    let (chart, instance) = (root.join("charts/lexiscale"), format!("instance={name}"));
    let chart = chart.to_str().context("a path that is no text")?;
    let own = tempfile::NamedTempFile::new()?;
    fs_err::write(own.path(), serde_json::to_vec(values)?)?;
    let (demo, images) = (root.join("tests/demo/values.yaml"), root.join("target/images/values.yaml"));
    // The definitions are there, and belong to the shared release.
    let install =
        ["install", release, chart, "--namespace", name, "--wait", "--timeout", "3m", "--skip-crds"];
    let installed =
        helm(&[&install[..], &["--set", &instance]].concat(), &[&demo, &images, own.path()]).await;
    let result = match installed {
        Ok(()) => test().await,
        Err(error) => Err(error),
    };
    let removed =
        helm(&["uninstall", release, "--namespace", name, "--ignore-not-found", "--wait"], &[]).await;
    result.and(removed)
}
