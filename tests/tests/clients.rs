//! Elasticsearch's official clients, unmodified, against the gateway of the installed chart. What they check is in
//! `tests/clients`, in their own languages.

use std::{io::Write as _, process::Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, repository, with_namespace};
use tokio::{process::Command, sync::Mutex};

/// One client at a time: each makes several endpoints, and the node is small.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Past the test harness, which shows nothing of a test that passes: what a client left out is to be seen.
fn say(text: &str) -> Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}

/// `prefix` is a path before all others. Nothing is left of what the client made when this ends.
async fn lives(client: &str, prefix: &str, namespace: &Namespace) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let before = namespace.remains().await?;
    let gateway = Gateway::open().await?;
    let output = Command::new(repository().join("tests/clients/run"))
        .args([client, &format!("{}{prefix}", gateway.url)])
        .stdin(Stdio::null())
        .output()
        .await
        .context("failed to run tests/clients/run")?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    say(&format!("{client} at {prefix:?}:\n{text}"))?;
    ensure!(output.status.success(), "the client {client} ended with {}:\n{text}", output.status);
    namespace.until_remains(&before).await
}

/// The gateway's own namespace is at no prefix.
async fn lives_at_the_root(client: &str) -> Result<()> {
    let default = Namespace { client: e2e::client().await?, name: "default".to_owned() };
    lives(client, "", &default).await
}

#[tokio::test]
async fn the_python_client_of_version_8_creates_infers_updates_and_deletes() -> Result<()> {
    lives_at_the_root("python-8").await
}

#[tokio::test]
async fn the_python_client_of_version_9_creates_infers_updates_and_deletes() -> Result<()> {
    lives_at_the_root("python-9").await
}

#[tokio::test]
async fn the_javascript_client_creates_infers_updates_and_deletes() -> Result<()> {
    lives_at_the_root("javascript").await
}

#[tokio::test]
async fn the_java_client_creates_infers_updates_and_deletes() -> Result<()> {
    lives_at_the_root("java").await
}

/// A tenant's users get an address with a path, and each of the clients must keep it before its own paths.
#[tokio::test]
async fn every_client_works_below_a_path_prefix() -> Result<()> {
    with_namespace("clients", async |namespace| {
        let prefix = format!("/namespaces/{}", namespace.name);
        for client in ["python-8", "python-9", "javascript", "java"] {
            lives(client, &prefix, &namespace).await?;
        }
        Ok(())
    })
    .await
}
