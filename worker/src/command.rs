//! Runs one subcommand to its exit code. The last log line and the termination message say why, when it failed.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use lexiscale_wire::{CERTIFICATE_EXIT_CODE, FetchFailure, FetchReason, FetchReport};

use crate::config::{BenchArgs, Command, ConvertArgs, FetchArgs, ServeArgs};
use crate::model::convert::{Converted, convert};
use crate::model::intake::{self, ChildError};
use crate::serve::ServeError;
use crate::telemetry::chain;
use crate::{bench, fetch, serve, termination};

/// Exit code of a fetch that will fail again until somebody changes something; a Job need not repeat it.
const HOPELESS: u8 = 3;

pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Fetch(arguments) => fetch(&arguments),
        Command::Serve(arguments) => serve(&arguments),
        Command::Bench(arguments) => bench(&arguments, &mut std::io::stdout().lock()),
        Command::Convert(arguments) => convert_files(&arguments),
        Command::Intake => intake(),
    }
}

fn fetch(arguments: &FetchArgs) -> ExitCode {
    let report = match runtime(1) {
        Ok(runtime) => {
            let report = runtime.block_on(fetch::run(arguments.options()));
            runtime.shutdown_background();
            report
        }
        Err(error) => FetchReport::Failed(FetchFailure {
            reason: FetchReason::Internal,
            message: format!("failed to start: {error}"),
            revision: None,
            bytes: 0,
        }),
    };
    termination::write(&arguments.termination_log, &report.to_termination_message());
    match report {
        FetchReport::Succeeded(model) => {
            tracing::info!(
                revision = model.revision,
                digest = model.digest,
                bytes = model.bytes,
                "{}",
                model.message
            );
            ExitCode::SUCCESS
        }
        FetchReport::Failed(failure) => {
            tracing::error!(reason = %failure.reason, kept_bytes = failure.bytes, "{}", failure.message);
            if failure.reason.is_transient() { ExitCode::FAILURE } else { ExitCode::from(HOPELESS) }
        }
    }
}

fn serve(arguments: &ServeArgs) -> ExitCode {
    let options = arguments.options();
    let started = runtime(options.settings.threads).map_err(|error| (ExitCode::FAILURE, chain(&error)));
    let outcome = started.and_then(|runtime| {
        let outcome =
            runtime.block_on(serve::run(options)).map_err(|error| (exit_code(&error), chain(&error)));
        // A model that is still being loaded when the process is told to stop is not waited for.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            termination::write(&arguments.termination_log, &reason);
            tracing::error!("{reason}");
            code
        }
    }
}

fn bench(arguments: &BenchArgs, out: &mut impl Write) -> ExitCode {
    let options = arguments.options();
    let started = runtime(options.settings.threads).map_err(|error| chain(&error));
    let measured =
        started.and_then(|runtime| runtime.block_on(bench::run(options)).map_err(|error| chain(&error)));
    let written = measured.and_then(|report| {
        let text = if arguments.json {
            serde_json::to_string_pretty(&report).map_err(|error| chain(&error))?
        } else {
            report.to_string()
        };
        writeln!(out, "{}", text.trim_end()).map_err(|error| chain(&error))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn exit_code(error: &ServeError) -> ExitCode {
    match error {
        ServeError::Certificate(_) => ExitCode::from(CERTIFICATE_EXIT_CODE),
        ServeError::Listen { .. }
        | ServeError::Traces(_)
        | ServeError::Signals(_)
        | ServeError::Open(_)
        | ServeError::Panicked => ExitCode::FAILURE,
    }
}

fn convert_files(arguments: &ConvertArgs) -> ExitCode {
    let started = Instant::now();
    match convert(&arguments.input, &arguments.output) {
        Ok(Converted { family, vocabulary_size, positions, pooling, bytes }) => {
            let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(?family, vocabulary_size, positions, ?pooling, bytes, milliseconds, "converted");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn intake() -> ExitCode {
    match intake::run_child() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            match error {
                ChildError::Task(_) | ChildError::Limits(_) => ExitCode::from(intake::OWN_FAILURE),
                ChildError::Answer { .. } => ExitCode::FAILURE,
            }
        }
    }
}

/// Two threads for connections, whatever the machine has: the arithmetic has its own.
fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(threads + 2)
        .thread_name("http")
        .enable_all()
        .build()
}
