//! Bodies that come compressed, unpacked as they arrive. What counts is the unpacked size, and it is counted before
//! the memory is taken: a few bytes can stand for gigabytes. (Answers are compressed by a layer of the router.)

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

/// A gzip stream under way.
pub(crate) struct Gunzip(MultiGzDecoder<Bounded>);

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unreadable {
    TooLarge,
    Corrupt,
}

/// A buffer that takes no more than it may.
#[derive(Debug)]
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > self.limit - self.bytes.len() {
            self.is_over = true;
            return Err(io::Error::other("larger than the limit"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Gunzip {
    pub(crate) fn new(limit: usize) -> Self {
        Self(MultiGzDecoder::new(Bounded { bytes: Vec::new(), limit, is_over: false }))
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Unreadable> {
        self.0.write_all(piece).map_err(|_| self.problem())
    }

    /// Bytes unpacked so far.
    pub(crate) fn len(&self) -> usize {
        self.0.get_ref().bytes.len()
    }

    /// Everything, once nothing more comes; a stream that is cut off is corrupt.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Unreadable> {
        if self.0.try_finish().is_err() {
            return Err(self.problem());
        }
        self.0.finish().map(|bounded| bounded.bytes).map_err(|_| Unreadable::Corrupt)
    }

    fn problem(&self) -> Unreadable {
        if self.0.get_ref().is_over { Unreadable::TooLarge } else { Unreadable::Corrupt }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(stream: &[u8], limit: usize) -> Result<Vec<u8>, Unreadable> {
        let mut gunzip = Gunzip::new(limit);
        // One byte at a time: a client may send it so.
        stream.iter().try_for_each(|byte| gunzip.write(std::slice::from_ref(byte)))?;
        gunzip.finish()
    }

    #[test]
    fn unpacks_one_stream_and_several() {
        assert_eq!(unpacked(&packed(b"abc"), 3), Ok(b"abc".to_vec()));
        assert_eq!(unpacked(&[packed(b"abc"), packed(b"def")].concat(), 6), Ok(b"abcdef".to_vec()));
    }

    /// Ten thousand bytes on the wire, ten million in memory.
    #[test]
    fn a_bomb_takes_no_more_memory_than_the_limit() {
        let bomb = packed(&vec![0; 10_000_000]);
        assert_eq!(unpacked(&bomb, 1_000), Err(Unreadable::TooLarge));
        let mut whole = Gunzip::new(1_000);
        assert_eq!(whole.write(&bomb), Err(Unreadable::TooLarge));
        assert!(whole.0.get_ref().bytes.capacity() <= 64 << 10);
    }

    #[test]
    fn what_is_cut_off_or_no_gzip_is_corrupt() {
        let stream = packed(b"abcdefghijklmnopqrstuvwxyz");
        for end in [1, 9, 15, stream.len() - 4] {
            assert_eq!(unpacked(&stream[..end], 100), Err(Unreadable::Corrupt), "{end}");
        }
        assert_eq!(unpacked(b"{\"input\":\"a\"}", 100), Err(Unreadable::Corrupt));
    }
}
