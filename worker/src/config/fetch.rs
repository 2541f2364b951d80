//! What `fetch` and `bundle` are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::download::{DownloadArgs, MAX_BYTES};
use super::{LIBRARY, TERMINATION_LOG, in_child};
use crate::fetch;
use crate::model::address_policy::AddressPolicy;
use crate::model::credentials::Credentials;
use crate::model::download::Pace;
use crate::model::fetch::Wish;
use crate::model::remote::Access;
use crate::model::retry::RetryPolicy;
use crate::model::signature::PublicKey;
use crate::model::source::{RevisionName, SourceError};
use crate::model::transport::Timeouts;

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
    pub fn wish(&self) -> Result<Wish, SourceError> {
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
                image_folder: None,
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
