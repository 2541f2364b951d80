//! Steps through a protobuf file field by field. Every length is checked against what encloses it before it is used.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use fs_err::File;

use super::InspectError;

/// A field's head. Bytes have a length and are still to be read or skipped; numbers have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) length: Option<u64>,
    pub(super) value: u64,
}

pub(super) struct Walker {
    reader: BufReader<File>,
    position: u64,
    end: u64,
}

fn invalid<T>(reason: &'static str) -> Result<T, InspectError> {
    Err(InspectError::Invalid { reason })
}

impl Walker {
    pub(super) fn open(path: &Path) -> Result<Self, InspectError> {
        if !fs_err::symlink_metadata(path)?.is_file() {
            return invalid("it is not a regular file");
        }
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        Ok(Self { reader: BufReader::with_capacity(4096, file), position: 0, end })
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next field of a message that ends there.
    pub(super) fn field(&mut self, end: u64) -> Result<Option<Field>, InspectError> {
        if self.position >= end {
            return Ok(None);
        }
        let key = self.varint(end)?;
        let Ok(number) = u32::try_from(key >> 3) else { return invalid("a field has an impossible number") };
        let field = match key & 7 {
            0 => Field { number, length: None, value: self.varint(end)? },
            1 => Field { number, length: Some(8), value: 0 },
            2 => Field { number, length: Some(self.varint(end)?), value: 0 },
            5 => Field { number, length: Some(4), value: 0 },
            _ => return invalid("a field has an impossible type"),
        };
        let length = field.length.unwrap_or(0);
        if number == 0 || self.position.checked_add(length).is_none_or(|field_end| field_end > end) {
            return invalid("a field is longer than what it is in");
        }
        Ok(Some(field))
    }

    pub(super) fn skip(&mut self, field: &Field) -> Result<(), InspectError> {
        let length = field.length.unwrap_or(0);
        self.position += length;
        match i64::try_from(length) {
            Ok(length) => self.reader.seek_relative(length)?,
            Err(_) => _ = self.reader.seek(SeekFrom::Start(self.position))?,
        }
        Ok(())
    }

    pub(super) fn bytes(&mut self, length: u64, limit: u64) -> Result<Vec<u8>, InspectError> {
        if length > limit {
            return invalid("a description is too long");
        }
        let mut bytes = Vec::new();
        (&mut self.reader).take(length).read_to_end(&mut bytes)?;
        self.position += length;
        if bytes.len() as u64 != length {
            return invalid("it ends in the middle of a field");
        }
        Ok(bytes)
    }

    pub(super) fn text(&mut self, length: u64, limit: u64) -> Result<String, InspectError> {
        let bytes = self.bytes(length, limit)?;
        String::from_utf8(bytes).or_else(|_| invalid("a name is not text"))
    }

    /// One of the numbers that are packed into a field.
    pub(super) fn number(&mut self, end: u64) -> Result<u64, InspectError> {
        self.varint(end)
    }

    fn varint(&mut self, end: u64) -> Result<u64, InspectError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.reader.fill_buf()?.first().copied().filter(|_| self.position < end) else {
                return invalid("it ends in the middle of a number");
            };
            self.reader.consume(1);
            self.position += 1;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        invalid("a number is too long")
    }
}
