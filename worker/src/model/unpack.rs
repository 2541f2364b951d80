//! Takes a model's files out of a tar archive: plain files with plain names, within bounds. Links, devices and paths that lead
//! elsewhere are not taken, whatever else an image has them for.

mod hidden;
mod preface;

use std::io::{self, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use fs_err::File;

use crate::model::manifest::is_safe_name;
pub use hidden::Hidden;
use preface::{Preface, PrefaceError};

const MAX_ENTRIES: u32 = 10_000;
/// A gzip file that grows by more than this was made to.
const MAX_RATIO: u64 = 100;
/// Where images that carry models keep them.
pub(crate) const IMAGE_FOLDER: &str = "models/";

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("failed to read archive {archive}")]
    Read {
        archive: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to write {file} from archive {archive}")]
    Write {
        archive: String,
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("archive {archive} has more than {MAX_ENTRIES} entries")]
    Entries { archive: String },
    #[error("archive {archive} unpacks to more than {limit} bytes")]
    TooLarge { archive: String, limit: u64 },
    #[error("archive {archive} has {file} twice")]
    Twice { archive: String, file: String },
    #[error("archive {archive} cannot be used: {reason}")]
    Unusable { archive: String, reason: String },
}

/// What came out of an archive.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// In the archive's order.
    pub files: Vec<Taken>,
    /// What it says of the archives that it lies over.
    pub hidden: Hidden,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Below the model's folder.
    pub name: String,
    /// In the image.
    pub path: String,
}

/// Unpacks into the folder. `limit` bounds all of it.
pub fn unpack(archive: &Path, folder: &Path, limit: u64) -> Result<Unpacked, UnpackError> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let read = |source| UnpackError::Read { archive: name.clone(), source };
    let file = File::open(archive).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    if archive.extension().is_some_and(|ending| ending == "gz") {
        let most = size.saturating_mul(MAX_RATIO).saturating_add(1024 * 1024);
        Unpacking { name: &name, folder, left: limit, limit }.run(MultiGzDecoder::new(file).take(most))
    } else {
        Unpacking { name: &name, folder, left: limit, limit }.run(file)
    }
}

struct Unpacking<'a> {
    name: &'a str,
    folder: &'a Path,
    left: u64,
    limit: u64,
}

impl Unpacking<'_> {
    fn run(mut self, reader: impl Read) -> Result<Unpacked, UnpackError> {
        let archive = || self.name.to_owned();
        let read = |source| UnpackError::Read { archive: archive(), source };
        let preface_error = |error| match error {
            PrefaceError::Read(source) => read(source),
            other => UnpackError::Unusable { archive: archive(), reason: other.to_string() },
        };
        let mut tar = tar::Archive::new(reader);
        let mut unpacked = Unpacked::default();
        let mut entries = 0;
        let mut preface = Preface::default();
        for entry in tar.entries().map_err(read)?.raw(true) {
            let mut entry = entry.map_err(read)?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(UnpackError::Entries { archive: archive() });
            }
            if preface.take(&mut entry).map_err(preface_error)? {
                continue;
            }
            let preface = std::mem::take(&mut preface);
            let path = preface.path(&entry).map_err(preface_error)?;
            let Ok(path) = String::from_utf8(path) else { continue };
            let path = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/').to_owned();
            let kind = entry.header().entry_type();
            unpacked.hidden.note(kind, &path);
            if !matches!(kind, tar::EntryType::Regular | tar::EntryType::Continuous) {
                continue;
            }
            let Some(file) = plain_name(&path) else { continue };
            let size = entry.size();
            if size > self.left {
                return Err(UnpackError::TooLarge { archive: archive(), limit: self.limit });
            }
            if unpacked.files.iter().any(|taken| taken.name == file) {
                return Err(UnpackError::Twice { archive: archive(), file });
            }
            self.left -= size;
            self.write(&file, size, &mut entry)?;
            unpacked.files.push(Taken { name: file, path });
        }
        Ok(unpacked)
    }

    fn write(&self, file: &str, size: u64, entry: &mut impl Read) -> Result<(), UnpackError> {
        let path = self.folder.join(file);
        let write =
            |source| UnpackError::Write { archive: self.name.to_owned(), file: file.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent).map_err(write)?;
        }
        let read = |source| UnpackError::Read { archive: self.name.to_owned(), source };
        let mut output = File::create(&path).map_err(write)?;
        let mut buffer = vec![0; 128 * 1024];
        let mut left = size;
        while left > 0 {
            let count = entry.read(&mut buffer).map_err(read)?;
            if count == 0 {
                return Err(read(io::ErrorKind::UnexpectedEof.into()));
            }
            output.write_all(&buffer[..count]).map_err(write)?;
            left = left.saturating_sub(count as u64);
        }
        output.sync_all().map_err(write)
    }
}

