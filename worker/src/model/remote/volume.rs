//! Files of a volume that is mounted here, and nothing that is not on it: no link, no mount point, no `..` leads out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use http::StatusCode;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use super::{Content, RemoteFile, Resume};

/// A volume with more was made for something else.
pub(super) const MAX_ENTRIES: usize = 10_000;

/// What happens to links that stay on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    Refused,
}

/// Opens without leaving the volume, by whatever links. Not blocking, as a pipe would wait for its writer.
pub(super) fn open(volume: &File, path: &str, flags: OFlags, links: Links) -> io::Result<File> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let resolve = match links {
        Links::Followed => resolve,
        Links::Refused => resolve | ResolveFlags::NO_SYMLINKS,
    };
    Ok(File::from(openat2(volume, path, flags, Mode::empty(), resolve)?))
}

pub(super) fn leads_out(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::XDEV | Errno::LOOP))
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(super) fn is(found: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind
}

/// A regular file.
pub(super) struct Plain {
    size: Option<u64>,
    tag: String,
    /// Hard links.
    pub(super) names: u64,
}

impl Plain {
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let found = fstat(file)?;
        let size = u64::try_from(found.st_size).ok();
        Ok(is(&found, FileType::RegularFile).then(|| Self {
            size,
            tag: tag_of(&found),
            names: links_of(&found),
        }))
    }

    pub(super) fn remote(self, name: String) -> RemoteFile {
        RemoteFile { name, size: self.size, hash: None, tag: Some(self.tag) }
    }
}

/// The bytes of a file, from where another try ended if it is still the same file.
pub(super) fn content(mut file: File, found: RemoteFile, resume: Option<&Resume>) -> io::Result<Content> {
    let RemoteFile { size, tag, .. } = found;
    let known = size.unwrap_or_default();
    let resumed = resume.filter(|resume| resume.tag == tag && resume.offset <= known);
    let offset = resumed.map_or(0, |resume| resume.offset);
    file.seek(SeekFrom::Start(offset))?;
    Ok(Content {
        status: if resumed.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK },
        tag: tag.clone(),
        hash: None,
        range: resumed.map(|_| (offset, known)),
        size,
        encoded: false,
        body: Box::new(Steady { file, tag }),
    })
}

/// Reads a file for as long as nobody writes to it: half of what it was and half of what it became is neither.
struct Steady {
    file: File,
    tag: Option<String>,
}

impl Read for Steady {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if Some(tag_of(&fstat(&self.file)?)) != self.tag {
            return Err(io::Error::other("it was written to while it was read"));
        }
        Ok(count)
    }
}

/// By which a state of a file is known.
fn tag_of(found: &Stat) -> String {
    format!("\"{}-{}.{:09}\"", found.st_size, found.st_mtime, found.st_mtime_nsec)
}

/// Of another width on other processors.
#[expect(clippy::useless_conversion, reason = "it is u32 on 64-bit Arm")]
fn links_of(found: &Stat) -> u64 {
    u64::from(found.st_nlink)
}
