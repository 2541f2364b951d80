//! A bundle: one tar file with a model's files as the source has them, their hashes, and where they came from. Made where there is
//! internet; elsewhere it is a source like any other (`pvc://claim/bundle.tar`, `https://host/bundle.tar`).

use std::io;
use std::path::{Path, PathBuf};

use fs_err::File;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::model::fetch::{FetchError, Gathered, Wish, gather};
use crate::model::manifest::ManifestFile;
use crate::model::progress::Tracker;
use crate::model::signature::SIGNATURE_FILE;
use crate::model::sums::{self, SUMS_FILE};

/// For the reader: source, revision and licence.
pub const BUNDLE_FILE: &str = "bundle.json";

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{0} is not the name of a bundle: it must end in .tar")]
    Name(PathBuf),
    #[error("failed to write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Label<'a> {
    source: String,
    revision: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
}

/// Downloads by the wish and packs what came. The bundle appears under its name when it is whole.
pub fn create(
    wish: &Wish,
    bundle: &Path,
    tracker: &Tracker,
    cancel: &CancellationToken,
) -> Result<Gathered, BundleError> {
    if bundle.extension().is_none_or(|extension| extension != "tar") {
        return Err(BundleError::Name(bundle.to_owned()));
    }
    let gathered = gather(wish, tracker, cancel)?;
    let part = bundle.with_extension("tar.part");
    let write = |source| BundleError::Write { path: bundle.to_owned(), source };
    pack(wish, &gathered, &part).map_err(write)?;
    fs_err::rename(&part, bundle).map_err(write)?;
    fs_err::remove_dir_all(&gathered.folder).map_err(write)?;
    Ok(gathered)
}

fn pack(wish: &Wish, gathered: &Gathered, part: &Path) -> io::Result<()> {
    let Gathered { folder, revision, license, files } = gathered;
    let label = Label { source: wish.source.to_string(), revision, license: license.as_deref() };
    let label = serde_json::to_vec_pretty(&label)?;
    // What was signed is the source's own list, byte for byte.
    let signed = wish.public_key.as_ref().map(|_| read_signed(folder)).transpose()?;
    let (sums, signature) = signed.map_or_else(
        || {
            let listed =
                files.iter().map(|ManifestFile { name, sha256, size: _ }| (name.as_str(), sha256.as_str()));
            (sums::format(listed), None)
        },
        |(sums, signature)| (sums, Some(signature)),
    );
    let mut tar = tar::Builder::new(File::create(part)?);
    append(&mut tar, BUNDLE_FILE, label.len() as u64, label.as_slice())?;
    append(&mut tar, SUMS_FILE, sums.len() as u64, sums.as_bytes())?;
    if let Some(signature) = signature {
        append(&mut tar, SIGNATURE_FILE, signature.len() as u64, signature.as_bytes())?;
    }
    for ManifestFile { name, size, sha256: _ } in files {
        append(&mut tar, name, *size, File::open(folder.join(name))?)?;
    }
    tar.into_inner()?.sync_all()
}

fn read_signed(folder: &Path) -> io::Result<(String, String)> {
    let read = |name: &str| fs_err::read_to_string(folder.join(name));
    Ok((read(SUMS_FILE)?, read(SIGNATURE_FILE)?))
}

/// With the same owner and time for every bundle: the same files make the same bytes.
fn append(tar: &mut tar::Builder<File>, name: &str, size: u64, content: impl io::Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)
}
