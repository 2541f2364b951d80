//! The part of a file that has come so far, and whether the whole is what it should be.

use std::io;
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::Wanted;
use crate::model::manifest::hexadecimal;
use crate::model::remote::Hash;
use crate::model::verify::for_each_chunk;

/// The sha256 of the content; the inner error says why the content is wrong.
pub(super) fn check(path: &Path, wanted: &Wanted) -> io::Result<Result<String, String>> {
    let found = fs_err::metadata(path)?.len();
    if found != wanted.size {
        return Ok(Err(format!("it has {found} bytes instead of {}", wanted.size)));
    }
    let mut sha256 = Sha256::new();
    let is_git = wanted.hashes.iter().any(|hash| matches!(hash, Hash::GitBlob(_)));
    let mut git = is_git.then(|| Sha1::new().chain_update(format!("blob {found}\0")));
    for_each_chunk(path, |chunk| {
        sha256.update(chunk);
        if let Some(git) = &mut git {
            git.update(chunk);
        }
    })?;
    let sha256 = hexadecimal(&sha256.finalize());
    let git = git.map(|git| hexadecimal(&git.finalize())).unwrap_or_default();
    for expected in &wanted.hashes {
        let (kind, found, expected) = match expected {
            Hash::Sha256(expected) => ("sha256", &sha256, expected),
            Hash::GitBlob(expected) => ("git hash", &git, expected),
        };
        if found != expected {
            return Ok(Err(format!("its {kind} is {found} instead of {expected}")));
        }
    }
    Ok(Ok(sha256))
}

/// The places of one file.
pub(super) struct Paths {
    pub(super) whole: PathBuf,
    pub(super) part: PathBuf,
    tag: PathBuf,
}

impl Paths {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        let whole = folder.join(name);
        Self {
            whole,
            part: folder.join(format!("{name}.part")),
            tag: folder.join(format!("{name}.part.tag")),
        }
    }

    pub(super) fn kept(&self) -> u64 {
        fs_err::metadata(&self.part).map_or(0, |metadata| metadata.len())
    }

    pub(super) fn tag(&self) -> Option<String> {
        fs_err::read_to_string(&self.tag).ok().filter(|tag| !tag.is_empty())
    }

    /// The tag is written before the first byte, so that no byte is ever without the tag that it belongs to.
    pub(super) fn append(&self, tag: Option<&str>) -> io::Result<File> {
        if self.kept() == 0 {
            fs_err::write(&self.tag, tag.unwrap_or_default())?;
        }
        OpenOptions::new().create(true).append(true).open(&self.part)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        for path in [&self.part, &self.tag] {
            match fs_err::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        fs_err::rename(&self.part, &self.whole)?;
        self.remove()
    }
}
