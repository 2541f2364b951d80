//! Where a chunked body ends. PURE. What stands between chunks is as strictly read as a head; the bytes inside are
//! left to hyper.

use super::head::{BadHead, LARGEST_HEAD, field, malformed};

/// A chunk's size, or a trailer.
const LONGEST_LINE: usize = 256;

/// How far a chunked body has come.
#[derive(Debug)]
pub(super) enum Chunks {
    /// The line with a chunk's size.
    Size(Vec<u8>),
    /// A chunk's bytes with the line end behind them.
    Data(u64),
    /// Behind the last chunk: fields, then an empty line.
    Trailer { line: Vec<u8>, length: usize },
}

impl Default for Chunks {
    fn default() -> Self {
        Self::Size(Vec::new())
    }
}

impl Chunks {
    /// How many bytes were taken, and whether the body is over.
    pub(super) fn step(&mut self, input: &[u8]) -> Result<(usize, bool), BadHead> {
        match self {
            Self::Data(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::Size(Vec::new());
                }
                Ok((taken, false))
            }
            Self::Size(line) => {
                let (taken, is_whole) = take_line(line, input)?;
                if is_whole {
                    let size = chunk_size(line)?;
                    *self = match size {
                        0 => Self::Trailer { line: Vec::new(), length: 0 },
                        size => {
                            Self::Data(size.checked_add(2).ok_or(malformed("a chunk's size is too large"))?)
                        }
                    };
                }
                Ok((taken, false))
            }
            Self::Trailer { line, length } => {
                let (taken, is_whole) = take_line(line, input)?;
                *length += taken;
                if *length > LARGEST_HEAD {
                    return Err(BadHead::TooLarge);
                }
                if !is_whole {
                    return Ok((taken, false));
                }
                if line.is_empty() {
                    return Ok((taken, true));
                }
                field(line)?;
                line.clear();
                Ok((taken, false))
            }
        }
    }
}

/// Moves bytes of a line of a chunked body; says how many, and whether it is whole. The line end is left out.
fn take_line(line: &mut Vec<u8>, input: &[u8]) -> Result<(usize, bool), BadHead> {
    for (index, &byte) in input.iter().enumerate() {
        if (byte == b'\n') != (line.last() == Some(&b'\r')) {
            return Err(malformed("a chunk's line must end with carriage return and line feed"));
        }
        if byte == b'\n' {
            line.pop();
            return Ok((index + 1, true));
        }
        line.push(byte);
        if line.len() > LONGEST_LINE {
            return Err(malformed("a chunk's line is too long"));
        }
    }
    Ok((input.len(), false))
}

/// Extensions are of no use to anybody but who wants to confuse, and refused.
fn chunk_size(line: &[u8]) -> Result<u64, BadHead> {
    let digits = std::str::from_utf8(line)
        .ok()
        .filter(|text| (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(malformed("a chunk's size is no hexadecimal number"))
}
