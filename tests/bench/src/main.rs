//! Benchmarks of whole programs, peer and ours in one run on the same machine. Load goes to 127.0.0.1 only.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and progress are what it is for")]

mod api;
mod clock;
mod figures;
mod gateway;
mod load;
mod process;
mod wire;
mod worker;

use std::path::Path;

use anyhow::Result;
use clap::Parser;

/// Measures, prints a table, and writes target/bench/NAME.json.
#[derive(Parser)]
#[command(name = "lexiscale-bench")]
enum Command {
    Gateway(gateway::Settings),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Command::Gateway(settings) = Command::parse();
    process::pin_self()?;
    let figures = gateway::run(&settings).await?;
    print!("{}\n{}", figures.table(), figures.verdicts(&gateway::BARS));
    figures.write(Path::new("target/bench/gateway.json"))
}
