//! How a fetch can fail, and the reason that its report gives.

use std::io;
use std::path::Path;

use lexiscale_wire::{ByteSize, FetchReason};

use crate::model::assemble::AssembleError;
use crate::model::config::ConfigError;
use crate::model::convert::ConvertError;
use crate::model::download::DownloadError;
use crate::model::hub::HubError;
use crate::model::inspect::InspectError;
use crate::model::select::SelectError;
use crate::model::space;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error("the hub lists {name:?}, which is not a name that is written to a volume")]
    Name { name: String },
    #[error("the hub does not say how large {name} is")]
    UnknownSize { name: String },
    #[error("the hub does not announce a hash of {name}, so its content cannot be verified")]
    UnknownHash { name: String },
    #[error("the model's files have {}, more than the {} that are allowed", ByteSize(*bytes), ByteSize(*limit))]
    TooLarge { bytes: u64, limit: u64 },
    #[error("the volume has {} free, but {} are needed for this model", ByteSize(*available), ByteSize(*needed))]
    NoSpace { available: u64, needed: u64 },
    #[error("another fetch is at work in {folder}")]
    Locked { folder: String },
    #[error("failed to use {path}")]
    Volume {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    pub fn reason(&self) -> FetchReason {
        if space::caused_by_full_volume(self) {
            return FetchReason::InsufficientStorage;
        }
        match self {
            Self::Hub(error) | Self::Download(DownloadError::Hub(error)) => hub_reason(error),
            Self::Download(DownloadError::Broken { .. }) => FetchReason::HubUnreachable,
            Self::Download(DownloadError::Wrong { .. }) => FetchReason::ChecksumMismatch,
            Self::Download(DownloadError::Interrupted) => FetchReason::Interrupted,
            Self::NoSpace { .. } => FetchReason::InsufficientStorage,
            Self::Select(_) => FetchReason::UnsupportedModel,
            Self::Config(error) => config_reason(error),
            Self::Assemble(error) => assemble_reason(error),
            Self::Name { .. }
            | Self::UnknownSize { .. }
            | Self::UnknownHash { .. }
            | Self::TooLarge { .. } => FetchReason::InvalidModel,
            Self::Download(DownloadError::Write { .. }) | Self::Locked { .. } | Self::Volume { .. } => {
                FetchReason::Internal
            }
        }
    }

    /// Whether what lies on the volume helps the next try.
    pub(super) fn keeps_partial(&self) -> bool {
        match self.reason() {
            FetchReason::HubUnreachable
            | FetchReason::Interrupted
            | FetchReason::Internal
            | FetchReason::Unauthorized => true,
            FetchReason::ModelNotFound
            | FetchReason::RevisionNotFound
            | FetchReason::InsufficientStorage
            | FetchReason::ChecksumMismatch
            | FetchReason::UnsupportedModel
            | FetchReason::InvalidModel => false,
        }
    }
}

fn hub_reason(error: &HubError) -> FetchReason {
    match error {
        HubError::RepositoryNotFound { .. } => FetchReason::ModelNotFound,
        HubError::RevisionNotFound { .. } => FetchReason::RevisionNotFound,
        HubError::FileNotFound { .. } => FetchReason::InvalidModel,
        HubError::Unauthorized { .. } => FetchReason::Unauthorized,
        HubError::Status { .. }
        | HubError::Unreachable { .. }
        | HubError::Listing { .. }
        | HubError::Redirect { .. }
        | HubError::Address { .. } => FetchReason::HubUnreachable,
    }
}

fn assemble_reason(error: &AssembleError) -> FetchReason {
    match error {
        AssembleError::Convert(error) => match error {
            ConvertError::Config(error) => config_reason(error),
            ConvertError::Pooling(_) | ConvertError::TooLarge { .. } => FetchReason::UnsupportedModel,
            ConvertError::Weights(_) | ConvertError::Read { .. } => FetchReason::InvalidModel,
            ConvertError::Write(_) => FetchReason::Internal,
        },
        AssembleError::Inspect(error) => match error {
            InspectError::ExternalData
            | InspectError::Domain { .. }
            | InspectError::Input { .. }
            | InspectError::Outputs { .. } => FetchReason::UnsupportedModel,
            InspectError::Invalid { .. } | InspectError::Read(_) => FetchReason::InvalidModel,
        },
        AssembleError::Tokenizer(_)
        | AssembleError::TokenizerPanic
        | AssembleError::Vocabulary
        | AssembleError::Setting { .. } => FetchReason::InvalidModel,
        AssembleError::File { .. } => FetchReason::Internal,
    }
}

fn config_reason(error: &ConfigError) -> FetchReason {
    match error {
        ConfigError::Architecture { .. } | ConfigError::Setting { .. } => FetchReason::UnsupportedModel,
        ConfigError::Parse(_)
        | ConfigError::Missing { .. }
        | ConfigError::OutOfBounds { .. }
        | ConfigError::Heads { .. } => FetchReason::InvalidModel,
    }
}

pub(super) fn volume(path: &Path, source: io::Error) -> FetchError {
    FetchError::Volume { path: path.display().to_string(), source }
}
