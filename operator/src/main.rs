//! Parses the command line and calls.

use clap::{Parser, Subcommand};
use lexiscale_operator::{api_key_command, controller, crds_command, gateway, shutdown, telemetry};

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
    /// Keep the cluster as the `InferenceEndpoint` and `ModelCache` objects ask.
    Controller(controller::Settings),
    /// Serve the `_inference` API and hand requests to the workers.
    Gateway(gateway::Settings),
    /// Create or upgrade the custom resource definitions, and wait until the API server serves them.
    Crds(crds_command::Settings),
    /// Make an API key: the manifest for the gateway's Secret on standard output, the key on standard error.
    ApiKey(api_key_command::Settings),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { log_format, command } = Arguments::parse();
    telemetry::init(log_format)?;
    let shutdown = shutdown::token()?;
    let client = kube::Client::try_default;
    match command {
        Command::Controller(settings) => Box::pin(controller::run(settings, client().await?, shutdown)).await,
        Command::Gateway(settings) => gateway::run(settings, client().await?, shutdown).await,
        Command::Crds(settings) => crds_command::run(settings, client().await?).await,
        Command::ApiKey(settings) => api_key_command::run(settings, std::io::stdout(), std::io::stderr()),
    }
}
