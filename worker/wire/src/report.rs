//! The last word of a model fetch, left in the container's termination message for the controller. Kubernetes keeps
//! 4096 bytes of it, so the text is cut to fit and the JSON stays whole.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::FetchDurations;

/// Below the 4096 bytes that the kubelet keeps.
pub const TERMINATION_MESSAGE_BYTES: usize = 4000;

/// `{"outcome":"Succeeded", ...}` or `{"outcome":"Failed","reason": ...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome")]
pub enum FetchReport {
    Succeeded(FetchedModel),
    Failed(FetchFailure),
}

/// What lies in the published folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchedModel {
    pub message: String,
    /// The commit, or the digest of a place without commits, that the asked revision resolved to.
    pub revision: String,
    /// `sha256:` over the published files.
    pub digest: String,
    /// Bytes of the published files.
    pub bytes: u64,
    pub files: u32,
    /// Tokens of one text that the model sees.
    pub max_tokens: u32,
    pub vocabulary_size: u32,
    /// `sha256:` over vocabulary and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<String>,
    /// Estimate of what a worker with this model in fp32 needs at its default limits.
    pub memory_bytes: u64,
    /// Absent from older reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8: Option<FetchedInt8>,
    /// As the repository's card names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// `sha256:` over the files as the source had them. What is fetched again must have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Absent from older reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<FetchDurations>,
}

/// The model's int8 form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchedInt8 {
    /// Whether there is one.
    pub available: bool,
    /// Whether `auto` takes it.
    pub automatic: bool,
    /// How near it comes to fp32, or what is in the way.
    pub message: String,
    /// As `memory_bytes` above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchFailure {
    pub reason: FetchReason,
    /// One sentence for the person who runs the cluster.
    pub message: String,
    /// Known when the hub had answered before the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Bytes that lie on the volume for the next attempt to go on from.
    #[serde(default)]
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FetchReason {
    ModelNotFound,
    RevisionNotFound,
    Unauthorized,
    /// The source, or what it redirects to, is where downloads may not go.
    AddressNotAllowed,
    HubUnreachable,
    TooSlow,
    InsufficientStorage,
    ChecksumMismatch,
    /// The list of checksums is not signed by the key that is asked for.
    SignatureInvalid,
    UnsupportedModel,
    InvalidModel,
    UnsafeModel,
    Interrupted,
    Internal,
}

impl FetchReason {
    pub const ALL: [Self; 14] = [
        Self::ModelNotFound,
        Self::RevisionNotFound,
        Self::Unauthorized,
        Self::AddressNotAllowed,
        Self::HubUnreachable,
        Self::TooSlow,
        Self::InsufficientStorage,
        Self::ChecksumMismatch,
        Self::SignatureInvalid,
        Self::UnsupportedModel,
        Self::InvalidModel,
        Self::UnsafeModel,
        Self::Interrupted,
        Self::Internal,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModelNotFound => "ModelNotFound",
            Self::RevisionNotFound => "RevisionNotFound",
            Self::Unauthorized => "Unauthorized",
            Self::AddressNotAllowed => "AddressNotAllowed",
            Self::HubUnreachable => "HubUnreachable",
            Self::TooSlow => "TooSlow",
            Self::InsufficientStorage => "InsufficientStorage",
            Self::ChecksumMismatch => "ChecksumMismatch",
            Self::SignatureInvalid => "SignatureInvalid",
            Self::UnsupportedModel => "UnsupportedModel",
            Self::InvalidModel => "InvalidModel",
            Self::UnsafeModel => "UnsafeModel",
            Self::Interrupted => "Interrupted",
            Self::Internal => "Internal",
        }
    }

    /// Whether another try of the same fetch may succeed without anybody changing anything.
    pub fn is_transient(self) -> bool {
        match self {
            Self::HubUnreachable
            | Self::TooSlow
            | Self::ChecksumMismatch
            | Self::Interrupted
            | Self::Internal => true,
            Self::ModelNotFound
            | Self::RevisionNotFound
            | Self::Unauthorized
            | Self::AddressNotAllowed
            | Self::SignatureInvalid
            | Self::InsufficientStorage
            | Self::UnsupportedModel
            | Self::InvalidModel
            | Self::UnsafeModel => false,
        }
    }
}

impl fmt::Display for FetchReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FetchReport {
    pub fn message(&self) -> &str {
        match self {
            Self::Succeeded(model) => &model.message,
            Self::Failed(failure) => &failure.message,
        }
    }

    /// JSON of at most [`TERMINATION_MESSAGE_BYTES`]; a message that is too long loses its end.
    #[expect(clippy::missing_panics_doc, reason = "strings and numbers always become JSON")]
    pub fn to_termination_message(&self) -> String {
        let mut report = self.clone();
        loop {
            let json = serde_json::to_string(&report).expect("a report is strings and numbers");
            let excess = json.len().saturating_sub(TERMINATION_MESSAGE_BYTES);
            let message = match &mut report {
                Self::Succeeded(model) => &mut model.message,
                Self::Failed(failure) => &mut failure.message,
            };
            if excess == 0 || message.is_empty() {
                return json;
            }
            // An escaped character takes up to six bytes of JSON for one of the message, hence the loop and not one cut.
            let keep = message.len().saturating_sub(excess.div_ceil(6) + '…'.len_utf8());
            message.truncate(message.floor_char_boundary(keep));
            if !message.is_empty() {
                message.push('…');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_and_display_agree() {
        for reason in FetchReason::ALL {
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
        }
    }

    #[test]
    fn the_outcome_stands_beside_the_fields() {
        let report = FetchReport::Failed(FetchFailure {
            reason: FetchReason::ModelNotFound,
            message: "no such model".to_owned(),
            revision: None,
            bytes: 0,
        });
        let json = report.to_termination_message();
        assert_eq!(
            json,
            r#"{"outcome":"Failed","reason":"ModelNotFound","message":"no such model","bytes":0}"#
        );
        assert_eq!(serde_json::from_str::<FetchReport>(&json).unwrap(), report);
    }

    /// A report cut in the middle is not JSON, and the controller would show nothing at all.
    #[test]
    fn a_long_message_is_cut_and_the_json_stays_whole() {
        for message in ["x".repeat(9000), "\u{1}".repeat(9000), "\"é".repeat(4000)] {
            let report = FetchReport::Failed(FetchFailure {
                reason: FetchReason::Internal,
                message,
                revision: Some("abc".to_owned()),
                bytes: 7,
            });
            let json = report.to_termination_message();
            assert!(json.len() <= TERMINATION_MESSAGE_BYTES, "{}", json.len());
            let read: FetchReport = serde_json::from_str(&json).unwrap();
            assert!(read.message().len() > 500, "{}", read.message().len());
            assert!(read.message().ends_with('…'));
        }
    }
}
