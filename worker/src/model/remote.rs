//! Where a model lies, whichever kind of place it is: what its files are, and their bytes from any offset. Resume, verification,
//! progress and publication are the same for all and know nothing of the kinds.

mod bucket;
mod candidates;
mod content;
mod error;
mod folder;
mod hub;
mod listed;
mod mounted;
mod registry;
mod volume;
mod web;

use std::path::PathBuf;

use crate::model::address_policy::{Address, AddressPolicy};
use crate::model::credentials::Credentials;
use crate::model::source::{RevisionName, Source};
use crate::model::transport::{Client, Timeouts};

pub use content::{Content, Resume};
pub use error::RemoteError;

/// What a place says a file's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256(String),
    /// sha1 of the git object.
    GitBlob(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    pub name: String,
    pub size: Option<u64>,
    pub hash: Option<Hash>,
    /// By which the place knows this state of the file.
    pub tag: Option<String>,
}

/// What a revision is, resolved once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// A commit, or a digest over what the place lists: names one state of the model.
    pub id: String,
    pub license: Option<String>,
    pub files: Vec<RemoteFile>,
    /// Tar files that hold the model's files, in the order in which they are laid over each other.
    pub archives: Vec<RemoteFile>,
}

/// Whether a file that no hash is known of may be taken. Its bytes are then those that came first, and stay it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unhashed {
    Refused,
    PinnedAtFirstFetch,
}

pub trait Remote {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError>;

    /// Size and hash of a file, for places whose listing lacks them.
    fn describe(&self, revision: &str, file: &RemoteFile) -> Result<RemoteFile, RemoteError> {
        let Content { size, hash, tag, .. } = self.content(revision, file, None)?;
        let hash = file.hash.clone().or(hash);
        Ok(RemoteFile {
            name: file.name.clone(),
            size: file.size.or(size),
            hash,
            tag: file.tag.clone().or(tag),
        })
    }

    fn content(
        &self,
        revision: &str,
        file: &RemoteFile,
        resume: Option<&Resume>,
    ) -> Result<Content, RemoteError>;

    fn unhashed(&self) -> Unhashed;
}

/// How a place is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Address of a hub, of an S3 service, or of a mirror of a registry. Each kind has its own default.
    pub endpoint: Option<String>,
    pub credentials: Credentials,
    pub policy: AddressPolicy,
    pub timeouts: Timeouts,
    /// Where the volume of a `pvc://` source is mounted.
    pub claim_folder: Option<PathBuf>,
    /// Where the image of an `oci://` source is mounted, if a node has pulled it; nobody is asked then.
    pub image_folder: Option<PathBuf>,
}

pub fn open(source: &Source, access: &Access) -> Result<Box<dyn Remote>, RemoteError> {
    let Access { endpoint, credentials, policy, timeouts, claim_folder, image_folder } = access;
    let client = Client::new(policy.clone(), *timeouts, credentials.authority.as_deref())?;
    let endpoint = endpoint.as_deref().map(|text| text.trim_end_matches('/'));
    Ok(match source {
        Source::Hub { repository } => {
            let endpoint = Address::parse(endpoint.unwrap_or(hub::PUBLIC))?;
            Box::new(hub::Hub::new(client, endpoint, repository.clone(), credentials))
        }
        Source::Web { address } => Box::new(web::Web::new(client, address, credentials)?),
        Source::Bucket { bucket, prefix } => {
            Box::new(bucket::Bucket::new(client, endpoint, bucket, prefix, credentials)?)
        }
        Source::Claim { claim, path } => {
            let root =
                claim_folder.as_ref().ok_or_else(|| RemoteError::NotMounted { claim: claim.clone() })?;
            Box::new(folder::Folder::new(source.to_string(), root, path)?)
        }
        Source::Registry(image) => {
            if let Some(root) = image_folder {
                return Ok(Box::new(mounted::Mounted::new(image.clone(), root)?));
            }
            let endpoint = match endpoint {
                Some(endpoint) => Address::parse(endpoint)?,
                None => Address::parse(&format!("https://{}", image.registry()))?,
            };
            Box::new(registry::Registry::new(client, endpoint, image.clone(), credentials))
        }
    })
}
