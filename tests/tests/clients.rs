//! Elasticsearch's official clients, unmodified, against the gateway of the installed chart. What they check is in
//! `tests/clients`, in their own languages.

use std::{io::Write as _, process::Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{Gateway, Namespace, example, repository, with_namespace};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use lexiscale_crds::InferenceEndpoint;
use tokio::{process::Command, sync::Mutex};

/// One client at a time: each makes several endpoints, and the node is small.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Past the test harness, which shows nothing of a test that passes: what a client left out is to be seen.
fn say(text: &str) -> Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}

/// `prefix` is a path before all others. Nothing is left of what the clients made when this ends.
async fn live(clients: &[&str], prefix: &str, namespace: &Namespace) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let before = namespace.remains().await?;
    // Keeps the model there, so that what each client makes starts at once.
    let mut keeper: InferenceEndpoint = example("minimal.yaml")?;
    keeper.metadata.name = Some("clients-keeper".to_owned());
    let endpoints: Api<InferenceEndpoint> = namespace.api();
    let name = endpoints.create(&PostParams::default(), &keeper).await?.name_any();
    namespace.ready_endpoint(&name).await?;
    let gateway = Gateway::open().await?;
    let url = format!("{}{prefix}", gateway.url);
    let mut ended = Ok(());
    for client in clients {
        ended = ended.and(lives(client, &url).await);
    }
    endpoints.delete(&name, &DeleteParams::default()).await?;
    ended?;
    namespace.until_remains(&before).await
}

async fn lives(client: &str, url: &str) -> Result<()> {
    let command = repository().join("tests/clients/run");
    let output = Command::new(command).args([client, url]).stdin(Stdio::null()).output().await;
    let output = output.context("failed to run tests/clients/run")?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    say(&format!("{client} at {url}:\n{text}"))?;
    ensure!(output.status.success(), "the client {client} ended with {}:\n{text}", output.status);
    Ok(())
}

#[tokio::test]
async fn the_official_clients_create_infer_update_and_delete() -> Result<()> {
    // The gateway's own namespace is at no prefix.
    let default = Namespace { client: e2e::client().await?, name: "default".to_owned() };
    live(&["python-8", "python-9", "javascript", "java"], "", &default).await
}

/// A tenant's users get an address with a path, and each of the clients must keep it before its own paths.
#[tokio::test]
async fn the_official_clients_work_below_a_path_prefix() -> Result<()> {
    with_namespace("clients", async |namespace| {
        let prefix = format!("/namespaces/{}", namespace.name);
        live(&["python-9", "javascript", "java"], &prefix, &namespace).await
    })
    .await
}
