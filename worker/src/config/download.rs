//! What is downloaded and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, value_parser};

use super::{LIBRARY, in_child, seconds};
use crate::model::address_policy::{Address, AddressPolicy};
use crate::model::credentials::{Credentials, Hidden};
use crate::model::download::Pace;
use crate::model::fetch::Wish;
use crate::model::remote::Access;
use crate::model::retry::RetryPolicy;
use crate::model::signature::PublicKey;
use crate::model::source::{RevisionName, Source, is_sha256};
use crate::model::transport::Timeouts;

pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;

#[derive(Args, Debug)]
pub(super) struct DownloadArgs {
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

    /// Where the image of an `oci://` source is mounted as a volume: the files are read there, and no registry is asked. The source or
    /// the revision must name the digest that is mounted.
    #[arg(long, value_name = "DIR")]
    image_folder: Option<PathBuf>,

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
    pub(super) fn wish(&self, output: &Path) -> Wish {
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
                image_folder: self.image_folder.clone(),
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
