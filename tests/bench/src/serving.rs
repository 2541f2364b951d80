//! `bench worker`: load on a worker that runs already, for `tests/bench/worker/run`. What was measured goes to standard output as
//! one line of JSON.

mod answers;
mod load;
mod soak;
mod texts;

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::Value;

/// Loads a worker of this machine.
#[derive(clap::Args)]
pub(crate) struct Settings {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// As many documents as it answers, for a while.
    Load(load::Settings),
    /// A mix of everything for long, each answer compared, and an end in the middle of it.
    Soak(soak::Settings),
}

pub(crate) async fn run(settings: &Settings) -> Result<Value> {
    match &settings.what {
        What::Load(settings) => load::run(settings).await,
        What::Soak(settings) => soak::run(settings).await,
    }
}

/// Load must not leave this machine.
fn on_this_machine(address: SocketAddr) -> Result<()> {
    ensure!(address.ip().is_loopback(), "{address} is not on this machine; load goes to 127.0.0.1 only");
    Ok(())
}
