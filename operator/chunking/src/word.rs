//! Strategy `word`: windows of a fixed number of words that overlap by a fixed number of words. PURE.

use std::ops::Range;

use crate::words::Words;

/// Windows of `size` words, each of which repeats the last `overlap` words of the one before. `overlap` is at most half of
/// `size`, and `size` at least 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) size: usize,
    pub(crate) overlap: usize,
}

/// At least one piece, and how many words the last one has, those it shares included.
pub(crate) struct Pieces {
    pub(crate) complete: Vec<Range<usize>>,
    pub(crate) last: Range<usize>,
    pub(crate) words_of_last: usize,
}

impl Pieces {
    pub(crate) fn into_all(self) -> Vec<Range<usize>> {
        let Self { mut complete, last, words_of_last: _ } = self;
        complete.push(last);
        complete
    }
}

/// Pieces end with a word; what follows it starts the next piece. Text behind the last word is in a piece only if that piece
/// is not full.
pub(crate) fn cut(words: &Words, window: Window) -> Pieces {
    let Window { size, overlap } = window;
    let mut pieces: Vec<(Range<usize>, usize)> = Vec::new();
    let (mut start, mut next_start) = (0, 0);
    let (mut in_piece, mut since_mark) = (0, 0);
    for &end in words.ends() {
        in_piece += 1;
        since_mark += 1;
        if in_piece >= size {
            pieces.push((start..end, in_piece));
            in_piece = overlap;
            if overlap == 0 {
                next_start = end;
            }
            start = next_start;
        }
        // Only now: the mark is the start of the piece after the one that begins here.
        if since_mark == size - overlap {
            next_start = end;
            since_mark = 0;
        }
    }
    if in_piece > overlap {
        pieces.push((start..words.text_end(), in_piece));
    }
    let (last, words_of_last) = pieces.pop().unwrap_or((0..words.text_end(), in_piece));
    Pieces { complete: pieces.into_iter().map(|(piece, _)| piece).collect(), last, words_of_last }
}
