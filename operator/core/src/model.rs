//! A model as it is asked for: where it comes from and which revision. PURE.

use std::{collections::BTreeMap, fmt, str::FromStr};

use lexiscale_crds::ModelCacheSpec;

use crate::name::keyed;

/// The hub that is asked when nobody names another.
pub const PUBLIC_HUB: &str = "https://huggingface.co";
/// Stands for Amazon's S3 in any region: all of them answer at the same port.
const PUBLIC_S3: &str = "https://s3.amazonaws.com";
const DEFAULT_REVISION: &str = "main";

/// `hf://organisation/name`, or another place that a download knows: `https://`, `s3://`, `pvc://`, `oci://`. Read as far as the
/// operator needs it; the download reads the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    text: String,
    place: Place,
}

/// What kind of place a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Hub,
    /// By scheme, host and port.
    Web {
        server: String,
    },
    Bucket,
    Claim {
        name: String,
    },
    Registry {
        server: String,
    },
}

impl Place {
    /// Whether a revision that was found here once can be asked for again: commits and manifests stay. Of the other places there is
    /// only the state of the moment.
    pub fn keeps_revisions(&self) -> bool {
        match self {
            Self::Hub | Self::Registry { .. } => true,
            Self::Web { .. } | Self::Bucket | Self::Claim { .. } => false,
        }
    }
}

/// A text that names no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a source of the form hf://organisation/name, https://host/folder/, s3://bucket/prefix, pvc://claim/path or \
     oci://registry/repository:tag"
)]
pub struct InvalidSource(String);

impl ModelSource {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What a registry knows a model by, without a tag: host, port and path; and the sha256 that the source itself names.
    pub fn image(&self) -> Option<(&str, Option<&str>)> {
        let Place::Registry { .. } = self.place else { return None };
        let (_, reference) = self.text.split_once("://")?;
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) => (name, digest.strip_prefix("sha256:").filter(|digits| is_sha256(digits))),
            None => (reference, None),
        };
        let (server, path) = name.split_once('/')?;
        let path = path.split_once(':').map_or(path, |(path, _)| path);
        Some((&name[..server.len() + 1 + path.len()], digest))
    }

    /// The last part of the path, without a tag or a digest: what a reader knows the model by.
    fn short_name(&self) -> &str {
        let (_, path) = self.text.split_once("://").unwrap_or_default();
        let path = path.split_once('@').map_or(path, |(path, _)| path).trim_end_matches('/');
        let name = path.rsplit('/').next().unwrap_or(path);
        name.split_once(':').map_or(name, |(name, _)| name)
    }
}

impl FromStr for ModelSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let invalid = || InvalidSource(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let printable = text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic());
        let (first, path) = rest.split_once('/').unwrap_or((rest, ""));
        let place = match scheme {
            "hf" if is_repository_part(first) && is_repository_part(path) => Place::Hub,
            "http" | "https" if is_server(first) && !path.contains(['?', '#']) => {
                Place::Web { server: format!("{scheme}://{first}") }
            }
            "s3" if is_dns_name(first) && is_path(path) => Place::Bucket,
            "pvc" if is_dns_name(first) && is_path(path) => Place::Claim { name: first.to_owned() },
            "oci" if is_server(first) && !path.is_empty() && !path.contains(['?', '#']) => {
                Place::Registry { server: format!("https://{first}") }
            }
            _ => return Err(invalid()),
        };
        if printable { Ok(Self { text: text.to_owned(), place }) } else { Err(invalid()) }
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

/// A host with its port, and no user.
fn is_server(text: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(within)
}

fn is_dns_name(text: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(within) && !text.starts_with(['.', '-'])
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A path that stays below where it begins.
fn is_path(text: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(within) && !part.bytes().all(|byte| byte == b'.');
    let text = text.strip_suffix('/').unwrap_or(text);
    text.is_empty() || text.split('/').all(is_part)
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

    /// Whether it is what is asked for when nothing is.
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT_REVISION
    }

    /// The sha256 that places without commits pin a state by.
    pub fn sha256(&self) -> Option<&str> {
        self.0.strip_prefix("sha256-").filter(|digits| is_sha256(digits))
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
    /// sha256 of each file, where the catalog vouches for them.
    pub checksums: BTreeMap<String, String>,
    /// Key that must have signed them, in PEM.
    pub public_key: Option<String>,
    /// Size of all files, where the catalog knows it.
    pub bytes: Option<u64>,
}

/// The servers that are asked where a model names none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Servers<'a> {
    pub hub: Option<&'a str>,
    pub s3: Option<&'a str>,
}

/// What makes two downloads the same: two endpoints with equal keys share a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    source: ModelSource,
    revision: Revision,
    /// The address that the download is given, where its place is not in the source itself.
    endpoint: Option<String>,
    checksums: BTreeMap<String, String>,
    public_key: Option<String>,
}

