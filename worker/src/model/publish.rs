//! Puts a finished folder in its place so that nobody ever sees half of it, also after a power cut.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Replaces what is published there.
pub fn publish(staging: &Path, published: &Path) -> io::Result<()> {
    sync_below(staging)?;
    if published.exists() {
        replace(staging, published)?;
    } else {
        fs_err::rename(staging, published)?;
    }
    match published.parent() {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// A worker that starts in between finds the old model or the new one. The old one ends where the new one was made, and
/// goes away with that.
fn replace(staging: &Path, published: &Path) -> io::Result<()> {
    if renameat_with(CWD, staging, CWD, published, RenameFlags::EXCHANGE).is_err() {
        // Some network file systems cannot exchange; there is a moment without a model then.
        fs_err::remove_dir_all(published)?;
        fs_err::rename(staging, published)?;
    }
    Ok(())
}

fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_below(&path)?;
        } else {
            sync(&path)?;
        }
    }
    sync(folder)
}

fn sync(path: &Path) -> io::Result<()> {
    fs_err::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_folder_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (staging, published) = (folder.path().join("staging"), folder.path().join("model"));
        for content in ["first", "second"] {
            fs_err::create_dir_all(staging.join("below")).unwrap();
            fs_err::write(staging.join("below/file"), content).unwrap();
            publish(&staging, &published).unwrap();
            assert_eq!(fs_err::read_to_string(published.join("below/file")).unwrap(), content);
        }
    }
}
