//! A model as it is asked for: where it comes from and which revision. PURE.

use std::{fmt, str::FromStr};

use lexiscale_crds::ModelCacheSpec;

use crate::name::keyed;

/// The hub that is asked when nobody names another.
pub const PUBLIC_HUB: &str = "https://huggingface.co";
const DEFAULT_REVISION: &str = "main";

/// `hf://organisation/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    text: String,
}

/// A text that names no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a source of the form hf://organisation/name")]
pub struct InvalidSource(String);

impl ModelSource {
    /// `organisation/name`.
    pub fn repository(&self) -> &str {
        self.text.strip_prefix("hf://").unwrap_or(&self.text)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ModelSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let valid = text
            .strip_prefix("hf://")
            .and_then(|repository| repository.split_once('/'))
            .is_some_and(|(organisation, name)| is_repository_part(organisation) && is_repository_part(name));
        if valid { Ok(Self { text: text.to_owned() }) } else { Err(InvalidSource(text.to_owned())) }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn is_repository_part(part: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    part.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) && part.bytes().all(within)
}

/// A commit, tag or branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

/// A text that names no revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a revision (letters, digits, `.`, `_`, `/` and `-`, a letter or digit first)")]
pub struct InvalidRevision(String);

impl Revision {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self(DEFAULT_REVISION.to_owned())
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
        let valid = text.len() <= 256
            && text.bytes().all(within)
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidRevision(text.to_owned())) }
    }
}

/// A model that an endpoint asks for, resolved by the catalog or named directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The id asked for, or the one that the service chose.
    pub id: String,
    pub source: ModelSource,
    pub revision: Revision,
    pub license: Option<String>,
    /// A hub other than the operator's own setting.
    pub hub_endpoint: Option<String>,
}

/// What makes two downloads the same: two endpoints with equal keys share a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    source: ModelSource,
    revision: Revision,
    hub_endpoint: String,
}

impl CacheKey {
    /// The key of a model that is asked for; `default_hub` is the operator's setting.
    pub fn of_model(model: &ModelRef, default_hub: Option<&str>) -> Self {
        let hub = model.hub_endpoint.as_deref().or(default_hub);
        Self {
            source: model.source.clone(),
            revision: model.revision.clone(),
            hub_endpoint: hub_or_public(hub),
        }
    }

    /// The key of a cache that exists, if its spec makes sense.
    pub fn of_cache(spec: &ModelCacheSpec, default_hub: Option<&str>) -> Option<Self> {
        Some(Self {
            source: spec.source.parse().ok()?,
            revision: spec.revision.as_deref().map_or(Ok(Revision::default()), str::parse).ok()?,
            hub_endpoint: hub_or_public(spec.hub_endpoint.as_deref().or(default_hub)),
        })
    }

    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    pub fn hub_endpoint(&self) -> &str {
        &self.hub_endpoint
    }

    /// The name of the cache that the operator makes for this key.
    pub fn cache_name(&self) -> String {
        // The file list will be part of the key once it can be chosen; today it is always "all that the worker needs".
        const FILES: &str = "*";
        let Self { source, revision, hub_endpoint } = self;
        let key = format!("{source}\n{}\n{hub_endpoint}\n{FILES}", revision.as_str());
        let (_, name) = source.repository().split_once('/').unwrap_or_default();
        keyed(name, &key)
    }
}

fn hub_or_public(hub: Option<&str>) -> String {
    hub.unwrap_or(PUBLIC_HUB).trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(source: &str, revision: &str, hub: Option<&str>) -> CacheKey {
        let model = ModelRef {
            id: "any".to_owned(),
            source: source.parse().unwrap(),
            revision: revision.parse().unwrap(),
            license: None,
            hub_endpoint: hub.map(str::to_owned),
        };
        CacheKey::of_model(&model, None)
    }

    #[test]
    fn a_cache_name_is_readable_and_depends_on_every_part_of_the_key() {
        let name = model("hf://org/Some.Model", "main", None).cache_name();
        assert!(name.starts_with("some-model-"), "{name}");
        assert_ne!(name, model("hf://other/Some.Model", "main", None).cache_name());
        assert_ne!(name, model("hf://org/Some.Model", "v2", None).cache_name());
        assert_ne!(name, model("hf://org/Some.Model", "main", Some("http://hub")).cache_name());
        assert_eq!(name, model("hf://org/Some.Model", "main", Some("https://huggingface.co/")).cache_name());
    }

    /// A user who warms a model ahead writes `revision: main` or nothing; both must be found.
    #[test]
    fn a_users_cache_has_the_key_of_the_model_that_it_warms() {
        let spec = ModelCacheSpec {
            source: "hf://org/model".to_owned(),
            revision: None,
            hub_endpoint: None,
            license: None,
            storage: None,
        };
        assert_eq!(CacheKey::of_cache(&spec, None), Some(model("hf://org/model", "main", None)));
        assert_ne!(
            CacheKey::of_cache(&spec, Some("http://mirror")),
            Some(model("hf://org/model", "main", None))
        );
    }

    #[test]
    fn refuses_what_names_no_model() {
        for text in [
            "",
            "org/name",
            "hf://org",
            "hf://org/",
            "hf:///name",
            "hf://org/name/more",
            "hf://org/na me",
            "s3://a/b",
        ] {
            assert!(text.parse::<ModelSource>().is_err(), "{text}");
        }
    }
}
