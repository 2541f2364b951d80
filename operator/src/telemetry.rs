//! Log lines on standard error, as text for people or as JSON for machines. `RUST_LOG` chooses what is logged.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt, util::TryInitError};

/// kube wraps each pass in a span that repeats on every line what the line says itself. Its client logs each request that
/// fails, which is a flood while the API server is away; whoever asked knows, and says it.
const DEFAULT_FILTER: &str =
    "info,kube=warn,kube_client=warn,kube_client::client::builder=off,kube_runtime=warn";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. Call once.
pub fn init(format: LogFormat) -> Result<(), TryInitError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    let writer =
        fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_target(false);
    match format {
        LogFormat::Text => registry.with(writer).try_init(),
        LogFormat::Json => registry.with(writer.json().flatten_event(true)).try_init(),
    }
}
