//! Where a model comes from. PURE.

use std::fmt;
use std::str::FromStr;

/// `hf://organisation/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    repository: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("source {source_text:?} does not begin with hf://")]
    Scheme { source_text: String },
    #[error("{repository:?} is not of the form organisation/name with letters, digits, '.', '_' and '-'")]
    Repository { repository: String },
}

impl Source {
    /// `organisation/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let repository =
            text.strip_prefix("hf://").ok_or_else(|| SourceError::Scheme { source_text: text.to_owned() })?;
        let is_part = |part: &str| {
            (1..=96).contains(&part.len())
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        match repository.split_once('/') {
            Some((organisation, name)) if is_part(organisation) && is_part(name) => {
                Ok(Self { repository: repository.to_owned() })
            }
            _ => Err(SourceError::Repository { repository: repository.to_owned() }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hf://{}", self.repository)
    }
}

/// A branch, tag or commit. Goes into a URL's path, so it holds nothing that has a meaning there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {revision:?} is not a branch, tag or commit")]
pub struct RevisionNameError {
    revision: String,
}

impl RevisionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names one state of the repository for ever.
    pub fn is_commit(&self) -> bool {
        self.0.len() == 40
            && self.0.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }

    /// As one segment of a path.
    pub fn encoded(&self) -> String {
        self.0.replace('/', "%2F")
    }
}

impl FromStr for RevisionName {
    type Err = RevisionNameError;

    fn from_str(text: &str) -> Result<Self, RevisionNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        let is_name = (1..=200).contains(&text.len())
            && text.bytes().all(is_allowed)
            && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
        if is_name { Ok(Self(text.to_owned())) } else { Err(RevisionNameError { revision: text.to_owned() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_repositories_of_the_hub_are_sources() {
        let source: Source = "hf://lexiscale/demo-splade-tiny".parse().unwrap();
        assert_eq!(source.repository(), "lexiscale/demo-splade-tiny");
        assert_eq!(source.to_string(), "hf://lexiscale/demo-splade-tiny");
        for text in [
            "",
            "lexiscale/demo",
            "https://a/b",
            "hf://a",
            "hf://a/b/c",
            "hf://../b",
            "hf://a/b?c",
            "hf://a/",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_revision_cannot_leave_its_place_in_the_url() {
        assert_eq!("refs/pr/1".parse::<RevisionName>().unwrap().encoded(), "refs%2Fpr%2F1");
        for text in ["", "..", "a/../b", "a b", "a?b", "a#b", "/a", "a//b", "%2e%2e"] {
            assert!(text.parse::<RevisionName>().is_err(), "{text}");
        }
    }
}
