//! The word boundaries of a text, and the three questions that the chunkers ask about them. Computed once for each text, so that
//! each answer costs a binary search. PURE.

mod icu4j;

use icu_segmenter::WordSegmenter;
use icu_segmenter::options::WordBreakInvariantOptions;

use icu4j::Part;

/// Boundaries in bytes. The start of the text is a boundary too, but no segment ends there, so it is not listed.
pub(crate) struct Words {
    /// Where segments end: words, blanks, punctuation.
    boundaries: Vec<usize>,
    /// Those of them where a word ends.
    ends: Vec<usize>,
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let mut words = Self { boundaries: Vec::new(), ends: Vec::new() };
        words.segment(text, 0);
        words
    }

    /// Takes in the segments of `text`, which begins at `offset`.
    fn segment(&mut self, text: &str, offset: usize) {
        let segmenter = WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
        let (mut before, mut start) = (0, 0);
        for (end, kind) in segmenter.segment_str(text).iter_with_word_type().skip(1) {
            let segment = &text[start..end];
            if !segment.is_ascii() && segment.contains(icu4j::is_syllable) {
                self.syllables(segment, offset + start);
            } else if icu4j::are_joined(&text[before..start], segment) {
                self.close_later(offset + end);
            } else {
                self.close(offset + end, icu4j::is_word(segment, kind.is_word_like()));
            }
            (before, start) = (start, end);
        }
    }

    /// Takes in a segment with Korean syllables, part by part.
    fn syllables(&mut self, segment: &str, offset: usize) {
        let mut start = offset;
        for (part, kind) in icu4j::by_syllables(segment) {
            match kind {
                Part::Syllables => self.close(start + part.len(), true),
                // Without syllables now, so this ends.
                Part::Others => self.segment(part, start),
            }
            start += part.len();
        }
    }

    fn close(&mut self, boundary: usize, is_word: bool) {
        self.boundaries.push(boundary);
        if is_word {
            self.ends.push(boundary);
        }
    }

    /// Makes the last segment, and with it a word, end at `boundary` instead.
    fn close_later(&mut self, boundary: usize) {
        let last = self.boundaries.pop();
        if self.ends.last().copied() == last {
            self.ends.pop();
        }
        self.close(boundary, true);
    }

    /// Where words end, in order.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    pub(crate) fn text_end(&self) -> usize {
        self.boundaries.last().copied().unwrap_or_default()
    }

    /// The last boundary before `position`.
    fn boundary_before(&self, position: usize) -> usize {
        let index = self.boundaries.partition_point(|boundary| *boundary < position);
        index.checked_sub(1).map_or(0, |last| self.boundaries[last])
    }

    /// The words of `start..end` as Elasticsearch counts them: from one boundary before `start`, both ends inclusive. So a
    /// word that ends where the piece starts, or one segment earlier, is counted along.
    pub(crate) fn count(&self, start: usize, end: usize) -> usize {
        let from = self.boundary_before(start);
        let up_to = self.ends.partition_point(|word| *word <= end);
        up_to.saturating_sub(self.ends.partition_point(|word| *word < from))
    }

    /// From one boundary before `start` past the next `words` words: the boundary after the segment that follows the last of
    /// them, or the end of the text.
    pub(crate) fn skip(&self, start: usize, words: usize) -> usize {
        let from = self.boundary_before(start);
        let Some(more) = words.checked_sub(1) else { return from };
        let first = self.ends.partition_point(|word| *word < from);
        let Some(last) = self.ends.get(first + more) else { return self.text_end() };
        let after = self.boundaries.partition_point(|boundary| boundary <= last);
        self.boundaries.get(after).copied().unwrap_or_else(|| self.text_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_letters_and_ideographs_are_words_and_nothing_else_is() {
        let table = [
            ("ice-box", 2),
            ("m&s", 2),
            ("foo != bar", 2),
            ("Won't", 1),
            ("c_d", 1),
            ("3.14", 1),
            ("1,000", 1),
            ("example.com", 1),
            ("user@example.com", 2),
            ("a:b", 1),
            ("😀 👩‍👩‍👧 🇩🇪", 0),
            ("   \t\r\n--", 0),
            ("", 0),
            ("漢字", 1),
            ("カタカナ", 1),
            ("中华人民共和国", 3),
            ("สวัสดีครับ", 2),
            ("한국어 텍스트", 2),
            ("हिन्दी भाषा में", 3),
            ("1️⃣ ג'ורג'", 2),
            ("let _ = __init__", 2),
            ("e\u{301} \u{ff3f}", 1),
        ];
        for (text, words) in table {
            assert_eq!(Words::of(text).ends().len(), words, "{text}");
        }
    }

    fn segments(text: &str) -> Vec<&str> {
        let words = Words::of(text);
        let starts = std::iter::once(0).chain(words.boundaries.iter().copied());
        starts.zip(&words.boundaries).map(|(start, end)| &text[start..*end]).collect()
    }

    #[test]
    fn korean_syllables_part_from_all_else() {
        assert_eq!(segments("2024년 3월에 API를"), ["2024", "년", " ", "3", "월에", " ", "API", "를"]);
        assert_eq!(segments("한.b'c"), ["한", ".", "b'c"]);
        assert_eq!(segments("b.한"), ["b", ".", "한"]);
        assert_eq!(Words::of("2024년 b.한").ends().len(), 4);
    }

    #[test]
    fn scripts_without_blanks_hold_on_to_letters_and_digits() {
        assert_eq!(segments("ปี2567 ราคา5บาท"), ["ปี2567", " ", "ราคา5บาท"]);
        assert_eq!(segments("COVIDในไทย"), ["COVIDใน", "ไทย"]);
        assert_eq!(Words::of("ราคา5บาท").ends().len(), 1);
        assert_eq!(segments("ไทย漢字 (ไทย)"), ["ไทย", "漢字", " ", "(", "ไทย", ")"]);
    }

    #[test]
    fn blanks_run_together_and_line_feeds_do_not() {
        assert_eq!(Words::of("a   b").boundaries, [1, 4, 5]);
        assert_eq!(Words::of("a\r\nb").boundaries, [1, 3, 4]);
        assert_eq!(Words::of("a\n\nb").boundaries, [1, 2, 3, 4]);
    }

    /// The quirk that moves offsets: each line after the first has one word too many.
    #[test]
    fn counting_starts_one_boundary_early() {
        let words = Words::of("alpha beta\ngamma delta. End");
        assert_eq!(words.count(0, 11), 2);
        assert_eq!(words.count(11, 24), 3);
        assert_eq!(words.count(24, 27), 1, "the full stop stands between");
        assert_eq!(words.count(10, 11), 1, "a word that ends at the start");
    }

    #[test]
    fn skipping_ends_one_segment_after_the_last_word() {
        let words = Words::of("one two. three");
        assert_eq!(words.skip(0, 0), 0);
        assert_eq!(words.skip(0, 1), 4);
        assert_eq!(words.skip(0, 2), 8, "just past the full stop");
        assert_eq!(words.skip(9, 0), 8, "the blank comes along");
        assert_eq!(words.skip(9, 1), 14);
        assert_eq!(words.skip(4, 1), 4, "a word that ends at the boundary before is the first");
        assert_eq!(words.skip(0, 9), 14);
        assert_eq!(Words::of("").skip(0, 3), 0);
    }
}
