//! A folder on a volume that somebody else fills. Links are followed as far as they stay on the volume, for caches of the hub's own
//! client are made of them; nothing leads out of it: no link, no mount point, no `..`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};

use super::candidates;
use super::listed::{self, check_revision, revision_of};
use super::volume::{Links, MAX_ENTRIES, Plain, content, is, is_absent, leads_out, open};
use super::{Content, Remote, RemoteError, RemoteFile, Resume, Revision, Unhashed};
use crate::model::source::{RevisionName, is_archive};
use crate::model::sums::{self, MAX_SUMS_BYTES, SUMS_FILE};

/// As deep as a model's files may lie.
const DEPTH: usize = 3;

pub(super) struct Folder {
    what: String,
    /// Where the volume is mounted: nothing is opened but from here.
    claim: File,
    /// Of the model's folder, on the volume.
    path: String,
    /// The one file that holds all others.
    archive: Option<String>,
}

impl Folder {
    pub(super) fn new(what: String, root: &Path, path: &str) -> Result<Self, RemoteError> {
        let (path, archive) = match path.rsplit_once('/') {
            Some((folder, file)) if is_archive(file) => (folder, Some(file.to_owned())),
            None if is_archive(path) => ("", Some(path.to_owned())),
            _ => (path, None),
        };
        let opened = fs_err::File::open(root);
        let opened = opened.map_err(|source| RemoteError::Read { what: what.clone(), source })?;
        let claim = opened.into_parts().0;
        let path = if path.is_empty() { "." } else { path }.to_owned();
        let folder = Self { what, claim, path, archive };
        match folder.directory("") {
            Ok(_) => Ok(folder),
            Err(error) if is_absent(&error) => Err(RemoteError::ModelNotFound { what: folder.what }),
            Err(error) => Err(folder.error(error)),
        }
    }

    fn error(&self, source: io::Error) -> RemoteError {
        let what = self.what.clone();
        if leads_out(&source) {
            let reason = "a link in its path leads out of the claim, or in a circle".to_owned();
            return RemoteError::Unusable { what, reason };
        }
        RemoteError::Read { what, source }
    }

    /// The path on the volume of what lies in the model's folder.
    fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn directory(&self, name: &str) -> io::Result<File> {
        open(&self.claim, &self.below(name), OFlags::DIRECTORY, Links::Followed)
    }

    fn file(&self, name: &str) -> Result<File, RemoteError> {
        open(&self.claim, &self.below(name), OFlags::empty(), Links::Followed).map_err(|error| {
            if is_absent(&error) {
                RemoteError::FileNotFound { what: self.what.clone(), file: name.to_owned() }
            } else {
                self.error(error)
            }
        })
    }

    fn describe_file(name: String, file: &File) -> io::Result<Option<RemoteFile>> {
        // A hard link is a second name for a file that may be anybody's, which only its owner can have made on purpose.
        Ok(Plain::of(file)?.filter(|plain| plain.names == 1).map(|plain| plain.remote(name)))
    }

    fn list(&self) -> Result<Vec<RemoteFile>, RemoteError> {
        let mut listing = Listing { folder: self, files: Vec::new(), seen: 0 };
        listing.add("", DEPTH)?;
        Ok(listing.files)
    }
}

/// The files below a folder, as far as they are found.
struct Listing<'a> {
    folder: &'a Folder,
    files: Vec<RemoteFile>,
    seen: usize,
}

