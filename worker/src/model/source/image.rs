//! The reference of a model in a registry: `registry/repository[:tag][@sha256:digest]`. PURE.

use std::fmt;
use std::str::FromStr;

use super::revision::is_sha256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    /// 64 digits of sha256.
    digest: Option<String>,
}

impl ImageReference {
    /// Host and port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// 64 digits of sha256, where the reference names them.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What the registry is asked for: the digest where there is one.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl FromStr for ImageReference {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digits = digest.strip_prefix("sha256:").filter(|digits| is_sha256(digits));
                (name, Some(digits.ok_or("its digest is not sha256: and 64 digits")?.to_owned()))
            }
            None => (text, None),
        };
        let (registry, path) = name.split_once('/').ok_or("it lacks a registry or a repository")?;
        if !registry.contains(['.', ':']) && registry != "localhost" {
            return Err("its first part is no registry: a host with a full stop or a port");
        }
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if !registry.bytes().all(is_host) {
            return Err("its registry is no host");
        }
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let is_part = |part: &str| {
            let is_within =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
            part.bytes().all(is_within) && edge(part.bytes().next()) && edge(part.bytes().last())
        };
        if repository.len() > 255 || !repository.split('/').all(is_part) {
            return Err("its repository is not of lower-case letters, digits, '.', '_' and '-'");
        }
        let is_tag = |tag: &str| {
            (1..=128).contains(&tag.len())
                && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && !tag.starts_with(['.', '-'])
        };
        if !tag.is_none_or(is_tag) {
            return Err("its tag is no tag");
        }
        let (repository, tag) = (repository.to_owned(), tag.map(str::to_owned));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, tag, digest } = self;
        write!(formatter, "{registry}/{repository}")?;
        if let Some(tag) = tag {
            write!(formatter, ":{tag}")?;
        }
        digest.as_ref().map_or(Ok(()), |digest| write!(formatter, "@sha256:{digest}"))
    }
}
