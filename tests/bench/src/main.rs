//! Benchmarks of whole programs, peer and ours in one run on the same machine. Load goes to this machine only.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and progress are what it is for")]

mod api;
mod burst;
mod figures;
mod gateway;
mod load;
mod process;
mod stage;
mod stalled;
mod start;
mod worker;

use std::path::Path;

use anyhow::Result;
use clap::Parser;

/// Measures, prints a table, and writes target/bench/NAME.json.
#[derive(Parser)]
#[command(name = "lexiscale-bench")]
enum Command {
    Burst(burst::Settings),
    Gateway(gateway::Settings),
    Start(start::Settings),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Gateway(settings) => {
            process::pin_self()?;
            let figures = gateway::run(&settings).await?;
            print!("{}", figures.table());
            figures.write(Path::new("target/bench/gateway.json"))?;
            println!(
                "\nThe gateway adds {:.2} ms (p50) and {:.2} ms (p99); a core carries {:.0} requests/s, nginx {:.0}.",
                figures.median("added_p50_gateway_ms"),
                figures.median("added_p99_gateway_ms"),
                figures.median("requests_per_core_second_gateway"),
                figures.median("requests_per_core_second_nginx"),
            );
        }
        Command::Burst(settings) => {
            let figures = burst::run(&settings).await?;
            print!("{}", figures.table());
            figures.write(Path::new("target/bench/burst.json"))?;
        }
        Command::Start(settings) => {
            let figures = start::run(&settings).await?;
            print!("{}", figures.table());
            figures.write(Path::new("target/bench/start.json"))?;
        }
    }
    Ok(())
}
