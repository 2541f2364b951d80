//! The folder in which an unfinished fetch works, and the lock that keeps two fetches apart.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err::File;
use sha2::{Digest, Sha256};

use super::error::{FetchError, volume};
use crate::model::manifest::hexadecimal;
use crate::model::source::Source;

const PREFIX: &str = ".partial-";
const LOCK: &str = ".lock";

/// Bytes that a failed fetch has left for the next one.
pub fn partial_bytes(output: &Path) -> u64 {
    fn below(folder: &Path) -> u64 {
        let Ok(entries) = fs_err::read_dir(folder) else {
            return 0;
        };
        entries
            .filter_map(Result::ok)
            .map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => below(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            })
            .sum()
    }
    let Ok(entries) = fs_err::read_dir(output) else {
        return 0;
    };
    let partials =
        entries.filter_map(Result::ok).filter(|entry| is_partial(&entry.file_name().to_string_lossy()));
    partials.map(|entry| below(&entry.path())).sum()
}

pub(super) fn partial_name(source: &Source, commit: &str) -> String {
    let key = hexadecimal(&Sha256::digest(format!("{source}@{commit}")));
    format!("{PREFIX}{}", &key[..16])
}

fn is_partial(name: &str) -> bool {
    name.starts_with(PREFIX)
}

pub(super) fn remove_other_partials(output: &Path, keep: &Path) -> Result<(), FetchError> {
    for entry in fs_err::read_dir(output).map_err(|source| volume(output, source))? {
        let path = entry.map_err(|source| volume(output, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_partial(&name) && path != keep {
            remove_folder(&path)?;
        }
    }
    Ok(())
}

pub(super) fn remove_folder(folder: &Path) -> Result<(), FetchError> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(volume(folder, error)),
        _ => Ok(()),
    }
}

/// Two pods of one job can overlap for a moment; the second one waits for its turn and then finds the work done.
pub(super) fn lock(output: &Path) -> Result<std::fs::File, FetchError> {
    const PATIENCE: Duration = Duration::from_mins(1);
    let path = output.join(LOCK);
    let file = File::create(&path).map_err(|source| volume(&path, source))?.into_parts().0;
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(FetchError::Locked { folder: output.display().to_string() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(volume(&path, source)),
        }
    }
}
