//! What may stand before an entry of an archive and says more of it: a long name, or PAX records. It is read here and not by the
//! library, which holds all of it in memory, however much an archive says that there is. PURE but for the reader.

use std::io::{self, Read};

use tar::{Entry, EntryType, PaxExtensions};

/// As much as Go's reader takes, which reads most images.
const MAX_BYTES: u64 = 1024 * 1024;

/// Collected until the entry comes that it is about.
#[derive(Debug, Default)]
pub(super) struct Preface {
    long_name: Option<Vec<u8>>,
    records: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PrefaceError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("what it says about one file has more than {MAX_BYTES} bytes")]
    TooLong,
    #[error("it says twice what comes next")]
    Twice,
    #[error("it gives one file two sizes")]
    Size,
    #[error("it holds a sparse file in pieces")]
    Sparse,
}

impl Preface {
    /// Takes an entry that is about the next one. False for one that is a file or another thing of its own.
    pub(super) fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, PrefaceError> {
        let place = match entry.header().entry_type() {
            EntryType::GNULongName => &mut self.long_name,
            EntryType::XHeader => &mut self.records,
            // Of no interest, as no link is taken.
            EntryType::GNULongLink => return Ok(true),
            // More of its description follows, where the raw reader looks for the next entry.
            EntryType::GNUSparse if entry.header().as_gnu().is_some_and(tar::GnuHeader::is_extended) => {
                return Err(PrefaceError::Sparse);
            }
            _ => return Ok(false),
        };
        if place.is_some() {
            return Err(PrefaceError::Twice);
        }
        let size = entry.size();
        if size > MAX_BYTES {
            return Err(PrefaceError::TooLong);
        }
        let mut bytes = Vec::new();
        if entry.take(size).read_to_end(&mut bytes)? as u64 != size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        *place = Some(bytes);
        Ok(true)
    }

    /// The path of the entry that all of this is about.
    pub(super) fn path(&self, entry: &Entry<'_, impl Read>) -> Result<Vec<u8>, PrefaceError> {
        // The raw reader believes the header; a record that says otherwise would shift everything after it.
        if self.record("size").is_some_and(|size| size != entry.size().to_string().as_bytes()) {
            return Err(PrefaceError::Size);
        }
        if let Some(name) = &self.long_name {
            return Ok(name.strip_suffix(&[0]).unwrap_or(name).to_vec());
        }
        Ok(self.record("path").map_or_else(|| entry.path_bytes().into_owned(), <[u8]>::to_vec))
    }

    fn record(&self, key: &str) -> Option<&[u8]> {
        let records = PaxExtensions::new(self.records.as_deref()?);
        records
            .flatten()
            .find(|record| record.key_bytes() == key.as_bytes())
            .map(|record| record.value_bytes())
    }
}
