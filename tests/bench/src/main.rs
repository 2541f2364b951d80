//! Benchmarks of whole programs, peer and ours in one run on the same machine. Load goes to this machine only.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and progress are what it is for")]

mod api;
mod burst;
mod client;
mod engine;
mod figures;
mod gateway;
mod load;
mod process;
mod serving;
mod stage;
mod start;
mod wire;
mod worker;

use std::path::Path;

use anyhow::{Result, ensure};
use clap::Parser;

use self::figures::{Bar, Figures, Verdict};

/// Measures, prints a table, and writes target/bench/NAME.json.
#[derive(Parser)]
#[command(name = "lexiscale-bench")]
enum Command {
    Burst(burst::Settings),
    Gateway(gateway::Settings),
    Start(start::Settings),
    Worker(serving::Settings),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Burst(settings) => tell("burst", &burst::run(&settings).await?, &burst::BARS),
        Command::Gateway(settings) => {
            process::pin_self()?;
            tell("gateway", &gateway::run(&settings).await?, &gateway::BARS)
        }
        Command::Start(settings) => tell("start", &start::run(&settings).await?, &start::BARS),
        Command::Worker(settings) => {
            println!("{}", serving::run(&settings).await?);
            Ok(())
        }
    }
}

fn tell(name: &str, figures: &Figures, bars: &[Bar]) -> Result<()> {
    let verdicts = figures.judge(bars);
    print!("{}\n{}", figures.table(), verdicts.iter().map(Verdict::to_string).collect::<String>());
    figures.write(&Path::new("target/bench").join(name).with_extension("json"), &verdicts)?;
    ensure!(verdicts.iter().all(|verdict| verdict.holds != Some(false)), "a bar is missed");
    Ok(())
}
