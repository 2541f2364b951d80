//! Parses the command line and calls.

use std::io;

use clap::{Parser, Subcommand};
use lexiscale_operator::{
    api_key_command, controller, crds_command, decide_command, gateway, shutdown, telemetry,
};

/// Sparse-embedding endpoints on Kubernetes.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// How log lines are written.
    #[arg(long, global = true, env = "LEXISCALE_LOG_FORMAT", value_enum, default_value_t)]
    log_format: telemetry::LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    OnCluster(Box<OnCluster>),
    /// Make an API key: the manifest for the gateway's Secret on standard output, the key on standard error.
    ApiKey(api_key_command::Settings),
    /// Decide how many allocations load asks for, one JSON line for each on standard input: the simulator's protocol.
    Decide(decide_command::Settings),
}

/// What needs a cluster.
#[derive(Subcommand)]
enum OnCluster {
    /// Keep the cluster as the `InferenceEndpoint` and `ModelCache` objects ask.
    Controller(Box<controller::Settings>),
    /// Serve the `_inference` API and hand requests to the workers.
    Gateway(Box<gateway::Settings>),
    /// Create or upgrade the custom resource definitions, and wait until the API server serves them.
    Crds(crds_command::Settings),
}

fn main() -> anyhow::Result<()> {
    let Arguments { log_format, command } = Arguments::parse();
    telemetry::init(log_format)?;
    match command {
        Command::OnCluster(command) => on_cluster(*command),
        Command::ApiKey(settings) => api_key_command::run(settings, io::stdout(), io::stderr()),
        Command::Decide(settings) => {
            decide_command::run(&settings, io::stdin().lock(), io::stdout().lock(), io::stderr())
        }
    }
}

#[tokio::main]
async fn on_cluster(command: OnCluster) -> anyhow::Result<()> {
    let shutdown = shutdown::token()?;
    let client = kube::Client::try_default;
    match command {
        OnCluster::Controller(settings) => {
            Box::pin(controller::run(*settings, client().await?, shutdown)).await
        }
        OnCluster::Gateway(settings) => {
            let client = gateway::api::client(kube::Config::infer().await?)?;
            gateway::run(*settings, client, shutdown).await
        }
        OnCluster::Crds(settings) => crds_command::run(settings, client().await?).await,
    }
}
