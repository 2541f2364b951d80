//! An API server of the test's own, a real one, which it may kill and start again.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lexiscale_operator::gateway::api;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::cluster::{Cluster, install_crds};

/// From nothing, or with a build of its programs behind it that was cut off.
const PATIENCE: Duration = Duration::from_mins(2);
const NAMESPACE: &str = "tested";

/// Its processes end when this is dropped, or with the test's own process, as their standard input ends.
pub(crate) struct ApiServer {
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl ApiServer {
    /// Its cluster, as the test sees it, and as gateways do.
    pub(crate) async fn start() -> (Self, Cluster, Cluster) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster/own-api-server");
        let mut script = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Self {
            commands: script.stdin.take().unwrap(),
            answers: BufReader::new(script.stdout.take().unwrap()).lines(),
        };
        let kubeconfig = server.command("start").await;
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config.clone()).unwrap();
        install_crds(&client).await;
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let seen_by = |client| Cluster { client, namespace: NAMESPACE.to_owned() };
        (server, seen_by(client), seen_by(api::client(config).unwrap()))
    }

    /// By SIGKILL.
    pub(crate) async fn kill(&mut self) {
        assert_eq!(self.command("stop").await, "stopped");
    }

    /// On the same port, with what it had stored.
    pub(crate) async fn start_again(&mut self) {
        self.command("start").await;
    }

    async fn command(&mut self, command: &str) -> String {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.answers.next_line()).await.unwrap().unwrap();
        answer.unwrap_or_else(|| panic!("no answer to {command}: its standard error says why"))
    }
}
