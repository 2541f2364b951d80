//! Names of objects, derived from ids and from other names. PURE.
//!
//! A name that already fits is kept, so that people recognise it; any other becomes a readable stem and eight
//! hexadecimal digits of its SHA-256, so that two ids never share an object.

use sha2::{Digest, Sha256};

/// Longest name of an `InferenceEndpoint` made for an inference id: the limit of a label value.
const OBJECT_NAME_LENGTH: usize = 63;
/// Longest name of a child. A Deployment's pods add up to 16 characters of their own, and pod names are host names.
const CHILD_NAME_LENGTH: usize = 47;
/// Longest label value.
const LABEL_VALUE_LENGTH: usize = 63;
const HASH_LENGTH: usize = 8;

/// The name of the `InferenceEndpoint` for an inference id: the id itself when it is a lower-case RFC 1123 subdomain
/// of at most 63 characters, else a stem and a hash.
pub fn object_name(inference_id: &str) -> String {
    if is_subdomain(inference_id) && inference_id.len() <= OBJECT_NAME_LENGTH {
        inference_id.to_owned()
    } else {
        hashed(inference_id, inference_id, OBJECT_NAME_LENGTH, "endpoint")
    }
}

/// The name of the children of an object: a DNS-1035 label of at most 47 characters, the only kind that every child
/// kind accepts (a Service is the strictest).
pub fn child_name(object: &str) -> String {
    if is_dns_1035_label(object) && object.len() <= CHILD_NAME_LENGTH {
        object.to_owned()
    } else {
        hashed(object, object, CHILD_NAME_LENGTH, "x")
    }
}

/// The name of those children of a `ModelCache` whose kinds endpoints have too: a cache and an endpoint may share a name.
pub fn cache_child_name(cache: &str) -> String {
    keyed(cache, &format!("ModelCache/{cache}"))
}

/// The name of an endpoint's standby Deployment and of what belongs to it: another endpoint may have any name that is only
/// derived from this one's.
pub fn standby_child_name(object: &str) -> String {
    keyed(&format!("{object}-standby"), &format!("standby/{object}"))
}

/// The name of the volume claim that a cache makes now. The uid is in it because a claim in use outlives its cache: a
/// namesake must neither wait for that claim nor take it over. `outlived` are uids of claims of the cache itself that
/// somebody has deleted and that pods still hold.
pub fn claim_name(cache: &str, uid: &str, outlived: &[&str]) -> String {
    keyed(cache, &format!("{uid}/{}", outlived.join("/")))
}

/// The name as a label value: itself when it is short enough, else a stem and a hash.
pub fn label_value(name: &str) -> String {
    if name.len() <= LABEL_VALUE_LENGTH {
        name.to_owned()
    } else {
        hashed(name, name, LABEL_VALUE_LENGTH, "x")
    }
}

/// `<readable part of stem>-<hash of key>`, a DNS-1035 label that every child may bear unchanged.
pub(crate) fn keyed(stem: &str, key: &str) -> String {
    hashed(stem, key, CHILD_NAME_LENGTH, "model")
}

/// The first eight hexadecimal digits of the SHA-256 of `text`.
pub(crate) fn short_hash(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let [first, second, third, fourth, ..] = digest;
    format!("{:08x}", u32::from_be_bytes([first, second, third, fourth]))
}

fn hashed(stem: &str, key: &str, length: usize, without_letter: &str) -> String {
    let slug = slug(stem, length - HASH_LENGTH - 1, without_letter);
    format!("{slug}-{}", short_hash(key))
}

/// Lower case, everything but letters and digits as single hyphens, a letter first, at most `length` long.
fn slug(text: &str, length: usize, without_letter: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for character in text.chars().map(|character| character.to_ascii_lowercase()) {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    if !slug.starts_with(|character: char| character.is_ascii_lowercase()) {
        slug = if slug.is_empty() { without_letter.to_owned() } else { format!("{without_letter}-{slug}") };
    }
    slug.truncate(length);
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

fn is_subdomain(name: &str) -> bool {
    !name.is_empty() && name.split('.').all(is_dns_label)
}

/// Whether Kubernetes takes it as a namespace's name, for example.
pub fn is_dns_label(label: &str) -> bool {
    let within =
        |character: u8| character.is_ascii_lowercase() || character.is_ascii_digit() || character == b'-';
    !label.is_empty() && label.bytes().all(within) && !label.starts_with('-') && !label.ends_with('-')
}

fn is_dns_1035_label(label: &str) -> bool {
    is_dns_label(label) && label.starts_with(|character: char| character.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_a_name_that_fits() {
        for id in ["my-elser-model", "a", "team.search", "0-day"] {
            assert_eq!(object_name(id), id);
        }
        assert_eq!(child_name("my-elser-model"), "my-elser-model");
    }

    /// An endpoint whose children change their name loses its Service; these names are an interface.
    #[test]
    fn hashes_what_does_not_fit_and_stays_readable() {
        assert_eq!(object_name(".elser-2-elasticsearch"), "elser-2-elasticsearch-f1c3d124");
        assert_eq!(object_name("everything_in.one"), "everything-in-one-dd486440");
        assert_eq!(child_name("team.search"), "team-search-1dfacb5d");
        assert_eq!(child_name("0-day"), "x-0-day-3ffc6451");
    }

    #[test]
    fn a_cache_made_anew_has_another_claim() {
        assert_eq!(claim_name("warm", "uid-1", &[]), claim_name("warm", "uid-1", &[]));
        assert_ne!(claim_name("warm", "uid-1", &[]), claim_name("warm", "uid-2", &[]));
        assert_ne!(claim_name("warm", "uid-1", &[]), claim_name("warm", "uid-1", &["claim"]));
    }

    #[test]
    fn ids_that_look_alike_have_different_objects() {
        assert_ne!(object_name("a_b"), object_name("a-b"));
        assert_ne!(object_name("_a_b"), object_name("a_b"));
        assert_ne!(child_name("a.b"), child_name("a-b"));
    }

    proptest! {
        #[test]
        fn every_id_has_a_valid_name(id in r"\PC{1,256}") {
            let name = object_name(&id);
            prop_assert!(is_subdomain(&name) && name.len() <= OBJECT_NAME_LENGTH, "{name}");
        }

        #[test]
        fn every_name_has_a_valid_child_name(name in r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?") {
            let child = child_name(&name);
            prop_assert!(is_dns_1035_label(&child) && child.len() <= CHILD_NAME_LENGTH, "{child}");
            prop_assert_eq!(child_name(&child), child.clone());
        }
    }
}
