//! Where a model comes from, parsed once. PURE.

mod image;
mod revision;

use std::fmt;
use std::str::FromStr;

use crate::model::address_policy::{Address, Refusal};

pub use image::ImageReference;
pub use revision::{RevisionName, RevisionNameError, is_sha256};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `hf://organisation/name`.
    Hub { repository: String },
    /// `https://host/folder/`, `https://host/folder/SHA256SUMS` or `https://host/bundle.tar`.
    Web { address: Address },
    /// `s3://bucket/prefix`, or `s3://bucket/bundle.tar`.
    Bucket { bucket: String, prefix: String },
    /// `pvc://claim/path`, or `pvc://claim/bundle.tar`.
    Claim { claim: String, path: String },
    /// `oci://registry/repository:tag@digest`.
    Registry(ImageReference),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("source {source_text:?} begins with none of hf://, https://, s3://, pvc:// and oci://")]
    Scheme { source_text: String },
    #[error("{repository:?} is not of the form organisation/name with letters, digits, '.', '_' and '-'")]
    Repository { repository: String },
    #[error(transparent)]
    Address(#[from] Refusal),
    #[error("source {source_text:?} cannot be used: {reason}")]
    Form { source_text: String, reason: &'static str },
}

/// Whether a path names one file that holds all others.
pub fn is_archive(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, ending)| ending == "tar")
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let form = |reason| SourceError::Form { source_text: text.to_owned(), reason };
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| SourceError::Scheme { source_text: text.to_owned() })?;
        match scheme {
            "hf" => hub(rest),
            "http" | "https" => web(text).map_err(|error| error.unwrap_or_else(|| form(QUERY))),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let is_bucket = (3..=63).contains(&bucket.len())
                    && bucket.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)
                    });
                if !is_bucket {
                    return Err(form("its bucket is not of 3 to 63 lower-case letters, digits, '.' and '-'"));
                }
                let prefix = path(prefix).ok_or_else(|| form(PATH))?;
                Ok(Self::Bucket { bucket: bucket.to_owned(), prefix })
            }
            "pvc" => {
                let (claim, below) = rest.split_once('/').unwrap_or((rest, ""));
                let is_claim = (1..=253).contains(&claim.len())
                    && !claim.starts_with(['.', '-'])
                    && claim.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte)
                    });
                if !is_claim {
                    return Err(form("its claim is no name of a PersistentVolumeClaim"));
                }
                Ok(Self::Claim { claim: claim.to_owned(), path: path(below).ok_or_else(|| form(PATH))? })
            }
            "oci" => rest.parse().map(Self::Registry).map_err(form),
            _ => Err(SourceError::Scheme { source_text: text.to_owned() }),
        }
    }
}

const PATH: &str = "its path holds more than letters, digits, '.', '_', '-' and '/', or leaves its folder";
const QUERY: &str = "an address of model files has no query";

fn hub(repository: &str) -> Result<Source, SourceError> {
    let is_part = |part: &str| {
        (1..=96).contains(&part.len())
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match repository.split_once('/') {
        Some((organisation, name)) if is_part(organisation) && is_part(name) => {
            Ok(Source::Hub { repository: repository.to_owned() })
        }
        _ => Err(SourceError::Repository { repository: repository.to_owned() }),
    }
}

/// The error without content is that of a query.
fn web(text: &str) -> Result<Source, Option<SourceError>> {
    let address = Address::parse(text).map_err(|refusal| Some(refusal.into()))?;
    if text.contains('?') {
        return Err(None);
    }
    // The bare server is a folder too.
    let is_bare = address.as_str().matches('/').count() == 2;
    let address = if is_bare { address.at("/") } else { address };
    Ok(Source::Web { address })
}

/// A path without a slash at its ends, or none that may be used.
fn path(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.bytes().all(|byte| byte == b'.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    (text.is_empty() || (text.len() <= 400 && text.split('/').all(is_part))).then(|| text.to_owned())
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repository } => write!(formatter, "hf://{repository}"),
            Self::Web { address } => formatter.write_str(address.as_str()),
            Self::Bucket { bucket, prefix } => write!(formatter, "s3://{bucket}/{prefix}"),
            Self::Claim { claim, path } => write!(formatter, "pvc://{claim}/{path}"),
            Self::Registry(image) => write!(formatter, "oci://{image}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn each_kind_of_place_is_known_by_its_scheme() {
        let digested = format!("oci://registry.example:5000/team/splade:v1@{DIGEST}");
        for text in [
            "hf://lexiscale/demo-splade-tiny",
            "https://models.example.com/splade/",
            "https://models.example.com/splade/SHA256SUMS",
            "http://127.0.0.1:8080/splade.tar",
            "s3://models/team/splade",
            "pvc://models/team/splade-v1",
            "pvc://models/bundles/splade.tar",
            "oci://registry.example/splade",
            &digested,
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("s3://models/a/".parse::<Source>().unwrap().to_string(), "s3://models/a");
        assert_eq!(
            "https://models.example.com".parse::<Source>().unwrap().to_string(),
            "https://models.example.com/"
        );
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_source() {
        for text in [
            "",
            "lexiscale/demo",
            "hf://a",
            "hf://a/b/c",
            "hf://../b",
            "hf://a/b?c",
            "hf://a/",
            "ftp://a/b",
            "https://user@a.example/",
            "https://a.example/?x=y",
            "https://a.example/a b",
            "https://0x7f000001/",
            "s3://B/x",
            "s3://bu/x",
            "s3://bucket/../x",
            "s3://bucket//x",
            "s3://bucket/a?b",
            "pvc://",
            "pvc://Claim/x",
            "pvc://claim/../x",
            "pvc://claim/a/./b",
            "pvc://../x",
            "oci://splade",
            "oci://library/splade",
            "oci://registry.example/Splade",
            "oci://registry.example/a//b",
            "oci://registry.example/a:b:c",
            "oci://registry.example/a@sha256:12",
            "oci://registry.example/a:..",
            "oci://user@registry.example/a",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let image: ImageReference = format!("registry.example/a/b:v1@{DIGEST}").parse().unwrap();
        assert_eq!(
            (image.registry(), image.repository(), image.wanted()),
            ("registry.example", "a/b", DIGEST.to_owned())
        );
        let wanted = |text: &str| text.parse::<ImageReference>().unwrap().wanted();
        assert_eq!((wanted("r.example/a"), wanted("r.example/a:v2")), ("latest".to_owned(), "v2".to_owned()));
    }
}
