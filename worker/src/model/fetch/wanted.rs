//! The files that are fetched, and what each of them must be: as the source says, and as those say who vouch for them.

use std::collections::BTreeMap;

use super::FetchError;
use crate::model::download::Wanted;
use crate::model::manifest::is_safe_name;
use crate::model::remote::{Hash, Remote, RemoteFile, Revision, Unhashed};
use crate::model::select::Selection;

/// sha256 by file name.
type Checksums = BTreeMap<String, String>;

pub(super) fn wanted(
    vouching: &Checksums,
    remote: &dyn Remote,
    revision: &Revision,
    selection: &Selection,
) -> Result<Vec<Wanted>, FetchError> {
    let listed = |name: &str| revision.files.iter().find(|file| file.name == name).cloned();
    selection.names().filter_map(listed).map(|file| one(vouching, remote, revision, file)).collect()
}

pub(super) fn one(
    vouching: &Checksums,
    remote: &dyn Remote,
    revision: &Revision,
    file: RemoteFile,
) -> Result<Wanted, FetchError> {
    if !is_safe_name(&file.name) {
        return Err(FetchError::Name { name: file.name });
    }
    let given = vouched(vouching, &file.name)?;
    let can_be_unhashed = remote.unhashed() == Unhashed::PinnedAtFirstFetch;
    let needs_description =
        file.size.is_none() || (file.hash.is_none() && given.is_none() && !can_be_unhashed);
    let file = if needs_description { remote.describe(&revision.id, &file)? } else { file };
    let size = file.size.ok_or_else(|| FetchError::UnknownSize { name: file.name.clone() })?;
    let hashes: Vec<Hash> = file.hash.clone().into_iter().chain(given.map(Hash::Sha256)).collect();
    if hashes.is_empty() && !can_be_unhashed {
        return Err(FetchError::UnknownHash { name: file.name });
    }
    Ok(Wanted { file, size, hashes })
}

/// The sha256 that somebody vouches for. Whoever vouches for some files vouches for all that are used.
fn vouched(vouching: &Checksums, name: &str) -> Result<Option<String>, FetchError> {
    match vouching.get(name) {
        Some(sha256) => Ok(Some(sha256.clone())),
        None if vouching.is_empty() => Ok(None),
        None => Err(FetchError::Unvouched { name: name.to_owned() }),
    }
}

/// Of a file that came out of an archive, and has been hashed here.
pub(super) fn check_vouched(vouching: &Checksums, name: &str, sha256: &str) -> Result<(), FetchError> {
    match vouched(vouching, name)? {
        Some(expected) if expected != sha256 => {
            Err(FetchError::Vouched { name: name.to_owned(), found: sha256.to_owned(), expected })
        }
        Some(_) | None => Ok(()),
    }
}
