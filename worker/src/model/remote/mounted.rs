//! The image of a registry as the node has mounted it: the runtime has checked the digests of its layers and laid them over each other.
//! What is a model in it is what a fetch takes out of the same layers, so that one digest stands for both: plain files with plain
//! names, those of `models/` by their names below it. What a fetch would not take, or not find, is left to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};

use super::listed;
use super::volume::{Links, MAX_ENTRIES, Plain, content, is, is_absent, leads_out, open};
use super::{Content, Remote, RemoteError, RemoteFile, Resume, Revision, Unhashed};
use crate::model::bundle::BUNDLE_FILE;
use crate::model::signature::SIGNATURE_FILE;
use crate::model::source::{ImageReference, RevisionName};
use crate::model::sums::{self, MAX_SUMS_BYTES, SUMS_FILE};
use crate::model::unpack::{IMAGE_FOLDER, plain_name};

/// A name has three parts at most, and `models/` before it.
const DEPTH: usize = 4;

pub(super) struct Mounted {
    image: ImageReference,
    root: File,
}

impl Mounted {
    pub(super) fn new(image: ImageReference, root: &Path) -> Result<Self, RemoteError> {
        let what = format!("the mounted image {image}");
        let opened = fs_err::File::open(root).map_err(|source| RemoteError::Read { what, source })?;
        Ok(Self { image, root: opened.into_parts().0 })
    }

    fn what(&self) -> String {
        format!("the mounted image {}", self.image)
    }

    fn error(&self, source: io::Error) -> RemoteError {
        RemoteError::Read { what: self.what(), source }
    }

    fn unusable(&self, reason: String) -> RemoteError {
        RemoteError::Unusable { what: self.what(), reason }
    }

    /// The digest that was mounted; a tag may be another image by now.
    fn id(&self, revision: &RevisionName) -> Result<String, RemoteError> {
        let digits = match revision.pinned() {
            Some(digits) => Some(digits),
            None if revision.as_str() == "main" => self.image.digest(),
            None => None,
        };
        digits.map(|digits| format!("sha256-{digits}")).ok_or_else(|| {
            self.unusable("a mounted image is known by its digest, and none was given".to_owned())
        })
    }

    fn open(&self, path: &str) -> io::Result<File> {
        open(&self.root, path, OFlags::empty(), Links::Refused)
    }

    /// A file by its name in a model.
    fn file(&self, name: &str) -> io::Result<File> {
        let in_folder = self.open(&format!("{IMAGE_FOLDER}{name}"));
        in_folder.or_else(|error| if is_absent(&error) { self.open(name) } else { Err(error) })
    }

    fn list(&self) -> Result<Vec<RemoteFile>, RemoteError> {
        let mut listing = Listing { mounted: self, files: BTreeMap::new(), seen: 0 };
        listing.add("", DEPTH)?;
        Ok(listing.files.into_values().collect())
    }

    /// A list in the image names all that is in it, as one in an archive does.
    fn apply_sums(&self, files: &mut [RemoteFile]) -> Result<(), RemoteError> {
        if !files.iter().any(|file| file.name == SUMS_FILE) {
            return Ok(());
        }
        let mut text = String::new();
        let list = self.file(SUMS_FILE).map_err(|error| self.error(error))?;
        list.take(MAX_SUMS_BYTES).read_to_string(&mut text).map_err(|error| self.error(error))?;
        let sums = sums::parse(&text).map_err(|reason| self.unusable(format!("{SUMS_FILE}: {reason}")))?;
        let about = [SUMS_FILE, SIGNATURE_FILE, BUNDLE_FILE];
        let is_listed = |file: &&RemoteFile| {
            about.contains(&file.name.as_str()) || sums.iter().any(|(name, _)| *name == file.name)
        };
        if let Some(file) = files.iter().find(|file| !is_listed(file)) {
            return Err(self.unusable(format!("{} is not named by its {SUMS_FILE}", file.name)));
        }
        listed::apply(files, &sums);
        Ok(())
    }
}

/// The files of the image that could be of a model, by their names in one.
struct Listing<'a> {
    mounted: &'a Mounted,
    files: BTreeMap<String, RemoteFile>,
    seen: usize,
}

impl Listing<'_> {
    fn add(&mut self, prefix: &str, depth: usize) -> Result<(), RemoteError> {
        let mounted = self.mounted;
        let fail = |error| mounted.error(error);
        let path = if prefix.is_empty() { "." } else { prefix };
        let directory = match open(&mounted.root, path, OFlags::DIRECTORY, Links::Refused) {
            // Those of the distribution that an image is made on, as `root/`. Where a model is, all must be seen.
            Err(error) if is_closed(&error) && !prefix.is_empty() && !prefix.starts_with(IMAGE_FOLDER) => {
                return Ok(());
            }
            opened => opened.map_err(fail)?,
        };
        for entry in Dir::read_from(directory.as_fd()).map_err(|error| fail(error.into()))? {
            let entry = entry.map_err(|error| fail(error.into()))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.') {
                continue;
            }
            self.seen += 1;
            if self.seen > MAX_ENTRIES {
                return Err(mounted.unusable(format!("it has more than {MAX_ENTRIES} files")));
            }
            let found =
                statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| fail(error.into()))?;
            let path = format!("{prefix}{name}");
            if !is(&found, FileType::Directory) {
                self.take(&path)?;
            } else if depth > 1 {
                self.add(&format!("{path}/"), depth - 1)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &str) -> Result<(), RemoteError> {
        let Some(name) = plain_name(path) else { return Ok(()) };
        let plain = self.mounted.open(path).and_then(|file| Plain::of(&file)).ok().flatten();
        // What is no plain file of one name has no size here. A fetch takes no link: where a model needs one, it has the word.
        let file = match plain.filter(|plain| plain.names == 1) {
            Some(plain) => plain.remote(name.clone()),
            None => RemoteFile { name: name.clone(), size: None, hash: None, tag: None },
        };
        if self.files.insert(name.clone(), file).is_some() {
            return Err(self.mounted.unusable(format!("it has {name} twice, once below {IMAGE_FOLDER}")));
        }
        Ok(())
    }
}

fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

impl Remote for Mounted {
    fn resolve(&self, revision: &RevisionName) -> Result<Revision, RemoteError> {
        let id = self.id(revision)?;
        let mut files = self.list()?;
        if files.is_empty() {
            return Err(self.unusable("the runtime shows no file of it, as of an artifact".to_owned()));
        }
        self.apply_sums(&mut files)?;
        Ok(Revision { id, license: None, files, archives: Vec::new() })
    }

    fn content(&self, _: &str, file: &RemoteFile, resume: Option<&Resume>) -> Result<Content, RemoteError> {
        let link = || self.unusable(format!("{} is a link in it, and none is taken", file.name));
        let opened = self
            .file(&file.name)
            .map_err(|error| if leads_out(&error) { link() } else { self.error(error) })?;
        let plain = Plain::of(&opened).map_err(|error| self.error(error))?;
        let plain = plain.filter(|plain| plain.names == 1).ok_or_else(link)?;
        content(opened, plain.remote(file.name.clone()), resume).map_err(|error| self.error(error))
    }

    /// The runtime has checked the digests of the layers that they come from.
    fn unhashed(&self) -> Unhashed {
        Unhashed::PinnedAtFirstFetch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn mounted(root: &Path) -> Mounted {
        let image = format!("registry.example/team/bert@sha256:{DIGEST}");
        Mounted::new(image.parse().unwrap(), root).unwrap()
    }

    fn resolved(root: &Path) -> Result<Vec<(String, bool)>, String> {
        let revision = mounted(root).resolve(&"main".parse().unwrap()).map_err(|error| error.to_string())?;
        assert_eq!(revision.id, format!("sha256-{DIGEST}"));
        Ok(revision.files.into_iter().map(|file| (file.name, file.size.is_some())).collect())
    }

    /// A fetch of the same layers takes no link and strips no other folder; another choice would be another digest.
    #[test]
    fn the_choice_of_files_is_that_of_a_fetch() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "x").unwrap();
        };
        for path in [
            "models/config.json",
            "models/onnx/model.onnx",
            "models/a/b/c.json",
            "models/a/b/c/d.json",
            "models/.hidden",
            "models/a b",
            "etc/passwd",
            "tokenizer.json",
        ] {
            write(path);
        }
        let link = |target: &str, link: &str| {
            fs_err::os::unix::fs::symlink(target, root.path().join(link)).unwrap();
        };
        link("config.json", "models/linked.json");
        link("models", "also-models");
        fs_err::hard_link(root.path().join("etc/passwd"), root.path().join("models/second.json")).unwrap();
        let plain = |name: &str| (name.to_owned(), true);
        let linked = |name: &str| (name.to_owned(), false);
        assert_eq!(
            resolved(root.path()).unwrap(),
            [
                plain("a/b/c.json"),
                linked("also-models"),
                plain("config.json"),
                linked("etc/passwd"),
                linked("linked.json"),
                plain("onnx/model.onnx"),
                linked("second.json"),
                plain("tokenizer.json"),
            ]
        );
        let mounted = mounted(root.path());
        for name in ["linked.json", "second.json"] {
            let file = RemoteFile { name: name.to_owned(), size: None, hash: None, tag: None };
            let error = mounted.describe("", &file).unwrap_err().to_string();
            assert!(error.ends_with(&format!("{name} is a link in it, and none is taken")), "{error}");
        }
        write("config.json");
        assert!(resolved(root.path()).unwrap_err().ends_with("it has config.json twice, once below models/"));
    }

    #[test]
    fn a_list_in_the_image_names_all_of_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(root.path().join(name), text).unwrap();
        write("config.json", "x");
        write("SHA256SUMS", &format!("{DIGEST}  config.json\n"));
        assert_eq!(resolved(root.path()).unwrap().len(), 2);
        write("more.json", "x");
        let error = resolved(root.path()).unwrap_err();
        assert!(error.ends_with("more.json is not named by its SHA256SUMS"), "{error}");
    }

    #[test]
    fn a_tag_says_nothing_about_what_is_mounted() {
        let root = tempfile::tempdir().unwrap();
        fs_err::write(root.path().join("config.json"), "x").unwrap();
        let by_tag = Mounted::new("registry.example/bert:v1".parse().unwrap(), root.path()).unwrap();
        assert!(by_tag.resolve(&"main".parse().unwrap()).is_err());
        assert!(mounted(root.path()).resolve(&"v2".parse().unwrap()).is_err());
        let pinned = format!("sha256-{}", "0".repeat(64));
        assert_eq!(by_tag.resolve(&pinned.parse().unwrap()).unwrap().id, pinned);
    }
}