impl CacheKey {
    /// The key of a model that is asked for.
    pub fn of_model(model: &ModelRef, servers: Servers<'_>) -> Self {
        Self {
            source: model.source.clone(),
            revision: model.revision.clone(),
            endpoint: endpoint(&model.source, model.hub_endpoint.as_deref(), servers),
            checksums: model.checksums.clone(),
            public_key: model.public_key.clone(),
        }
    }

    /// The key of a cache that exists, if its spec makes sense.
    pub fn of_cache(spec: &ModelCacheSpec, servers: Servers<'_>) -> Option<Self> {
        let source: ModelSource = spec.source.parse().ok()?;
        Some(Self {
            revision: spec.revision.as_deref().map_or(Ok(Revision::default()), str::parse).ok()?,
            endpoint: endpoint(&source, spec.hub_endpoint.as_deref(), servers),
            checksums: spec.checksums.clone(),
            public_key: spec.public_key.clone(),
            source,
        })
    }

    pub fn source(&self) -> &ModelSource {
        &self.source
    }

    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    pub fn checksums(&self) -> &BTreeMap<String, String> {
        &self.checksums
    }

    pub fn public_key(&self) -> Option<&str> {
        self.public_key.as_deref()
    }

    /// The address that the download is given.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The server that the download speaks to; a volume is none.
    pub fn server(&self) -> Option<&str> {
        match self.source.place() {
            Place::Hub => self.endpoint(),
            Place::Bucket => Some(self.endpoint().unwrap_or(PUBLIC_S3)),
            Place::Web { server } => Some(server),
            Place::Registry { server } => Some(self.endpoint().unwrap_or(server)),
            Place::Claim { .. } => None,
        }
    }

    /// The name of the cache that the operator makes for this key.
    pub fn cache_name(&self) -> String {
        // The file list will be part of the key once it can be chosen; today it is always "all that the worker needs".
        const FILES: &str = "*";
        let Self { source, revision, endpoint, checksums, public_key } = self;
        let endpoint = endpoint.as_deref().unwrap_or_default();
        let vouched: String = checksums.iter().flat_map(|(name, sha256)| ["\n", name, " ", sha256]).collect();
        let signer = public_key.as_ref().map(|key| format!("\n{key}")).unwrap_or_default();
        let key = format!("{source}\n{}\n{endpoint}\n{FILES}{vouched}{signer}", revision.as_str());
        keyed(source.short_name(), &key)
    }
}

fn endpoint(source: &ModelSource, own: Option<&str>, servers: Servers<'_>) -> Option<String> {
    let trimmed = |address: &str| address.trim_end_matches('/').to_owned();
    match source.place() {
        Place::Hub => Some(hub_or_public(own.or(servers.hub))),
        Place::Bucket => own.or(servers.s3).map(trimmed),
        Place::Registry { .. } => own.map(trimmed),
        Place::Web { .. } | Place::Claim { .. } => None,
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
            checksums: BTreeMap::new(),
            public_key: None,
            bytes: None,
        };
        CacheKey::of_model(&model, Servers::default())
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
            checksums: BTreeMap::new(),
            public_key: None,
            bytes: None,
            license: None,
            storage: None,
        };
        let public = Servers::default();
        assert_eq!(CacheKey::of_cache(&spec, public), Some(model("hf://org/model", "main", None)));
        assert_ne!(
            CacheKey::of_cache(&spec, Servers { hub: Some("http://mirror"), s3: None }),
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
            "ftp://a/b",
            "https://user@host/x",
            "https://host/?a",
            "s3://bucket/../x",
            "pvc://claim/a//b",
            "pvc://Claim/a",
            "oci://registry.example",
        ] {
            assert!(text.parse::<ModelSource>().is_err(), "{text}");
        }
    }

    /// The name is what `kubectl get mc` shows; the server is what the network policy opens.
    #[test]
    fn each_place_has_a_readable_name_and_one_server() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (source, name, server) in [
            ("hf://org/splade", "splade-", Some("https://huggingface.co")),
            ("https://host.example:8443/models/splade/", "splade-", Some("https://host.example:8443")),
            ("s3://bucket/team/splade", "splade-", Some("https://s3.amazonaws.com")),
            ("pvc://claim/bundles/splade.tar", "splade-tar-", None),
            (
                &format!("oci://r.example:5000/team/splade:v1@{digest}"),
                "splade-",
                Some("https://r.example:5000"),
            ),
        ] {
            let key = model(source, "main", None);
            assert!(key.cache_name().starts_with(name), "{}", key.cache_name());
            assert_eq!(key.server(), server, "{source}");
        }
        let mirrored = model("oci://r.example/splade", "main", Some("http://mirror:5000/"));
        assert_eq!(
            (mirrored.server(), mirrored.endpoint()),
            (Some("http://mirror:5000"), Some("http://mirror:5000"))
        );
    }
}
