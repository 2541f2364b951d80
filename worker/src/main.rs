//! Parses the command line and calls.

use std::process::ExitCode;

use clap::Parser;
use lexiscale_worker::command;
use lexiscale_worker::config::Cli;
use lexiscale_worker::telemetry;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(cli.log_format, &cli.log_filter, cli.command.log_stream());
    command::run(cli.command)
}
