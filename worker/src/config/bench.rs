//! What `bench` is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use lexiscale_wire::Pruning;

use super::{LIBRARY, seconds, size};
use crate::bench;
use crate::embedder::Settings;
use crate::precision::PrecisionSetting;

#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Folder that `fetch` has published.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Threads of inference; those of the machine, or of the container's CPU limit, if not given.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    threads: Option<u16>,

    /// Arithmetic of the model.
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionSetting,

    /// The ONNX Runtime library.
    #[arg(long, value_name = "FILE", default_value = LIBRARY, env = "ORT_DYLIB_PATH")]
    onnxruntime: PathBuf,

    /// Seconds for all of it, loading not counted: shared evenly by queries and each length, and that by five rounds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    seconds: f64,

    /// Tokens of the documents, special ones included; cut to the model's window.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "16,50,128,256",
          value_parser = value_parser!(u32).range(4..=65_536))]
    lengths: Vec<u32>,

    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl BenchArgs {
    pub fn options(&self) -> bench::Options {
        // Follows the container's limit, and not the machine's CPUs.
        let threads = self.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            usize::from,
        );
        bench::Options {
            model: self.model.clone(),
            library: self.onnxruntime.clone(),
            settings: Settings {
                threads,
                precision: self.precision,
                queue_capacity: 2048,
                max_texts: 1024,
                pruning: Pruning::default(),
            },
            time: Duration::from_secs_f64(self.seconds.max(0.1)),
            lengths: self.lengths.iter().map(|tokens| size(*tokens)).collect(),
        }
    }
}
