//! What the hub says about a revision and its files. PURE.

use serde::Deserialize;

use crate::model::remote::{Hash, RemoteFile, Revision};

/// The hub tags a large file with its sha256 and a small one with its git object.
pub(super) fn hash_of_tag(tag: &str) -> Option<Hash> {
    let digits = tag.trim_start_matches("W/").trim_matches('"');
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return None;
    }
    match digits.len() {
        64 => Some(Hash::Sha256(digits.to_owned())),
        40 => Some(Hash::GitBlob(digits.to_owned())),
        _ => None,
    }
}

#[derive(Deserialize)]
pub(super) struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
    #[serde(default, rename = "cardData")]
    card: Option<Card>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Card {
    #[serde(default)]
    license: Option<serde_json::Value>,
}

impl Listing {
    pub(super) fn into_revision(self) -> Option<Revision> {
        let Self { sha, siblings, card } = self;
        if sha.len() != 40 || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let files = siblings
            .into_iter()
            .map(|Sibling { rfilename, size, blob_id, lfs }| {
                let large = lfs.as_ref().and_then(|lfs| lfs.sha256.as_deref()).and_then(hash_of_tag);
                let small = || blob_id.as_deref().and_then(hash_of_tag);
                let is_large = lfs.is_some();
                RemoteFile {
                    name: rfilename,
                    size: lfs.and_then(|lfs| lfs.size).or(size),
                    // The git object of a large file is a pointer to it, not the file.
                    hash: large.or_else(|| if is_large { None } else { small() }),
                    tag: None,
                }
            })
            .collect();
        let license =
            card.and_then(|card| card.license).and_then(|license| license.as_str().map(str::to_owned));
        Some(Revision { id: sha, license, files, archives: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_fuzz::{Inputs, fuzz};

    use super::*;

    #[test]
    fn any_listing_gets_a_verdict() {
        let (commit, sha256) = ("c".repeat(40), "ab".repeat(32));
        let seed = format!(
            r#"{{"sha":"{commit}","cardData":{{"license":"mit"}},"siblings":[{{"rfilename":"a","size":3,"blobId":"{commit}"}},{{"rfilename":"b","lfs":{{"sha256":"{sha256}","size":9}}}}]}}"#
        );
        let words = [
            "\"lfs\":{",
            "\"size\":-1",
            "\"size\":18446744073709551615",
            "\"license\":[",
            "null",
            "\"rfilename\":",
            "W/",
        ];
        fuzz(&Inputs::of_texts("listing", &[&seed], &words), |input| {
            let _ = hash_of_tag(&String::from_utf8_lossy(input));
            let revision = serde_json::from_slice::<Listing>(input).ok().and_then(Listing::into_revision);
            if let Some(revision) = revision {
                assert!(revision.id.len() == 40 && revision.archives.is_empty(), "{revision:?}");
            }
        });
    }

    #[test]
    fn a_listing_gives_hashes_of_content_and_never_of_pointers() {
        let sha256 = "ab".repeat(32);
        let json = format!(
            r#"{{"sha":"{commit}","cardData":{{"license":"apache-2.0"}},"siblings":[
                {{"rfilename":"a","size":3,"blobId":"{blob}"}},
                {{"rfilename":"b","size":9,"blobId":"{blob}","lfs":{{"sha256":"{sha256}","size":9,"pointerSize":1}}}},
                {{"rfilename":"c","blobId":"{blob}","lfs":{{}}}},
                {{"rfilename":"d"}}]}}"#,
            commit = "c".repeat(40),
            blob = "d".repeat(40),
        );
        let revision = serde_json::from_str::<Listing>(&json).unwrap().into_revision().unwrap();
        assert_eq!(revision.license.as_deref(), Some("apache-2.0"));
        let hashes: Vec<_> = revision.files.iter().map(|file| file.hash.clone()).collect();
        assert_eq!(hashes, [Some(Hash::GitBlob("d".repeat(40))), Some(Hash::Sha256(sha256)), None, None]);
    }
}
