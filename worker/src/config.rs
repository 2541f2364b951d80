//! The command line. Everything that can be set is here, with its default and its environment variable.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};
use lexiscale_tls::Files;
use lexiscale_wire::{MaxRatio, MinWeight, OutOfBounds, Pruning};

use crate::bench;
use crate::embedder::Settings;
use crate::fetch;
use crate::model::address_policy::{Address, AddressPolicy};
use crate::model::credentials::{Credentials, Hidden};
use crate::model::download::Pace;
use crate::model::fetch::Wish;
use crate::model::intake::Intake;
use crate::model::remote::Access;
use crate::model::retry::RetryPolicy;
use crate::model::signature::PublicKey;
use crate::model::source::{RevisionName, Source, is_sha256};
use crate::model::transport::Timeouts;
use crate::precision::PrecisionSetting;
use crate::serve;
use crate::telemetry::{LogFormat, Stream};

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
    Fetch(FetchArgs),
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
pub struct FetchArgs {
    #[command(flatten)]
    download: DownloadArgs,

    /// Folder to publish in; the model is DIR/model afterwards.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Address to answer GET /progress on.
    #[arg(long, default_value = "0.0.0.0:8081")]
    listen: SocketAddr,

    /// File for the report on how the fetch ended, as JSON.
    #[arg(long, value_name = "FILE", default_value = TERMINATION_LOG)]
    pub termination_log: PathBuf,
}

impl FetchArgs {
    pub fn options(&self) -> fetch::Options {
        fetch::Options { wish: self.download.wish(&self.output), listen: self.listen }
    }
}

#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Download a model and pack its files, their hashes and where they came from into one tar file.
    Create(Box<BundleCreateArgs>),
    /// Unpack a bundle, check it, convert the model where needed, and publish it as DIR/model.
    Load(BundleLoadArgs),
}

#[derive(Args, Debug)]
pub struct BundleCreateArgs {
    #[command(flatten)]
    download: DownloadArgs,

    /// The bundle to write, ending in .tar.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

impl BundleCreateArgs {
    /// Files gather beside the bundle, so that an interrupted download goes on.
    pub fn wish(&self) -> Wish {
        let folder = self.output.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.download.wish(folder.unwrap_or(Path::new(".")))
    }
}

#[derive(Args, Debug)]
pub struct BundleLoadArgs {
    /// The bundle.
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Folder to publish in; the model is DIR/model afterwards.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,

    /// Key in PEM that must have signed the bundle's `SHA256SUMS`.
    #[arg(long, value_name = "PEM", allow_hyphen_values = true)]
    public_key: Option<PublicKey>,

    /// Largest model.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_BYTES)]
    max_bytes: u64,

    /// The ONNX Runtime library, on which a model is tried out before it is published.
    #[arg(long, value_name = "FILE", default_value = LIBRARY, env = "ORT_DYLIB_PATH")]
    onnxruntime: PathBuf,
}

impl BundleLoadArgs {
    /// A bundle is a model on a volume. The name of the claim is of no importance here.
    pub fn wish(&self) -> Result<Wish, crate::model::source::SourceError> {
        let file = self.input.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.input.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(Wish {
            source: format!("pvc://bundle/{file}").parse()?,
            revision: RevisionName::default(),
            output: self.output.clone(),
            access: Access {
                endpoint: None,
                credentials: Credentials::default(),
                policy: AddressPolicy::default(),
                timeouts: Timeouts::default(),
                claim_folder: Some(folder.unwrap_or(Path::new(".")).to_owned()),
            },
            secret: None,
            checksums: BTreeMap::new(),
            public_key: self.public_key.clone(),
            pinned: None,
            max_bytes: self.max_bytes,
            retry: RetryPolicy::default(),
            pace: Pace::default(),
            intake: in_child(&self.onnxruntime),
        })
    }
}

fn in_child(onnxruntime: &Path) -> Intake {
    Intake::Child { program: PathBuf::from(OWN_PROGRAM), runtime: Some(onnxruntime.to_owned()), limits: None }
}

const MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// What is downloaded and how.
#[derive(Args, Debug)]
struct DownloadArgs {
    /// Where the model comes from: `hf://ORGANISATION/NAME`, `https://HOST/FOLDER/`, `s3://BUCKET/PREFIX`, `pvc://CLAIM/PATH` or
    /// `oci://REGISTRY/REPOSITORY:TAG@DIGEST`.
    #[arg(long, value_name = "SOURCE")]
    source: Source,

