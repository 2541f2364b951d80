//! What places without commits have in common: hashes from a list beside the files, and a revision made of all that they say. PURE.

use sha2::{Digest, Sha256};

use super::{Hash, RemoteError, RemoteFile};
use crate::model::manifest::hexadecimal;
use crate::model::source::RevisionName;

/// Gives listed files the hashes of the list. A file that the list does not name stays without.
pub(super) fn apply(files: &mut [RemoteFile], sums: &[(String, String)]) {
    for file in files {
        if let Some((_, sum)) = sums.iter().find(|(name, _)| *name == file.name) {
            file.hash = Some(Hash::Sha256(sum.clone()));
        }
    }
}

/// One name for all that a place says of its files: another size, tag or hash makes another.
pub(super) fn revision_of(files: &[RemoteFile]) -> String {
    let mut lines: Vec<String> = files
        .iter()
        .map(|RemoteFile { name, size, hash, tag }| {
            let hash = match hash {
                Some(Hash::Sha256(hash) | Hash::GitBlob(hash)) => hash.as_str(),
                None => "",
            };
            format!("{name}\n{}\n{hash}\n{}\n", size.unwrap_or_default(), tag.as_deref().unwrap_or_default())
        })
        .collect();
    lines.sort();
    format!("sha256-{}", hexadecimal(&Sha256::digest(lines.concat())))
}

/// Whether what is there now is what was pinned. A place without commits has no other revisions than that and `main`.
pub(super) fn check_revision(what: &str, asked: &RevisionName, found: &str) -> Result<(), RemoteError> {
    if asked.as_str() == found || asked.as_str() == "main" {
        Ok(())
    } else if asked.pinned().is_some() {
        let (revision, found) = (asked.as_str().to_owned(), found.to_owned());
        Err(RemoteError::Changed { what: what.to_owned(), revision, found })
    } else {
        Err(RemoteError::RevisionNotFound { what: what.to_owned(), revision: asked.as_str().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_moves_with_every_file_and_not_with_their_order() {
        let file = |name: &str, tag: &str| RemoteFile {
            name: name.to_owned(),
            size: Some(1),
            hash: None,
            tag: Some(tag.to_owned()),
        };
        let (a, b) = (file("a", "x"), file("b", "y"));
        let revision = revision_of(&[a.clone(), b.clone()]);
        assert_eq!(revision, revision_of(&[b.clone(), a.clone()]));
        assert_ne!(revision, revision_of(&[a.clone(), file("b", "z")]));
        assert_ne!(revision, revision_of(&[a]));
        let asked = |text: &str| check_revision("it", &text.parse().unwrap(), &revision);
        assert!(asked("main").is_ok() && asked(&revision).is_ok());
        assert!(matches!(asked("v2"), Err(RemoteError::RevisionNotFound { .. })));
        assert!(matches!(asked(&format!("sha256-{}", "0".repeat(64))), Err(RemoteError::Changed { .. })));
    }
}
