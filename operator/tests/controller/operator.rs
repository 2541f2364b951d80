//! The operator, in this process or as the real binary.

use std::process::Stdio;

use clap::{Args, FromArgMatches};
use kube::{Client, Config};
use lexiscale_operator::controller::{self, Settings};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{cluster::World, fixtures::CATALOG};

/// A controller in this process.
pub(crate) struct Operator {
    shutdown: CancellationToken,
    run: JoinHandle<anyhow::Result<()>>,
    _catalog: tempfile::NamedTempFile,
}

impl Operator {
    pub(crate) fn start(world: &World, more: &[&str]) -> Self {
        let catalog = catalog();
        let arguments = arguments(world, catalog.path(), more);
        let command = Settings::augment_args(clap::Command::new("controller"));
        let matches = command.try_get_matches_from(arguments).unwrap();
        let settings = Settings::from_arg_matches(&matches).unwrap();
        let client = Client::try_from(Config::new(world.proxy.url.parse().unwrap())).unwrap();
        let shutdown = CancellationToken::new();
        let run = tokio::spawn(controller::run(settings, client, shutdown.clone()));
        Self { shutdown, run, _catalog: catalog }
    }

    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.run.await.unwrap().unwrap();
    }
}

/// The real binary. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    _files: (tempfile::NamedTempFile, tempfile::NamedTempFile),
}

impl Process {
    pub(crate) fn start(world: &World, more: &[&str]) -> Self {
        let catalog = catalog();
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": world.proxy.url}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy", "namespace": world.namespace}}],
            "users": [{"name": "proxy", "user": {}}],
        });
        std::fs::write(kubeconfig.path(), text.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_lexiscale-operator"))
            .args(arguments(world, catalog.path(), more))
            .env("KUBECONFIG", kubeconfig.path())
            .env("RUST_LOG", "off")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, _files: (catalog, kubeconfig) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Its exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }
}

fn arguments(world: &World, catalog: &std::path::Path, more: &[&str]) -> Vec<String> {
    let namespace = &world.namespace;
    let fixed = [
        "controller",
        "--namespace",
        namespace,
        "--instance",
        namespace,
        "--lease-namespace",
        namespace,
        "--catalog",
        catalog.to_str().unwrap(),
        "--worker-image",
        "registry.invalid/worker:1",
        "--cache-storage-class",
        "keeps-pods-without-a-node",
        "--listen",
        "127.0.0.1:0",
    ];
    // Most tests have one operator and no time to wait for another's lease.
    let elects = more.contains(&"--leader-elect=true");
    let alone = (!elects).then_some("--leader-elect=false");
    fixed.into_iter().chain(more.iter().copied()).chain(alone).map(str::to_owned).collect()
}

fn catalog() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), CATALOG).unwrap();
    file
}
