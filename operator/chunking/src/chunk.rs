//! A piece of a text, in bytes and in UTF-16 code units. PURE.

use std::ops::Range;

/// A piece of a text: `start` and `end` (exclusive) in UTF-16 code units, as the API counts, and the same piece in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub start: usize,
    pub end: usize,
    pub bytes: Range<usize>,
}

impl Chunk {
    /// The piece itself, untrimmed. `text` is the one that was cut.
    pub fn of<'t>(&self, text: &'t str) -> &'t str {
        &text[self.bytes.clone()]
    }
}

/// Pieces of `text` given in bytes, with their UTF-16 offsets.
pub(crate) fn measured(text: &str, pieces: Vec<Range<usize>>) -> Vec<Chunk> {
    let units = Units::of(text);
    pieces
        .into_iter()
        .map(|bytes| Chunk { start: units.before(bytes.start), end: units.before(bytes.end), bytes })
        .collect()
}

/// Bytes between two marks: neighbouring chunks overlap, so their offsets are looked up, not walked to, and a look-up
/// reads at most this much.
const STRIDE: usize = 256;

/// How many UTF-16 code units lie before a byte.
struct Units<'t> {
    text: &'t str,
    /// The units before each byte that is a multiple of `STRIDE`; empty where every byte is a unit.
    marks: Vec<usize>,
}

impl<'t> Units<'t> {
    fn of(text: &'t str) -> Self {
        let marks = if text.is_ascii() {
            Vec::new()
        } else {
            let blocks = text.as_bytes().chunks(STRIDE);
            blocks
                .scan(0, |units, block| {
                    let before = *units;
                    *units += count(block);
                    Some(before)
                })
                .collect()
        };
        Self { text, marks }
    }

    fn before(&self, byte: usize) -> usize {
        if self.marks.is_empty() {
            return byte;
        }
        // The end of the text may be the start of a block that is not there.
        let block = (byte / STRIDE).min(self.marks.len() - 1);
        self.marks[block] + count(&self.text.as_bytes()[block * STRIDE..byte])
    }
}

/// UTF-16 code units of the characters that begin in `bytes`: one for each, two for those of four bytes.
fn count(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .map(|byte| match byte {
            0x80..=0xBF => 0,
            0xF0.. => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_counted_as_utf_16_counts_it() {
        for text in ["", "plain", "é", "a😀b", &"aé€😀\r\n".repeat(100), &"😀".repeat(64)] {
            let units = Units::of(text);
            for (byte, _) in text.char_indices().chain([(text.len(), ' ')]) {
                assert_eq!(units.before(byte), text[..byte].encode_utf16().count(), "{byte} of {text}");
            }
        }
    }

    #[test]
    fn a_chunk_gives_its_text_without_another_scan() {
        let text = "a😀b";
        let chunks = measured(text, vec![0..5, 1..6]);
        assert_eq!(chunks[0], Chunk { start: 0, end: 3, bytes: 0..5 });
        assert_eq!((chunks[1].start, chunks[1].end, chunks[1].of(text)), (1, 4, "😀b"));
    }
}
