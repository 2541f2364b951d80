//! Strategy `sentence`: whole sentences while they fit; a sentence that alone is too long is cut by words. PURE.

use std::ops::Range;

use icu_segmenter::SentenceSegmenter;
use icu_segmenter::options::SentenceBreakInvariantOptions;

use crate::word::{self, Window};
use crate::words::Words;

/// Most words that a chunk repeats of the one before.
const MOST_CARRIED: usize = 20;

/// What neighbouring chunks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    Nothing,
    /// The last sentence, or its last words where the whole would not fit.
    OneSentence,
}

/// Chunks of whole sentences, as in Elasticsearch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sentences {
    /// At least 1.
    pub(crate) max_words: usize,
    pub(crate) overlap: Overlap,
}

/// The sentence before the current one.
#[derive(Clone, Copy, Default)]
struct Previous {
    start: usize,
    words: usize,
}

/// At least one piece. `words` are those of `text`.
pub(crate) fn cut(text: &str, words: &Words, sentences: Sentences) -> Vec<Range<usize>> {
    let Sentences { max_words, overlap } = sentences;
    let mut pieces = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut in_chunk = 0;
    let mut sentence_start = 0;
    let mut previous = Previous::default();
    let segmenter = SentenceSegmenter::new(SentenceBreakInvariantOptions::default());
    for sentence_end in segmenter.segment_str(text).skip(1) {
        let in_sentence = words.count(sentence_start, sentence_end);
        if in_chunk + in_sentence <= max_words {
            in_chunk += in_sentence;
        } else {
            let mut next = in_sentence;
            // Text without words before the first sentence stays with it.
            if in_chunk > 0 {
                pieces.push(start..end);
                (start, in_chunk) = match overlap {
                    Overlap::Nothing => (end, in_sentence),
                    Overlap::OneSentence => carried(words, previous, in_sentence, max_words),
                };
                next = in_chunk;
            }
            if next > max_words {
                // The words of the piece alone: cutting starts anew where it starts.
                let cut = word::cut(&Words::of(&text[start..sentence_end]), split(max_words));
                pieces.extend(cut.complete.into_iter().map(|piece| shifted(&piece, start)));
                // The last one stays open: its end is that of a sentence, and more sentences may join it.
                start += cut.last.start;
                in_chunk = cut.words_of_last;
            }
        }
        if overlap == Overlap::OneSentence {
            previous = Previous { start: sentence_start, words: in_sentence };
        }
        sentence_start = sentence_end;
        end = sentence_end;
    }
    if in_chunk > 0 {
        pieces.push(start..text.len());
    }
    if pieces.is_empty() {
        pieces.push(0..text.len());
    }
    pieces
}

/// Where a chunk begins that repeats the previous sentence, and its words with those of the current one.
fn carried(words: &Words, previous: Previous, in_sentence: usize, max_words: usize) -> (usize, usize) {
    if previous.words + in_sentence <= max_words {
        return (previous.start, previous.words + in_sentence);
    }
    let dropped = previous.words.saturating_sub((max_words / 2).min(MOST_CARRIED));
    (words.skip(previous.start, dropped), previous.words - dropped + in_sentence)
}

/// How a piece of more than `max_words` words is cut: with shared words even where sentences share nothing.
fn split(max_words: usize) -> Window {
    Window { size: max_words, overlap: MOST_CARRIED.min((max_words - 1) / 2) }
}

pub(crate) fn shifted(piece: &Range<usize>, by: usize) -> Range<usize> {
    piece.start + by..piece.end + by
}
