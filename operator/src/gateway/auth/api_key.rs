//! API keys: what the gateway keeps of one, and how a request's is compared with it. PURE but for the making
//! of a secret. The hash needs no stretching: a secret is 256 bits of chance and cannot be guessed.

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::access::Access;

const ALGORITHM: &str = "sha256:";
const LONGEST_ID: usize = 63;

/// What a request may do, as RBAC and API keys name it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Look at one endpoint.
    Get,
    /// Look at all endpoints of a namespace.
    List,
    /// PUT.
    Create,
    /// `_update`.
    Update,
    /// DELETE.
    Delete,
    /// Any POST that runs a model.
    Infer,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Infer => "infer",
        }
    }
}

/// The content of a key's file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Format {
    /// `sha256:` and the hexadecimal SHA-256 of id, colon and secret.
    pub hash: String,
    /// Namespaces, or `*`.
    pub namespaces: Vec<String>,
    /// What may be done there.
    pub verbs: Vec<Verb>,
    /// Inference ids, each as it is or with `*` at its end.
    pub endpoints: Vec<String>,
    /// When the key ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A key that was read and makes sense.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    /// Sixty-four lower-case hexadecimal digits.
    hash: String,
    namespaces: Vec<String>,
    verbs: Vec<Verb>,
    endpoints: Vec<String>,
    expires: Option<Timestamp>,
}

#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the name [{0}] is no id: letters, digits and inner dots, hyphens and underscores, at most 63")]
    Id(String),
    #[error("the content is not what a key's file holds: {0}")]
    Format(String),
    #[error("[hash] must be sha256: and 64 lower-case hexadecimal digits")]
    Hash,
    #[error("[{0}] is empty: the key would be of no use")]
    Empty(&'static str),
}

impl Key {
    pub(crate) fn parse(id: &str, content: &[u8]) -> Result<Self, KeyError> {
        if !is_id(id) {
            return Err(KeyError::Id(id.chars().take(100).collect()));
        }
        let format = serde_json::from_slice(content);
        let Format { hash, namespaces, verbs, endpoints, expires } =
            format.map_err(|error| KeyError::Format(position(&error)))?;
        let hash = hash.strip_prefix(ALGORITHM).ok_or(KeyError::Hash)?.to_owned();
        if hash.len() != 64 || hash.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(KeyError::Hash);
        }
        for (name, is_empty) in [
            ("namespaces", namespaces.is_empty()),
            ("verbs", verbs.is_empty()),
            ("endpoints", endpoints.is_empty()),
        ] {
            if is_empty {
                return Err(KeyError::Empty(name));
            }
        }
        Ok(Self { hash, namespaces, verbs, endpoints, expires })
    }

    pub(crate) fn allows(&self, access: &Access) -> bool {
        self.verbs.contains(&access.verb)
            && self.namespaces.iter().any(|namespace| namespace == "*" || *namespace == access.namespace)
            && self.endpoints.iter().any(|pattern| matches(pattern, access.id.as_deref()))
    }
}