impl Listing<'_> {
    fn add(&mut self, prefix: &str, depth: usize) -> Result<(), RemoteError> {
        let folder = self.folder;
        let fail = |error| folder.error(error);
        let directory = folder.directory(prefix).map_err(fail)?;
        for entry in Dir::read_from(directory.as_fd()).map_err(|error| fail(error.into()))? {
            let entry = entry.map_err(|error| fail(error.into()))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.') {
                continue;
            }
            self.seen += 1;
            if self.seen > MAX_ENTRIES {
                return Err(fail(io::Error::other(format!("it has more than {MAX_ENTRIES} files"))));
            }
            // Already gone: not there.
            let Ok(found) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let path = format!("{prefix}{name}");
            if is(&found, FileType::Directory) {
                if depth > 1 {
                    self.add(&format!("{path}/"), depth - 1)?;
                }
            } else {
                let file = self.linked_or_plain(path, is(&found, FileType::Symlink))?;
                self.files.extend(file);
            }
        }
        Ok(())
    }

    /// A link to a folder is no file, and nobody knows where it would end.
    fn linked_or_plain(&self, path: String, is_link: bool) -> Result<Option<RemoteFile>, RemoteError> {
        let Folder { what, claim, .. } = self.folder;
        let Ok(file) = open(claim, &self.folder.below(&path), OFlags::empty(), Links::Followed) else {
            // Half of a cache was copied. Without this file the model would seem to be another one, or none.
            if is_link && candidates::is_of_models(&path) {
                let what = format!("{path} of {what}");
                let reason = "it is a link to what is not on the claim; links must stay on it".to_owned();
                return Err(RemoteError::Unusable { what, reason });
            }
            return Ok(None);
        };
        Folder::describe_file(path, &file).map_err(|error| self.folder.error(error))
    }
}

impl Remote for Folder {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError> {
        let (mut files, mut archives) = (Vec::new(), Vec::new());
        if let Some(name) = &self.archive {
            let file =
                Self::describe_file(name.clone(), &self.file(name)?).map_err(|error| self.error(error))?;
            archives.extend(file);
        } else {
            files = self.list()?;
        }
        if files.is_empty() && archives.is_empty() {
            return Err(RemoteError::ModelNotFound { what: self.what.clone() });
        }
        if files.iter().any(|file| file.name == SUMS_FILE) {
            let mut text = String::new();
            let list = self.file(SUMS_FILE)?;
            list.take(MAX_SUMS_BYTES).read_to_string(&mut text).map_err(|error| self.error(error))?;
            let unusable =
                |reason| RemoteError::Unusable { what: format!("{SUMS_FILE} of {}", self.what), reason };
            listed::apply(&mut files, &sums::parse(&text).map_err(unusable)?);
        }
        let id = revision_of(&[files.as_slice(), archives.as_slice()].concat());
        check_revision(&self.what, revision, &id)?;
        Ok(Revision { id, license: None, files, archives })
    }

    fn content(&self, _: &str, file: &RemoteFile, resume: Option<&Resume>) -> Result<Content, RemoteError> {
        let opened = self.file(&file.name)?;
        let found = Self::describe_file(file.name.clone(), &opened).map_err(|error| self.error(error))?;
        let Some(found) = found else {
            return Err(RemoteError::FileNotFound { what: self.what.clone(), file: file.name.clone() });
        };
        content(opened, found, resume).map_err(|error| self.error(error))
    }

    fn unhashed(&self) -> Unhashed {
        Unhashed::PinnedAtFirstFetch
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn folder(root: &Path, path: &str) -> Folder {
        Folder::new("pvc://claim".to_owned(), root, path).unwrap()
    }

    fn names(root: &Path, path: &str) -> Vec<String> {
        let revision = folder(root, path).resolve(&"main".parse().unwrap()).unwrap();
        let mut names: Vec<_> = revision.files.into_iter().map(|file| file.name).collect();
        names.sort();
        names
    }

    fn link(target: &str, link: &Path) {
        fs_err::os::unix::fs::symlink(target, link).unwrap();
    }

    /// A volume is named by whoever may create an endpoint, and mounted beside what is none of theirs.
    #[test]
    fn nothing_leads_out_of_the_volume() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("volume");
        let model = root.join("team/model");
        fs_err::create_dir_all(model.join("onnx")).unwrap();
        fs_err::write(outside.path().join("secret"), "canary").unwrap();
        fs_err::write(root.join("other"), "x").unwrap();
        fs_err::write(model.join("config.json"), "{}").unwrap();
        fs_err::write(model.join("onnx/model.onnx"), "x").unwrap();
        fs_err::hard_link(root.join("other"), model.join("hard.json")).unwrap();
        for (target, name) in [
            ("../../../secret", "soft.json"),
            ("../..", "up"),
            ("/etc/passwd", "absolute.json"),
            ("/proc/self/root/etc/passwd", "magic.json"),
            ("circle.json", "circle.json"),
        ] {
            link(target, &model.join(name));
        }
        link("../..", &root.join("team/out"));
        assert_eq!(names(&root, "team/model"), ["config.json", "onnx/model.onnx"]);
        for name in [
            "soft.json",
            "up/../secret",
            "../../../secret",
            "/etc/passwd",
            "hard.json",
            "magic.json",
            "circle.json",
        ] {
            let file = RemoteFile { name: name.to_owned(), size: None, hash: None, tag: None };
            assert!(folder(&root, "team/model").content("", &file, None).is_err(), "{name}");
        }
        for path in ["team/out", "team/model/config.json", "absent"] {
            assert!(Folder::new("it".to_owned(), &root, path).is_err(), "{path}");
        }
    }