/// The name below the model's folder, of a path that is one.
pub(crate) fn plain_name(path: &str) -> Option<String> {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    let name = path.strip_prefix(IMAGE_FOLDER).unwrap_or(path);
    is_safe_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn entry(kind: tar::EntryType, path: &str, content: &[u8], size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        // As an attacker writes it: the library's own setter would refuse.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        if kind == tar::EntryType::Symlink || kind == tar::EntryType::Link {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn file(path: &str, content: &[u8]) -> Vec<u8> {
        entry(tar::EntryType::Regular, path, content, content.len() as u64)
    }

    fn unpacked(name: &str, bytes: &[u8]) -> Result<Vec<String>, UnpackError> {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join(name);
        fs_err::write(&archive, bytes).unwrap();
        let output = folder.path().join("deep/below/output");
        fs_err::create_dir_all(&output).unwrap();
        let outcome = unpack(&archive, &output, 100_000)
            .map(|unpacked| unpacked.files.into_iter().map(|taken| taken.name).collect::<Vec<_>>());
        let count = |below: &str| fs_err::read_dir(folder.path().join(below)).unwrap().count();
        let outside = (count(""), count("deep"), count("deep/below"));
        assert_eq!(outside, (2, 1, 1), "something was written elsewhere");
        for found in outcome.iter().flatten() {
            assert!(output.join(found).symlink_metadata().unwrap().is_file(), "{found}");
        }
        outcome
    }

    #[test]
    fn only_plain_files_with_plain_names_come_out() {
        let mut tar = Vec::new();
        for path in ["./config.json", "models/onnx/model.onnx", "/models/tokenizer.json"] {
            tar.extend(file(path, b"x"));
        }
        for path in ["../escape", "models/../../escape", "a/../../escape", "etc/.ssh/key", "a b", "\\windows"]
        {
            tar.extend(file(path, b"x"));
        }
        for kind in [
            tar::EntryType::Symlink,
            tar::EntryType::Link,
            tar::EntryType::Char,
            tar::EntryType::Block,
            tar::EntryType::Fifo,
            tar::EntryType::Directory,
        ] {
            tar.extend(entry(kind, "special.json", b"", 0));
        }
        tar.extend([0; 1024]);
        assert_eq!(unpacked("a.tar", &tar).unwrap(), ["config.json", "onnx/model.onnx", "tokenizer.json"]);
    }

    #[test]
    fn archives_that_lie_are_refused() {
        let twice = [file("a", b"1"), file("./a", b"2")].concat();
        assert!(matches!(unpacked("a.tar", &twice), Err(UnpackError::Twice { .. })));
        let large = entry(tar::EntryType::Regular, "a", b"x", 1 << 40);
        assert!(matches!(unpacked("a.tar", &large), Err(UnpackError::TooLarge { .. })));
        let cut = entry(tar::EntryType::Regular, "a", b"x", 5000);
        assert!(matches!(unpacked("a.tar", &cut), Err(UnpackError::Read { .. })));
        assert!(matches!(unpacked("a.tar", b"<html>no archive</html>"), Err(UnpackError::Read { .. })));
        assert!(matches!(unpacked("a.tar.gz", b"no gzip either"), Err(UnpackError::Read { .. })));
        let many: Vec<u8> = (0..=MAX_ENTRIES).flat_map(|_| file("../skipped", b"")).collect();
        assert!(matches!(unpacked("a.tar", &many), Err(UnpackError::Entries { .. })));
    }

    /// Names longer than a header has room for, as GNU tar and as POSIX write them.
    #[test]
    fn long_names_are_read_within_bounds() {
        let long = format!("onnx/{}.onnx", "n".repeat(110));
        let gnu = |name: &str| {
            entry(tar::EntryType::GNULongName, "././@LongLink", name.as_bytes(), name.len() as u64)
        };
        let record = |key: &str, value: &str| {
            let rest = format!(" {key}={value}\n");
            let length = (rest.len()..rest.len() + 9)
                .find(|total| total.to_string().len() + rest.len() == *total)
                .unwrap();
            format!("{length}{rest}")
        };
        let pax = |records: &str| {
            entry(tar::EntryType::XHeader, "PaxHeaders/x", records.as_bytes(), records.len() as u64)
        };
        let by_gnu = [gnu(&format!("{long}\0")), file("short", b"1"), file("config.json", b"2")].concat();
        assert_eq!(unpacked("a.tar", &by_gnu).unwrap(), [long.as_str(), "config.json"]);
        let records = [record("mtime", "1.5"), record("path", &long), record("size", "1")].concat();
        let by_pax = [pax(&records), file("short", b"1"), file("config.json", b"2")].concat();
        assert_eq!(unpacked("a.tar", &by_pax).unwrap(), [long.as_str(), "config.json"]);
        let escape = [gnu("../../escape\0"), file("config.json", b"1")].concat();
        assert_eq!(unpacked("a.tar", &escape).unwrap(), [""; 0], "the long name is the name");

        let endless = entry(tar::EntryType::GNULongName, "././@LongLink", b"n", 1 << 40);
        let twice = [gnu("a"), gnu("b"), file("c", b"1")].concat();
        let sizes = [pax(&record("size", "0")), file("config.json", b"1")].concat();
        let bad = [("bytes", endless), ("twice", twice), ("two sizes", sizes)];
        for (part, archive) in bad {
            let refused = unpacked("a.tar", &archive).unwrap_err();
            let UnpackError::Unusable { reason, .. } = refused else { panic!("{part}: {refused}") };
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn a_gzip_bomb_goes_off_harmlessly() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&file("../skipped", &vec![0; 64 << 20])).unwrap();
        let bomb = gzip.finish().unwrap();
        assert!(bomb.len() < 100_000);
        assert!(unpacked("a.tar.gz", &bomb).is_err());
    }
}
