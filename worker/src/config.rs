//! The command line. Everything that can be set is here, with its default and its environment variable.

mod bench;
mod download;
mod fetch;
mod serve;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::model::intake::Intake;
use crate::telemetry::{LogFormat, Stream};

pub use bench::BenchArgs;
pub use fetch::{BundleCommand, BundleCreateArgs, BundleLoadArgs, FetchArgs};
pub use serve::ServeArgs;

/// Where the image keeps ONNX Runtime.
#[cfg(target_arch = "aarch64")]
const LIBRARY: &str = "/usr/lib/aarch64-linux-gnu/libonnxruntime.so.1";
#[cfg(not(target_arch = "aarch64"))]
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libonnxruntime.so.1";

/// Whatever file this program was started from.
const OWN_PROGRAM: &str = "/proc/self/exe";

const TERMINATION_LOG: &str = "/dev/termination-log";

/// Lexiscale's worker: fetches a sparse embedding model, converts it, and serves it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "text", env = "LOG_FORMAT")]
    pub log_format: LogFormat,

    /// Which log lines there are: a level, or levels by module.
    #[arg(
        long,
        global = true,
        default_value = "info,tk_encode=warn",
        env = "RUST_LOG",
        value_name = "FILTER"
    )]
    pub log_filter: String,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Download a model, check it, convert it where needed, and publish it as DIR/model.
    Fetch(Box<FetchArgs>),
    /// Carry a model to where there is no internet.
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Serve a published model over HTTP.
    Serve(ServeArgs),
    /// Measure what a published model gives on this machine: documents a second by length, latency of a query, memory, and the share
    /// of what the machine can do.
    Bench(BenchArgs),
    /// Turn a masked-language model from safetensors into ONNX with pooling inside.
    Convert(ConvertArgs),
    /// Read a downloaded model's files; what `fetch` runs beside itself.
    #[command(hide = true)]
    Intake,
}

impl Command {
    /// Standard output is for what a command prints, where it prints something.
    pub fn log_stream(&self) -> Stream {
        match self {
            Self::Bench(_) => Stream::Error,
            Self::Fetch(_) | Self::Bundle(_) | Self::Serve(_) | Self::Convert(_) | Self::Intake => {
                Stream::Output
            }
        }
    }
}

#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// Folder with config.json and model.safetensors (or shards and their index).
    #[arg(long, value_name = "DIR")]
    pub input: PathBuf,

    /// The ONNX file to write.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if (0.0..=3600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("must be between 0 and 3600 seconds".to_owned())
    }
}

fn in_child(onnxruntime: &Path) -> Intake {
    Intake::Child { program: PathBuf::from(OWN_PROGRAM), runtime: Some(onnxruntime.to_owned()), limits: None }
}
