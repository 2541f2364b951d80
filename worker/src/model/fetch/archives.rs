//! A model that comes in tar archives: a bundle, or the layers of an image. The archives are downloaded like any file; what comes
//! out of them lies where downloaded files would.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::error::volume;
use super::partial::remove_folder;
use super::signed::of_folder;
use super::wanted::{check_vouched, one};
use super::{FetchError, Run, converted_bytes};
use crate::model::bundle::BUNDLE_FILE;
use crate::model::manifest::ManifestFile;
use crate::model::remote::RemoteFile;
use crate::model::select::{Selection, select};
use crate::model::signature::SIGNATURE_FILE;
use crate::model::sums::{self, SUMS_FILE};
use crate::model::unpack::{Taken, Unpacked, unpack};
use crate::model::verify::sha256_of;
use lexiscale_wire::Phase;

/// With a name that nothing out of an archive can have.
const FOLDER: &str = ".archives";

pub(super) fn fetch(run: &Run<'_>) -> Result<(Selection, Vec<ManifestFile>), FetchError> {
    let folder = run.partial.join(FOLDER);
    fs_err::create_dir_all(&folder).map_err(|source| volume(&folder, source))?;
    let archives = &run.revision.archives;
    let wanted: Vec<_> = archives
        .iter()
        .map(|archive: &RemoteFile| one(&BTreeMap::new(), run.remote, run.revision, archive.clone()))
        .collect::<Result<_, _>>()?;
    let bytes: u64 = wanted.iter().map(|archive| archive.size).fold(0, u64::saturating_add);
    run.check_size(bytes, bytes)?;
    run.tracker.plan(u32::try_from(wanted.len()).unwrap_or(u32::MAX), bytes);
    run.tracker.phase(Phase::Downloading, Instant::now());
    let downloader = run.downloader(&folder);
    for archive in &wanted {
        downloader.fetch(archive)?;
    }
    run.tracker.phase(Phase::Verifying, Instant::now());
    // By name, with the path in the image: a later layer replaces files of an earlier one, or takes them away.
    let mut there: BTreeMap<String, String> = BTreeMap::new();
    let mut left = run.wish.max_bytes;
    for archive in archives {
        let Unpacked { files, hidden } = unpack(&folder.join(&archive.name), run.partial, left)?;
        let new: BTreeSet<&str> = files.iter().map(|taken| taken.name.as_str()).collect();
        let gone: Vec<_> = there.extract_if(.., |_, path| hidden.hides(path)).collect();
        for (name, _) in gone.iter().filter(|(name, _)| !new.contains(name.as_str())) {
            let path = run.partial.join(name);
            fs_err::remove_file(&path).map_err(|source| volume(&path, source))?;
        }
        for Taken { name, path } in files {
            left = left.saturating_sub(size_of(run, &name)?);
            there.insert(name, path);
        }
    }
    let names: Vec<String> = there.into_keys().collect();
    remove_folder(&folder)?;
    check_sums(run, &names)?;
    let selection = select(&names)?;
    // By other sources they would never have come, and the digest does not cover them.
    let is_used = |name: &String| {
        [SUMS_FILE, SIGNATURE_FILE, BUNDLE_FILE].contains(&name.as_str())
            || selection.names().any(|used| used == name)
    };
    for name in names.iter().filter(|name| !is_used(name)) {
        let path = run.partial.join(name);
        fs_err::remove_file(&path).map_err(|source| volume(&path, source))?;
    }
    let vouched = match &run.wish.public_key {
        Some(key) => run.vouched(of_folder(run.partial, key)?)?,
        None => run.wish.checksums.clone(),
    };
    let mut files = Vec::new();
    for name in selection.names() {
        let path = run.partial.join(name);
        let sha256 = sha256_of(&path).map_err(|source| volume(&path, source))?;
        check_vouched(&vouched, name, &sha256)?;
        files.push(ManifestFile { name: name.to_owned(), size: size_of(run, name)?, sha256 });
    }
    run.check_config(&selection)?;
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    run.check_size(bytes, converted_bytes(bytes, &selection))?;
    Ok((selection, files))
}

fn size_of(run: &Run<'_>, name: &str) -> Result<u64, FetchError> {
    let path = run.partial.join(name);
    Ok(fs_err::metadata(&path).map_err(|source| volume(&path, source))?.len())
}

/// A bundle holds the hashes of its files; one that was damaged on a stick says so.
fn check_sums(run: &Run<'_>, names: &[String]) -> Result<(), FetchError> {
    if !names.iter().any(|name| name == SUMS_FILE) {
        return Ok(());
    }
    let path = run.partial.join(SUMS_FILE);
    let text = fs_err::read_to_string(&path).map_err(|source| volume(&path, source))?;
    let listed = sums::parse(&text).map_err(|reason| FetchError::Sums { reason })?;
    let about = [SUMS_FILE, SIGNATURE_FILE, BUNDLE_FILE];
    for name in names.iter().filter(|name| !about.contains(&name.as_str())) {
        let Some((_, expected)) = listed.iter().find(|(listed, _)| listed == name) else {
            return Err(FetchError::Unvouched { name: name.clone() });
        };
        let path = run.partial.join(name);
        let found = sha256_of(&path).map_err(|source| volume(&path, source))?;
        if found != *expected {
            return Err(FetchError::Vouched { name: name.clone(), found, expected: expected.clone() });
        }
    }
    Ok(())
}