    /// Commit, branch or tag; or `sha256-` and the digest that an earlier fetch resolved to.
    #[arg(long, default_value = "main")]
    revision: RevisionName,

    /// Address of the hub, of the S3 service, or of a mirror of the registry. Defaults to the public one of its kind.
    #[arg(long, value_name = "URL")]
    hub_endpoint: Option<String>,

    /// Token for repositories that are not public, better given by its variable. Sent to the source's own address only.
    #[arg(long, value_name = "TOKEN", env = "HF_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// Folder with the files of a mounted Secret: token, username and password, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`
    /// (with `AWS_SESSION_TOKEN` and `AWS_REGION`), or .dockerconfigjson.
    #[arg(long, value_name = "DIR")]
    secret_folder: Option<PathBuf>,

    /// Where the volume of a `pvc://` source is mounted.
    #[arg(long, value_name = "DIR")]
    claim_folder: Option<PathBuf>,

    /// Allow plain http, every port, and private and loopback addresses.
    #[arg(long)]
    allow_private_addresses: bool,

    /// Allow the same for this server only; repeat it for several.
    #[arg(long = "trusted-server", value_name = "URL", value_parser = Address::parse)]
    trusted_servers: Vec<Address>,

    /// Allow this port beside 443; repeat it for several.
    #[arg(long = "allow-port", value_name = "PORT")]
    ports: Vec<u16>,

    /// sha256 that a file must have; repeat it for every file that the model needs.
    #[arg(long = "checksum", value_name = "FILE=SHA256", value_parser = checksum)]
    checksums: Vec<(String, String)>,

    /// Key in PEM (ECDSA over P-256, or Ed25519) that must have signed `SHA256SUMS`, with the signature in `SHA256SUMS.sig` beside it.
    #[arg(long, value_name = "PEM", allow_hyphen_values = true)]
    public_key: Option<PublicKey>,

    /// Digest over the files that an earlier fetch reported as `sourceDigest`.
    #[arg(long, value_name = "DIGEST")]
    pinned_digest: Option<String>,

    /// Largest download.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_BYTES)]
    max_bytes: u64,

    /// Tries in a row without a new byte before the fetch fails.
    #[arg(long, value_name = "TRIES", default_value_t = 6, value_parser = value_parser!(u32).range(1..=100))]
    attempts: u32,

    /// Seconds without a byte before a try counts as failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    idle_timeout: f64,

    /// The ONNX Runtime library, on which a model is tried out before it is published.
    #[arg(long, value_name = "FILE", default_value = LIBRARY, env = "ORT_DYLIB_PATH")]
    onnxruntime: PathBuf,

    /// Bytes a second that a transfer must bring, over half a minute.
    #[arg(long, value_name = "BYTES", default_value_t = Pace::default().floor)]
    min_rate: u64,
}

impl DownloadArgs {
    fn wish(&self, output: &Path) -> Wish {
        let token = self.token.as_deref().and_then(Hidden::new);
        Wish {
            source: self.source.clone(),
            revision: self.revision.clone(),
            output: output.to_owned(),
            access: Access {
                endpoint: self.hub_endpoint.clone(),
                credentials: token.map_or_else(Credentials::default, Credentials::of_token),
                policy: AddressPolicy {
                    allow_private: self.allow_private_addresses,
                    trusted: self.trusted_servers.clone(),
                    ports: self.ports.clone(),
                },
                timeouts: Timeouts {
                    idle: Duration::from_secs_f64(self.idle_timeout),
                    ..Timeouts::default()
                },
                claim_folder: self.claim_folder.clone(),
            },
            secret: self.secret_folder.clone(),
            checksums: self.checksums.iter().cloned().collect(),
            public_key: self.public_key.clone(),
            pinned: self.pinned_digest.clone(),
            max_bytes: self.max_bytes,
            retry: RetryPolicy { attempts: self.attempts, ..RetryPolicy::default() },
            pace: Pace { floor: self.min_rate, ..Pace::default() },
            intake: in_child(&self.onnxruntime),
        }
    }
}

fn checksum(text: &str) -> Result<(String, String), String> {
    let (name, sha256) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form FILE=SHA256"))?;
    if is_sha256(sha256) {
        Ok((name.to_owned(), sha256.to_owned()))
    } else {
        Err(format!("{sha256:?} is not a sha256 of 64 digits"))
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