/// Where a file is wrong. What is wrong there might be a secret that somebody pasted.
fn position(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

/// What concerns all endpoints needs leave for all.
fn matches(pattern: &str, id: Option<&str>) -> bool {
    match (pattern.strip_suffix('*'), id) {
        (Some(""), _) => true,
        (Some(prefix), Some(id)) => id.starts_with(prefix),
        (None, Some(id)) => id == pattern,
        (_, None) => false,
    }
}

fn is_id(id: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ends = [id.bytes().next(), id.bytes().last()];
    id.len() <= LONGEST_ID
        && id.bytes().all(is_inner)
        && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

/// Salted by the id, so that two keys with one secret would not show it.
fn hash(id: &str, secret: &SecretString) -> String {
    let mut hasher = Sha256::new();
    hasher.update(id);
    hasher.update(b":");
    hasher.update(secret.expose_secret());
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Every key by its id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Keys(pub(crate) HashMap<String, Key>);

impl Keys {
    /// The key that a request proves to hold. What is unknown takes as long as what is wrong.
    pub(crate) fn verify(&self, id: &str, secret: &SecretString, now: Timestamp) -> Option<&Key> {
        let given = hash(id, secret);
        let key = self.0.get(id);
        let nobody = "-".repeat(given.len());
        let wanted = key.map_or(nobody.as_str(), |key| &key.hash);
        let is_same = bool::from(given.as_bytes().ct_eq(wanted.as_bytes()));
        key.filter(|key| is_same && key.expires.is_none_or(|end| now < end))
    }
}

/// A key that was just made: the only time that its secret is known.
pub struct NewKey {
    /// What goes behind `Authorization: ApiKey`.
    pub credential: SecretString,
    /// `sha256:…`, for the file.
    pub hash: String,
}

impl NewKey {
    /// Makes a secret for an id.
    pub fn generate(id: &str) -> anyhow::Result<Self> {
        if !is_id(id) {
            anyhow::bail!(KeyError::Id(id.to_owned()));
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let secret = SecretString::from(URL_SAFE_NO_PAD.encode(bytes));
        Ok(Self {
            hash: format!("{ALGORITHM}{}", hash(id, &secret)),
            credential: STANDARD.encode(format!("{id}:{}", secret.expose_secret())).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn key(json: &str) -> Result<Key, KeyError> {
        Key::parse("search", json.replace("HASH", HASH).as_bytes())
    }

    fn access(verb: Verb, namespace: &str, id: Option<&str>) -> Access {
        Access { verb, namespace: namespace.to_owned(), id: id.map(str::to_owned), object: None }
    }

    #[test]
    fn a_key_that_was_made_is_the_only_one_that_fits() {
        let NewKey { credential, hash } = NewKey::generate("search").unwrap();
        let decoded = STANDARD.decode(credential.expose_secret()).unwrap();
        let decoded = String::from_utf8(decoded).unwrap();
        let (id, secret) = decoded.split_once(':').unwrap();
        let file = format!(
            r#"{{"hash":"{hash}","namespaces":["*"],"verbs":["infer"],"endpoints":["*"],"expires":"2026-01-01T00:00:00Z"}}"#
        );
        let keys = Keys([(id.to_owned(), Key::parse(id, file.as_bytes()).unwrap())].into());
        let before = "2025-12-31T23:59:59Z".parse().unwrap();
        assert!(keys.verify("search", &secret.into(), before).is_some());
        assert!(keys.verify("search", &"other".into(), before).is_none());
        assert!(keys.verify("Search", &secret.into(), before).is_none());
        assert!(keys.verify("search", &secret.into(), "2026-01-01T00:00:00Z".parse().unwrap()).is_none());
    }

    #[test]
    fn a_key_allows_what_it_lists_and_no_more() {
        let key = key(
            r#"{"hash":"HASH","namespaces":["a","b"],"verbs":["infer","list"],"endpoints":["x","logs-*"]}"#,
        )
        .unwrap();
        for (verb, namespace, id, expected) in [
            (Verb::Infer, "a", Some("x"), true),
            (Verb::Infer, "b", Some("logs-1"), true),
            (Verb::Infer, "c", Some("x"), false),
            (Verb::Infer, "a", Some("xy"), false),
            (Verb::Get, "a", Some("x"), false),
            // A list shows endpoints that the key does not name.
            (Verb::List, "a", None, false),
        ] {
            assert_eq!(key.allows(&access(verb, namespace, id)), expected, "{verb:?} {namespace} {id:?}");
        }
    }

    #[test]
    fn a_key_for_every_endpoint_may_list_them() {
        let key = key(r#"{"hash":"HASH","namespaces":["*"],"verbs":["list"],"endpoints":["*"]}"#).unwrap();
        assert!(key.allows(&access(Verb::List, "anywhere", None)));
    }

    #[test]
    fn what_is_not_understood_is_no_key() {
        for (json, field) in [
            ("", "content"),
            (
                r#"{"hash":"HASH","namespaces":["a"],"verbs":["infer"],"endpoints":["*"],"expire":"2026-01-01T00:00:00Z"}"#,
                "content",
            ),
            (r#"{"hash":"HASH","namespaces":["a"],"verbs":["everything"],"endpoints":["*"]}"#, "content"),
            (r#"{"hash":"HASH","namespaces":[],"verbs":["infer"],"endpoints":["*"]}"#, "namespaces"),
            (r#"{"hash":"md5:1","namespaces":["a"],"verbs":["infer"],"endpoints":["*"]}"#, "hash"),
            (r#"{"hash":"sha256:ABC","namespaces":["a"],"verbs":["infer"],"endpoints":["*"]}"#, "hash"),
        ] {
            let error = key(json).unwrap_err().to_string();
            assert!(error.contains(field), "{json}: {error}");
        }
        assert!(matches!(Key::parse("..data", b"{}"), Err(KeyError::Id(_))));
    }

    /// Somebody who pastes a credential into the file must not find it in the log.
    #[test]
    fn the_content_of_a_bad_file_is_not_repeated() {
        let error = key(r#"{"hash":"HASH","canary":1}"#).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }
}
