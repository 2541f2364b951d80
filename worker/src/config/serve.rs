//! What `serve` is told.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};
use lexiscale_tls::Files;
use lexiscale_wire::{MaxRatio, MinWeight, OutOfBounds, Pruning};

use super::{LIBRARY, TERMINATION_LOG, seconds, size};
use crate::embedder::Settings;
use crate::precision::PrecisionSetting;
use crate::serve;

#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Folder that `fetch` has published.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Texts that run side by side, and threads of a text that runs alone; the pod's CPU limit. Never more than the CPUs that the
    /// process may use.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    threads: u16,

    /// Arithmetic of the model.
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionSetting,

    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Address to answer health, metrics, information and load on too, always in plain HTTP and never with inference: for probes
    /// and scrapes, which have no certificate.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    traces: lexiscale_trace::Settings,

    /// The ONNX Runtime library.
    #[arg(long, value_name = "FILE", default_value = LIBRARY, env = "ORT_DYLIB_PATH")]
    onnxruntime: PathBuf,

    /// Texts that may wait; a request beyond that is answered with 429.
    #[arg(long, value_name = "TEXTS", default_value_t = 2048, value_parser = value_parser!(u32).range(1..))]
    queue_capacity: u32,

    /// Texts in one request.
    #[arg(long, value_name = "TEXTS", default_value_t = 1024, value_parser = value_parser!(u32).range(1..))]
    max_texts: u32,

    #[command(flatten)]
    output: OutputArgs,

    /// Seconds between turning unready and closing the port, so that no new request is sent here any more.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    drain_delay: f64,

    /// Seconds for requests that are in flight when the port closes.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = seconds)]
    grace: f64,

    /// Seconds without a request after which the worker measures itself, once and for a second at most; /info tells what came of
    /// it. 0 for never.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    measure_after: f64,

    /// File for the reason why the model cannot be served.
    #[arg(long, value_name = "FILE", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
}

impl ServeArgs {
    pub fn options(&self) -> serve::Options {
        serve::Options {
            model: self.model.clone(),
            library: self.onnxruntime.clone(),
            listen: self.listen,
            admin_listen: self.admin_listen,
            tls: self.tls.files(),
            traces: self.traces.clone(),
            settings: Settings {
                threads: available_threads(usize::from(self.threads)),
                precision: self.precision,
                queue_capacity: size(self.queue_capacity),
                max_texts: size(self.max_texts),
                pruning: self.output.pruning(),
            },
            drain_delay: Duration::from_secs_f64(self.drain_delay),
            grace: Duration::from_secs_f64(self.grace),
            measure_after: Some(Duration::from_secs_f64(self.measure_after)).filter(|quiet| !quiet.is_zero()),
        }
    }
}

/// What is given out of each vector. A request may say otherwise, part by part.
#[derive(Args, Clone, Copy, Debug)]
struct OutputArgs {
    /// Give out so many of each vector's largest weights, at most.
    #[arg(long, value_name = "WEIGHTS")]
    top_k: Option<NonZeroU32>,

    /// Give out weights of at least this share of the vector's largest, from 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = bounded::<MaxRatio>)]
    max_ratio: Option<MaxRatio>,

    /// Give out weights of at least this much.
    #[arg(long, value_name = "WEIGHT", value_parser = bounded::<MinWeight>)]
    min_weight: Option<MinWeight>,
}

impl OutputArgs {
    fn pruning(self) -> Pruning {
        let Self { top_k, max_ratio, min_weight } = self;
        Pruning { top_k, max_ratio, min_weight }
    }
}

fn bounded<T: TryFrom<f32, Error = OutOfBounds>>(text: &str) -> Result<T, String> {
    let number: f32 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    T::try_from(number).map_err(|error| error.to_string())
}

#[derive(Args, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of fields are the names of flags")]
struct TlsArgs {
    /// Serve HTTPS with this certificate chain, in PEM. Read again when it changes.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key_file", "tls_client_ca_file"])]
    tls_cert_file: Option<PathBuf>,

    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,

    /// Authority, in PEM, that must have signed a client's certificate; nobody else is served.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_client_ca_file: Option<PathBuf>,
}

impl TlsArgs {
    fn files(&self) -> Option<Files> {
        let Self { tls_cert_file, tls_key_file, tls_client_ca_file: ca } = self;
        let (cert, key) = tls_cert_file.clone().zip(tls_key_file.clone())?;
        Some(Files { cert, key, ca: ca.clone() })
    }
}

/// What was asked for, but never more than the cgroup's quota and the affinity mask allow: threads that compete for a CPU make each
/// other slower.
fn available_threads(asked: usize) -> usize {
    std::thread::available_parallelism().map_or(asked, |available| asked.min(available.get()))
}