    /// `models--organisation--name`, as the hub's own client keeps a repository: snapshots of links to blobs.
    #[test]
    fn a_cache_of_the_hubs_client_is_a_model() {
        let root = tempfile::tempdir().unwrap();
        let repository = root.path().join("hub/models--team--splade");
        let snapshot = repository.join("snapshots/0123");
        fs_err::create_dir_all(snapshot.join("onnx")).unwrap();
        fs_err::create_dir_all(repository.join("blobs")).unwrap();
        for (blob, name) in [("a", "config.json"), ("b", "onnx/model.onnx")] {
            fs_err::write(repository.join("blobs").join(blob), blob).unwrap();
            let up = if name.contains('/') { "../../../blobs" } else { "../../blobs" };
            link(&format!("{up}/{blob}"), &snapshot.join(name));
        }
        link("snapshots/0123", &repository.join("latest"));
        for path in ["hub/models--team--splade/snapshots/0123", "hub/models--team--splade/latest"] {
            assert_eq!(names(root.path(), path), ["config.json", "onnx/model.onnx"]);
            let file = RemoteFile { name: "onnx/model.onnx".to_owned(), size: None, hash: None, tag: None };
            let mut text = String::new();
            folder(root.path(), path)
                .content("", &file, None)
                .unwrap()
                .body
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "b");
        }
        // Copied without its blobs.
        fs_err::remove_file(repository.join("blobs/b")).unwrap();
        let half = folder(root.path(), "hub/models--team--splade/snapshots/0123");
        let error = half.resolve(&"main".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("onnx/model.onnx of pvc://claim cannot be used"), "{error}");
    }

    /// Somebody may be filling the volume at this very moment.
    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("config.json");
        fs_err::write(&path, "0123456789").unwrap();
        let folder = folder(root.path(), "");
        let file = folder.resolve(&"main".parse().unwrap()).unwrap().files.remove(0);
        let mut body = folder.content("", &file, None).unwrap().body;
        let mut half = [0; 5];
        body.read_exact(&mut half).unwrap();
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let written = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
        written.file().set_modified(later).unwrap();
        let error = body.read_exact(&mut half).unwrap_err();
        assert_eq!(error.to_string(), "it was written to while it was read");
    }

    #[test]
    fn a_file_goes_on_only_where_it_is_still_the_same() {
        let root = tempfile::tempdir().unwrap();
        fs_err::write(root.path().join("config.json"), "0123456789").unwrap();
        let folder = Folder::new("it".to_owned(), root.path(), "").unwrap();
        let file = folder.resolve(&"main".parse().unwrap()).unwrap().files.remove(0);
        let read = |resume: &Resume| {
            let mut content = folder.content("", &file, Some(resume)).unwrap();
            let mut text = String::new();
            content.body.read_to_string(&mut text).unwrap();
            (content.status, text)
        };
        let resume = Resume { offset: 6, tag: file.tag.clone() };
        assert_eq!(read(&resume), (StatusCode::PARTIAL_CONTENT, "6789".to_owned()));
        let other = Resume { offset: 6, tag: Some("\"other\"".to_owned()) };
        assert_eq!(read(&other), (StatusCode::OK, "0123456789".to_owned()));
    }
}
