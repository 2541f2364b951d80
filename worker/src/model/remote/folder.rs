//! A folder on a volume that somebody else fills. Nothing is followed out of it: no link, no mount point, no `..`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use http::StatusCode;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::listed::{self, check_revision, revision_of};
use super::{Content, Remote, RemoteError, RemoteFile, Resume, Revision, Unhashed};
use crate::model::source::{RevisionName, is_archive};
use crate::model::sums::{self, MAX_SUMS_BYTES, SUMS_FILE};

/// As deep as a model's files may lie.
const DEPTH: usize = 3;
const MAX_ENTRIES: usize = 10_000;

pub(super) struct Folder {
    what: String,
    root: File,
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
        let read = |source| RemoteError::Read { what: what.clone(), source };
        let root = fs_err::File::open(root).map_err(read)?;
        let path = if path.is_empty() { "." } else { path };
        match below(root.file(), path, OFlags::DIRECTORY) {
            Ok(root) => Ok(Self { what, root, archive }),
            Err(error) if is_absent(&error) => Err(RemoteError::ModelNotFound { what }),
            Err(error) => Err(read(error)),
        }
    }

    fn error(&self, source: io::Error) -> RemoteError {
        RemoteError::Read { what: self.what.clone(), source }
    }

    fn open(&self, name: &str) -> Result<File, RemoteError> {
        below(&self.root, name, OFlags::empty()).map_err(|error| {
            if is_absent(&error) {
                RemoteError::FileNotFound { what: self.what.clone(), file: name.to_owned() }
            } else {
                self.error(error)
            }
        })
    }

    fn describe_file(name: String, file: &File) -> io::Result<Option<RemoteFile>> {
        let found = fstat(file)?;
        // A hard link is a second name for a file that may be anybody's, which only its owner can have made on purpose.
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink != 1 {
            return Ok(None);
        }
        let tag = format!("\"{}-{}.{:09}\"", found.st_size, found.st_mtime, found.st_mtime_nsec);
        Ok(Some(RemoteFile { name, size: u64::try_from(found.st_size).ok(), hash: None, tag: Some(tag) }))
    }

    fn list(folder: &File, prefix: &str, depth: usize, files: &mut Vec<RemoteFile>) -> io::Result<()> {
        for entry in Dir::read_from(folder.as_fd())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.') {
                continue;
            }
            // What is a link, a device or already gone is not there.
            let Ok(found) = below(folder, name, OFlags::empty()) else { continue };
            let path = format!("{prefix}{name}");
            if found.metadata()?.is_dir() {
                if depth > 1 {
                    Self::list(&found, &format!("{path}/"), depth - 1, files)?;
                }
            } else {
                files.extend(Self::describe_file(path, &found)?);
            }
            if files.len() > MAX_ENTRIES {
                return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} files")));
            }
        }
        Ok(())
    }
}

impl Remote for Folder {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError> {
        let (mut files, mut archives) = (Vec::new(), Vec::new());
        if let Some(name) = &self.archive {
            let file =
                Self::describe_file(name.clone(), &self.open(name)?).map_err(|error| self.error(error))?;
            archives.extend(file);
        } else {
            Self::list(&self.root, "", DEPTH, &mut files).map_err(|error| self.error(error))?;
        }
        if files.is_empty() && archives.is_empty() {
            return Err(RemoteError::ModelNotFound { what: self.what.clone() });
        }
        if files.iter().any(|file| file.name == SUMS_FILE) {
            let mut text = String::new();
            let list = self.open(SUMS_FILE)?;
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
        let mut opened = self.open(&file.name)?;
        let found = Self::describe_file(file.name.clone(), &opened).map_err(|error| self.error(error))?;
        let Some(RemoteFile { size: Some(size), tag, .. }) = found else {
            return Err(RemoteError::FileNotFound { what: self.what.clone(), file: file.name.clone() });
        };
        let resumed = resume.filter(|resume| resume.tag == tag && resume.offset <= size);
        let offset = resumed.map_or(0, |resume| resume.offset);
        opened.seek(SeekFrom::Start(offset)).map_err(|error| self.error(error))?;
        let status = if resumed.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let range = resumed.map(|_| (offset, size));
        Ok(Content {
            status,
            tag,
            hash: None,
            range,
            size: Some(size),
            encoded: false,
            body: Box::new(opened),
        })
    }

    fn unhashed(&self) -> Unhashed {
        Unhashed::PinnedAtFirstFetch
    }
}

/// Opens without following any link and without leaving the folder. Not blocking, as a pipe would wait for its writer.
fn below(folder: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    Ok(File::from(openat2(folder, name, flags, Mode::empty(), resolve)?))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, path: &str) -> Vec<String> {
        let folder = Folder::new("pvc://claim".to_owned(), root, path).unwrap();
        let revision = folder.resolve(&"main".parse().unwrap()).unwrap();
        let mut names: Vec<_> = revision.files.into_iter().map(|file| file.name).collect();
        names.sort();
        names
    }

    /// A volume may hold more than the model, and links are how one gets at it.
    #[test]
    fn links_lead_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("team/model");
        fs_err::create_dir_all(model.join("onnx")).unwrap();
        fs_err::write(root.path().join("secret"), "canary").unwrap();
        fs_err::write(model.join("config.json"), "{}").unwrap();
        fs_err::write(model.join("onnx/model.onnx"), "x").unwrap();
        fs_err::hard_link(root.path().join("secret"), model.join("hard.json")).unwrap();
        for (target, link) in [("../../secret", "soft.json"), ("..", "up"), ("/etc/passwd", "absolute.json")]
        {
            fs_err::os::unix::fs::symlink(target, model.join(link)).unwrap();
        }
        fs_err::os::unix::fs::symlink("model", root.path().join("team/alias")).unwrap();
        assert_eq!(names(root.path(), "team/model"), ["config.json", "onnx/model.onnx"]);
        let folder = Folder::new("it".to_owned(), root.path(), "team/model").unwrap();
        for name in ["soft.json", "up/secret", "../../secret", "/etc/passwd", "hard.json"] {
            let file = RemoteFile { name: name.to_owned(), size: None, hash: None, tag: None };
            assert!(folder.content("", &file, None).is_err(), "{name}");
        }
        for path in ["team/alias", "team/model/config.json", "absent"] {
            assert!(Folder::new("it".to_owned(), root.path(), path).is_err(), "{path}");
        }
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
