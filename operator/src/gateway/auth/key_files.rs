//! The mounted Secret with the API keys, read again and again: the kubelet swaps a symbolic link when the
//! Secret changes, which no watch on files sees reliably.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::api_key::{Key, Keys};

const EVERY: Duration = Duration::from_secs(5);
const MOST_KEYS: usize = 10_000;
const LARGEST_FILE: u64 = 64 << 10;
/// So long the keys that were read last stand in for a directory that cannot be read; then no key is valid.
const MOST_FAILURES: u32 = 12;

pub(crate) struct KeyFiles {
    directory: PathBuf,
    found: watch::Sender<Arc<Found>>,
}

/// What a look at the directory found.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) keys: Keys,
    /// Why a file is no key, without its content.
    refused: Vec<String>,
}

impl KeyFiles {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, found: watch::Sender::default() }
    }

    pub(crate) fn current(&self) -> Arc<Found> {
        Arc::clone(&self.found.borrow())
    }

    /// Reads all keys.
    pub(crate) async fn load(&self) -> std::io::Result<()> {
        let directory = self.directory.clone();
        let read = tokio::task::spawn_blocking(move || read(&directory)).await;
        let found = read.map_err(std::io::Error::other)??;
        if found != *self.current() {
            for why in &found.refused {
                tracing::error!("API key refused: {why}");
            }
            tracing::info!(valid = found.keys.0.len(), refused = found.refused.len(), "API keys read");
            self.found.send_replace(Arc::new(found));
        }
        Ok(())
    }

    /// Goes on reading them.
    pub(crate) async fn follow(&self, ended: CancellationToken) {
        let mut failures = 0;
        while ended.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            match self.load().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "failed to read the API keys");
                    if failures >= MOST_FAILURES {
                        self.found.send_replace(Arc::default());
                    }
                }
            }
        }
    }
}

fn read(directory: &Path) -> std::io::Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // `..data` and what it points to are the kubelet's.
        if name.as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        let id = name.to_string_lossy();
        if found.keys.0.len() >= MOST_KEYS {
            found.refused.push(format!("[{id}]: there are more than {MOST_KEYS}"));
            break;
        }
        let path = entry.path();
        let size = fs::metadata(&path)?.len();
        if size > LARGEST_FILE {
            found.refused.push(format!("[{id}]: {size} bytes are more than {LARGEST_FILE}"));
            continue;
        }
        match Key::parse(&id, &fs::read(&path)?) {
            Ok(key) => drop(found.keys.0.insert(id.into_owned(), key)),
            Err(why) => found.refused.push(format!("[{id}]: {why}")),
        }
    }
    found.refused.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ENTRY: &str = r#"{"hash":"sha256:0000000000000000000000000000000000000000000000000000000000000000","namespaces":["a"],"verbs":["infer"],"endpoints":["*"]}"#;

    /// As the kubelet does it: the data in a directory of its own, links to it, and a swap.
    fn publish(directory: &Path, version: &str, files: &[(&str, &str)]) {
        let data = directory.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        for (name, content) in files {
            fs::write(data.join(name), content).unwrap();
            let link = directory.join(name);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        symlink(format!("..{version}"), directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_read_again_when_the_secret_changes() {
        let directory = tempfile::tempdir().unwrap();
        publish(directory.path(), "1", &[("first", ENTRY), ("bad", "{}")]);
        let files = Arc::new(KeyFiles::new(directory.path().to_owned()));
        let mut seen = files.found.subscribe();
        files.load().await.unwrap();
        let ended = CancellationToken::new();
        let following = {
            let (files, ended) = (Arc::clone(&files), ended.clone());
            tokio::spawn(async move { files.follow(ended).await })
        };
        seen.wait_for(|found| found.keys.0.contains_key("first")).await.unwrap();
        assert_eq!(files.current().keys.0.len(), 1, "the bad one is none");
        publish(directory.path(), "2", &[("second", ENTRY)]);
        fs::remove_file(directory.path().join("first")).unwrap();
        fs::remove_file(directory.path().join("bad")).unwrap();
        seen.wait_for(|found| found.keys.0.contains_key("second") && found.keys.0.len() == 1).await.unwrap();
        ended.cancel();
        following.await.unwrap();
    }

    /// Nobody knows which keys were withdrawn meanwhile.
    #[tokio::test(start_paused = true)]
    async fn keys_that_cannot_be_read_for_long_are_no_keys() {
        let directory = tempfile::tempdir().unwrap();
        publish(directory.path(), "1", &[("first", ENTRY)]);
        let files = Arc::new(KeyFiles::new(directory.path().to_owned()));
        let mut seen = files.found.subscribe();
        files.load().await.unwrap();
        let following = {
            let files = Arc::clone(&files);
            tokio::spawn(async move { files.follow(CancellationToken::new()).await })
        };
        seen.wait_for(|found| !found.keys.0.is_empty()).await.unwrap();
        drop(directory);
        seen.wait_for(|found| found.keys.0.is_empty()).await.unwrap();
        following.abort();
    }
}
