//! The checksums that a key vouches for: `SHA256SUMS` with a signature beside it, at whatever place the model lies.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::volume;
use super::wanted::one;
use super::{FetchError, Run};
use crate::model::signature::{MAX_SIGNATURE_BYTES, PublicKey, SIGNATURE_FILE};
use crate::model::sums::{self, MAX_SUMS_BYTES, SUMS_FILE};

/// Downloads list and signature, and reads them.
pub(super) fn checksums(run: &Run<'_>, key: &PublicKey) -> Result<BTreeMap<String, String>, FetchError> {
    let downloader = run.downloader(run.partial);
    for (name, limit) in [(SUMS_FILE, MAX_SUMS_BYTES), (SIGNATURE_FILE, MAX_SIGNATURE_BYTES)] {
        let listed = run.revision.files.iter().find(|file| file.name == name).cloned();
        let file = listed.ok_or_else(|| FetchError::Signature { reason: format!("there is no {name}") })?;
        let wanted = one(&BTreeMap::new(), run.remote, run.revision, file)?;
        if wanted.size > limit {
            return Err(FetchError::Signature { reason: format!("{name} has {} bytes", wanted.size) });
        }
        downloader.fetch(&wanted)?;
    }
    of_folder(run.partial, key)
}

/// Reads list and signature where they lie.
pub(super) fn of_folder(folder: &Path, key: &PublicKey) -> Result<BTreeMap<String, String>, FetchError> {
    let read = |name: &str| {
        let path = folder.join(name);
        match fs_err::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(FetchError::Signature { reason: format!("there is no {name}") })
            }
            Err(error) => Err(volume(&path, error)),
        }
    };
    let (list, signature) = (read(SUMS_FILE)?, read(SIGNATURE_FILE)?);
    let invalid = |reason: String| FetchError::Signature { reason };
    key.verify(list.as_bytes(), &signature).map_err(|error| invalid(error.to_string()))?;
    let files = sums::parse(&list).map_err(|reason| FetchError::Sums { reason })?;
    Ok(files.into_iter().collect())
}
