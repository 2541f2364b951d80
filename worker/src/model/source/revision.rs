//! Which state of a model is asked for. PURE.

use std::str::FromStr;

/// A branch, tag or commit. Goes into a URL's path, so it holds nothing that has a meaning there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {revision:?} is not a branch, tag or commit")]
pub struct RevisionNameError {
    revision: String,
}

impl Default for RevisionName {
    fn default() -> Self {
        Self("main".to_owned())
    }
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

    /// The digest that an earlier fetch pinned a model by, in a place that has no commits: `sha256-` and 64 digits.
    pub fn pinned(&self) -> Option<&str> {
        let digits = self.0.strip_prefix("sha256-")?;
        is_sha256(digits).then_some(digits)
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

/// Whether a text is a sha256 in hexadecimal.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_cannot_leave_its_place_in_the_url() {
        assert_eq!("refs/pr/1".parse::<RevisionName>().unwrap().encoded(), "refs%2Fpr%2F1");
        for text in ["", "..", "a/../b", "a b", "a?b", "a#b", "/a", "a//b", "%2e%2e"] {
            assert!(text.parse::<RevisionName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pinned_digest_is_told_from_a_branch() {
        let digits = "0a".repeat(32);
        assert_eq!(
            format!("sha256-{digits}").parse::<RevisionName>().unwrap().pinned(),
            Some(digits.as_str())
        );
        for text in ["main", "sha256-", "sha256-0a", &digits] {
            assert_eq!(text.parse::<RevisionName>().unwrap().pinned(), None, "{text}");
        }
    }
}
