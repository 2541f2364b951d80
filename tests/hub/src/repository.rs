//! A folder as a hub's repository: its files with the hashes that the hub announces.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// How the hub keeps a file, which decides what it announces as its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In git: the `ETag` is the sha1 of the git blob.
    Git { blob: String },
    /// As a large file: the `ETag` is the sha256 of the content, which another address serves.
    Large { sha256: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoFile {
    /// Path inside the repository, `/` between folders.
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
    pub storage: Storage,
}

#[derive(Clone, Debug)]
pub struct Repository {
    pub name: String,
    /// The commit: 40 hexadecimal digits.
    pub commit: String,
    /// Branches and tags that point to the commit.
    pub references: Vec<String>,
    pub license: Option<String>,
    pub files: Vec<RepoFile>,
    /// Set: only requests that carry this bearer token see the repository.
    pub token: Option<String>,
}

impl Repository {
    /// Reads a folder. `revision` is a commit when it has 40 hexadecimal digits, else one more name for a commit that
    /// follows from the content; `main` always points to it.
    pub fn open(name: &str, folder: &Path, revision: Option<&str>) -> anyhow::Result<Self> {
        if name.split('/').filter(|part| !part.is_empty()).count() != 2 {
            bail!("repository {name:?} is not of the form organisation/name");
        }
        let mut files = Vec::new();
        collect(folder, "", &mut files)?;
        files.sort_by(|left, right| left.name.cmp(&right.name));
        let mut references = vec!["main".to_owned()];
        let commit = match revision {
            Some(commit) if is_commit(commit) => commit.to_owned(),
            other => {
                references.extend(other.map(str::to_owned));
                content_commit(&files)
            }
        };
        Ok(Self { name: name.to_owned(), commit, references, license: license(folder), files, token: None })
    }

    /// `organisation/name=FOLDER[@revision]`, as the command line writes it.
    pub fn parse(argument: &str) -> anyhow::Result<Self> {
        let (name, rest) = argument
            .split_once('=')
            .with_context(|| format!("{argument:?} is not organisation/name=FOLDER"))?;
        let (folder, revision) = match rest.rsplit_once('@') {
            Some((folder, revision)) => (folder, Some(revision)),
            None => (rest, None),
        };
        Self::open(name, Path::new(folder), revision)
    }

    /// Every `organisation/name` folder below `root`.
    pub fn below(root: &Path) -> anyhow::Result<Vec<Self>> {
        let mut repositories = Vec::new();
        for organisation in folders(root)? {
            for name in folders(&root.join(&organisation))? {
                let folder = root.join(&organisation).join(&name);
                repositories.push(Self::open(&format!("{organisation}/{name}"), &folder, None)?);
            }
        }
        Ok(repositories)
    }

    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    pub(crate) fn resolves(&self, revision: &str) -> bool {
        self.commit == revision || self.references.iter().any(|reference| reference == revision)
    }

    pub fn file(&self, name: &str) -> Option<&RepoFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn folders(parent: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && fs_err::metadata(entry.path())?.is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<RepoFile>) -> anyhow::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let full_name = format!("{prefix}{name}");
        if fs_err::metadata(&path)?.is_dir() {
            collect(&path, &format!("{full_name}/"), files)?;
        } else {
            files.push(describe(full_name, path)?);
        }
    }
    Ok(())
}

fn describe(name: String, path: PathBuf) -> anyhow::Result<RepoFile> {
    let content = fs_err::read(&path)?;
    let size = u64::try_from(content.len())?;
    let is_large =
        ["safetensors", "onnx", "bin", "onnx_data"].iter().any(|extension| name.ends_with(extension));
    let storage = if is_large {
        Storage::Large { sha256: hexadecimal(&Sha256::digest(&content)) }
    } else {
        let mut blob = Sha1::new();
        blob.update(format!("blob {size}\0"));
        blob.update(&content);
        Storage::Git { blob: hexadecimal(&blob.finalize()) }
    };
    Ok(RepoFile { name, path, size, storage })
}

/// Names and hashes decide the commit, so that two hubs of one folder agree on it.
fn content_commit(files: &[RepoFile]) -> String {
    let mut commit = Sha1::new();
    for RepoFile { name, storage, path: _, size: _ } in files {
        let (Storage::Git { blob: hash } | Storage::Large { sha256: hash }) = storage;
        commit.update(format!("{name} {hash}\n"));
    }
    hexadecimal(&commit.finalize())
}

/// The `license:` line of the model card's front matter.
fn license(folder: &Path) -> Option<String> {
    let card = fs_err::read_to_string(folder.join("README.md")).ok()?;
    let front_matter = card.strip_prefix("---\n")?.split("\n---").next()?;
    front_matter.lines().find_map(|line| line.strip_prefix("license:")).map(|value| value.trim().to_owned())
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
    }

    #[test]
    fn an_argument_names_repository_folder_and_revision() {
        let folder = folder();
        let argument = |rest: &str| format!("lexiscale/demo={}{rest}", folder.display());
        let commit = "a".repeat(40);
        let repository = Repository::parse(&argument(&format!("@{commit}"))).unwrap();
        assert_eq!(
            (repository.name.as_str(), repository.commit.as_str()),
            ("lexiscale/demo", commit.as_str())
        );
        assert!(repository.resolves("main") && repository.resolves(&commit) && !repository.resolves("v1"));
        let tagged = Repository::parse(&argument("@v1")).unwrap();
        assert!(tagged.resolves("v1") && tagged.resolves(&tagged.commit));
        assert_eq!(Repository::parse(&argument("")).unwrap().commit, tagged.commit, "the content decides");
        for bad in ["lexiscale/demo", "demo=/tmp", "a/b=/nowhere/at/all"] {
            assert!(Repository::parse(bad).is_err(), "{bad}");
        }
    }

    /// As `git hash-object` says.
    #[test]
    fn small_files_have_the_hash_of_their_git_object() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("hello"), "hello\n").unwrap();
        let repository = Repository::open("a/b", folder.path(), None).unwrap();
        let blob = "ce013625030ba8dba906f756967f9e9ca394464a".to_owned();
        assert_eq!(repository.file("hello").unwrap().storage, Storage::Git { blob });
    }
}
