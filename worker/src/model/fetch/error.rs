//! How a fetch can fail, and the reason that its report gives.

use std::io;
use std::path::Path;

use lexiscale_wire::{ByteSize, FetchReason};

use crate::backend::onnx::LoadError;
use crate::model::assemble::AssembleError;
use crate::model::config::ConfigError;
use crate::model::convert::ConvertError;
use crate::model::credentials::CredentialsError;
use crate::model::download::DownloadError;
use crate::model::golden::GoldenError;
use crate::model::inspect::InspectError;
use crate::model::intake::IntakeError;
use crate::model::layout::LayoutError;
use crate::model::remote::RemoteError;
use crate::model::select::SelectError;
use crate::model::space;
use crate::model::static_search::StaticSearchError;
use crate::model::unpack::UnpackError;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
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
    #[error("the source lists {name:?}, which is not a name that is written to a volume")]
    Name { name: String },
    #[error("the source does not say how large {name} is")]
    UnknownSize { name: String },
    #[error("the source does not announce a hash of {name}, so its content cannot be verified")]
    UnknownHash { name: String },
    #[error("{name} is used, but the checksums that are given do not name it")]
    Unvouched { name: String },
    #[error("{name} has sha256 {found} instead of {expected}")]
    Vouched { name: String, found: String, expected: String },
    #[error("the signature of SHA256SUMS is not what the public key asks for: {reason}")]
    Signature { reason: String },
    #[error("SHA256SUMS cannot be used: {reason}")]
    Sums { reason: String },
    #[error(
        "the files of the source have digest {found}, but this cache was first filled with {pinned}; delete the \
         ModelCache to take what is there now"
    )]
    Pinned { found: String, pinned: String },
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
            Self::Remote(error) | Self::Download(DownloadError::Remote(error)) => remote_reason(error),
            Self::Credentials(CredentialsError::Nothing) => FetchReason::Unauthorized,
            Self::Download(DownloadError::Broken { .. }) => FetchReason::HubUnreachable,
            Self::Download(DownloadError::TooSlow { .. } | DownloadError::TooLong { .. }) => {
                FetchReason::TooSlow
            }
            Self::Download(DownloadError::Wrong { .. }) | Self::Vouched { .. } | Self::Pinned { .. } => {
                FetchReason::ChecksumMismatch
            }
            Self::Download(DownloadError::Interrupted) => FetchReason::Interrupted,
            Self::Signature { .. } => FetchReason::SignatureInvalid,
            Self::NoSpace { .. } => FetchReason::InsufficientStorage,
            Self::Select(_) => FetchReason::UnsupportedModel,
            Self::Config(error) => config_reason(error),
            Self::Assemble(error) => assemble_reason(error),
            Self::Intake(error) => error.reason(),
            Self::Name { .. }
            | Self::UnknownSize { .. }
            | Self::UnknownHash { .. }
            | Self::Unvouched { .. }
            | Self::Sums { .. }
            | Self::Unpack(
                UnpackError::Read { .. }
                | UnpackError::Entries { .. }
                | UnpackError::TooLarge { .. }
                | UnpackError::Twice { .. }
                | UnpackError::Unusable { .. },
            )
            | Self::TooLarge { .. } => FetchReason::InvalidModel,
            Self::Credentials(CredentialsError::Read { .. })
            | Self::Unpack(UnpackError::Write { .. })
            | Self::Download(DownloadError::Write { .. })
            | Self::Locked { .. }
            | Self::Volume { .. } => FetchReason::Internal,
        }
    }

    /// Whether what lies on the volume helps the next try.
    pub(super) fn keeps_partial(&self) -> bool {
        match self.reason() {
            FetchReason::HubUnreachable
            | FetchReason::Interrupted
            | FetchReason::Internal
            | FetchReason::TooSlow
            | FetchReason::Unauthorized => true,
            FetchReason::ModelNotFound
            | FetchReason::RevisionNotFound
            | FetchReason::InsufficientStorage
            | FetchReason::ChecksumMismatch
            | FetchReason::SignatureInvalid
            | FetchReason::AddressNotAllowed
            | FetchReason::UnsupportedModel
            | FetchReason::InvalidModel
            | FetchReason::UnsafeModel => false,
        }
    }
}

fn remote_reason(error: &RemoteError) -> FetchReason {
    match error {
        RemoteError::Refused(_) => FetchReason::AddressNotAllowed,
        RemoteError::ModelNotFound { .. } => FetchReason::ModelNotFound,
        RemoteError::RevisionNotFound { .. } | RemoteError::Changed { .. } => FetchReason::RevisionNotFound,
        RemoteError::FileNotFound { .. } | RemoteError::Unusable { .. } => FetchReason::InvalidModel,
        RemoteError::Unauthorized { .. } => FetchReason::Unauthorized,
        RemoteError::Status { .. }
        | RemoteError::Unreachable { .. }
        | RemoteError::Listing { .. }
        | RemoteError::Redirect { .. } => FetchReason::HubUnreachable,
        RemoteError::NotMounted { .. } | RemoteError::Read { .. } => FetchReason::Internal,
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
        | AssembleError::Kind { .. }
        | AssembleError::Setting { .. } => FetchReason::InvalidModel,
        AssembleError::Golden(error) => match error {
            // A library that is not there is no fault of the model.
            GoldenError::Load(LoadError::Library { .. })
            | GoldenError::Verify(_)
            | GoldenError::Native(_) => FetchReason::Internal,
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
