//! How a fetch can fail, and the reason that its report gives.

use std::io;
use std::path::Path;

use lexiscale_wire::{ByteSize, FetchReason};

use crate::backend::onnx::LoadError;
use crate::model::assemble::AssembleError;
use crate::model::config::ConfigError;
use crate::model::convert::ConvertError;
use crate::model::download::DownloadError;
use crate::model::golden::GoldenError;
use crate::model::hub::HubError;
use crate::model::inspect::InspectError;
use crate::model::intake::IntakeError;
use crate::model::layout::LayoutError;
use crate::model::select::SelectError;
use crate::model::space;
use crate::model::static_search::StaticSearchError;

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
    #[error(transparent)]
    Intake(#[from] IntakeError),
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
            Self::Intake(error) => error.reason(),
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
            | FetchReason::InvalidModel
            | FetchReason::UnsafeModel => false,
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
            | InspectError::Version { .. }
            | InspectError::Part { .. }
            | InspectError::Outputs { .. } => FetchReason::UnsupportedModel,
            InspectError::Operator { .. } | InspectError::Metadata { .. } | InspectError::TooMuch { .. } => {
                FetchReason::UnsafeModel
            }
            InspectError::Invalid { .. } | InspectError::Read(_) => FetchReason::InvalidModel,
        },
        AssembleError::Tokenizer(error) if error.is_hostile() => FetchReason::UnsafeModel,
        AssembleError::Layout(LayoutError::Unsupported { .. } | LayoutError::Pooling(_))
        | AssembleError::StaticSearch(StaticSearchError::Tokenizer)
        | AssembleError::Root { .. } => FetchReason::UnsupportedModel,
        AssembleError::Layout(LayoutError::Path { .. }) => FetchReason::UnsafeModel,
        AssembleError::Layout(LayoutError::Read { .. } | LayoutError::Parse { .. })
        | AssembleError::StaticSearch(_)
        | AssembleError::Tokenizer(_)
        | AssembleError::Tokens(_)
        | AssembleError::Vocabulary
        | AssembleError::VocabularySize { .. }
        | AssembleError::Setting { .. } => FetchReason::InvalidModel,
        AssembleError::Golden(error) => match error {
            // A library that is not there is no fault of the model.
            GoldenError::Load(LoadError::Library { .. }) | GoldenError::Verify(_) => FetchReason::Internal,
            GoldenError::Load(_) | GoldenError::Differs { .. } => FetchReason::UnsupportedModel,
            GoldenError::Tokenizer(_)
            | GoldenError::Text { .. }
            | GoldenError::Run(_)
            | GoldenError::Config(_)
            | GoldenError::Weights(_)
            | GoldenError::Read(_)
            | GoldenError::Empty => FetchReason::InvalidModel,
        },
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
