//! What holds for every text.

use lexiscale_chunking::{Chunk, Chunker};
use lexiscale_crds::{ChunkingSettings, SeparatorGroup};
use proptest::prelude::*;

use crate::texts::{group, none, recursive, sentence, word};

/// Words, blanks, line ends and what breaks rules: emoji, scripts with dictionaries, combining marks.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => "[a-zA-Z]{1,8}".prop_map(String::from),
        2 => Just(" ".to_owned()),
        2 => Just(". ".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("\n\n".to_owned()),
        1 => Just("\r\n".to_owned()),
        1 => Just("\n# ".to_owned()),
        1 => Just("\u{2029}".to_owned()),
        1 => "[0-9.,:_@'!?-]{1,4}".prop_map(String::from),
        1 => Just("😀👩‍👩‍👧🇩🇪🇫".to_owned()),
        1 => Just("漢字かな。カタカナ".to_owned()),
        1 => Just("ภาษาไทยสวัสดี".to_owned()),
        1 => Just("한국어 ".to_owned()),
        1 => Just("e\u{301}\u{200d}".to_owned()),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec((part, prop_oneof![3 => Just(" "), 1 => Just("")]), 0..120)
        .prop_map(|parts| parts.into_iter().flat_map(|(part, blank)| [part, blank.to_owned()]).collect())
}

fn settings() -> impl Strategy<Value = ChunkingSettings> {
    prop_oneof![
        (1..40_i32)
            .prop_flat_map(|size| (Just(size), 0..=size / 2))
            .prop_map(|(size, overlap)| word(size, overlap)),
        (1..40_i32, 0..=1_i32).prop_map(|(size, overlap)| sentence(size, overlap)),
        (1..40_i32).prop_map(|size| group(size, SeparatorGroup::Plaintext)),
        (1..40_i32).prop_map(|size| group(size, SeparatorGroup::Markdown)),
        (1..40_i32).prop_map(|size| recursive(size, &["x*", r"\b", "[ao]"])),
        Just(none()),
    ]
}

fn chunks(text: &str, settings: &ChunkingSettings) -> Vec<Chunk> {
    Chunker::new(settings).unwrap().chunks(text).unwrap()
}

/// Words as the word chunker sees them: chunks of one word each.
fn words_of(text: &str) -> usize {
    let ones = chunks(text, &word(1, 0));
    // A text without words is one chunk too; then a word before it makes a second one.
    if ones.len() == 1 { chunks(&format!("a {text}"), &word(1, 0)).len() - 1 } else { ones.len() }
}

proptest! {
    #[test]
    fn offsets_are_ordered_in_range_and_on_characters(text in text(), settings in settings()) {
        let chunks = chunks(&text, &settings);
        prop_assert!(!chunks.is_empty());
        let units: Vec<u16> = text.encode_utf16().collect();
        for chunk in &chunks {
            prop_assert!(chunk.start <= chunk.end && chunk.end <= units.len());
            let by_units = String::from_utf16(&units[chunk.start..chunk.end]).unwrap();
            prop_assert_eq!(by_units, chunk.of(&text));
        }
        for pair in chunks.windows(2) {
            prop_assert!(pair[0].start <= pair[1].start && pair[0].end <= pair[1].end);
        }
        prop_assert_eq!(chunks[0].start, 0);
    }

    #[test]
    fn the_same_text_is_cut_the_same_way(text in text(), settings in settings()) {
        prop_assert_eq!(chunks(&text, &settings), chunks(&text, &settings));
    }

    #[test]
    fn nothing_but_the_word_strategy_leaves_text_out(text in text(), settings in settings()) {
        let chunks = chunks(&text, &settings);
        for pair in chunks.windows(2) {
            prop_assert!(pair[1].start <= pair[0].end, "{:?}", pair);
        }
        if settings.overlap.is_none() {
            prop_assert_eq!(chunks[chunks.len() - 1].bytes.end, text.len());
        }
    }

    #[test]
    fn none_is_the_whole_text(text in text()) {
        let chunks = chunks(&text, &none());
        prop_assert_eq!(chunks.len(), 1);
        prop_assert_eq!(chunks[0].of(&text), text.as_str());
    }

    #[test]
    fn words_are_as_many_chunks_as_the_formula_says(
        text in text(),
        (size, overlap) in (1..40_usize).prop_flat_map(|size| (Just(size), 0..=size / 2)),
    ) {
        let words = words_of(&text);
        let more = words.saturating_sub(size).div_ceil(size - overlap);
        let settings = word(i32::try_from(size).unwrap(), i32::try_from(overlap).unwrap());
        prop_assert_eq!(chunks(&text, &settings).len(), 1 + more);
    }

    #[test]
    fn no_chunk_of_words_has_more_than_it_may(text in "[a-z .,\n]{0,400}", size in 1..20_i32) {
        for overlap in [0, size / 2] {
            for chunk in chunks(&text, &word(size, overlap)) {
                prop_assert!(words_of(chunk.of(&text)) <= usize::try_from(size).unwrap());
            }
        }
    }

    #[test]
    fn separators_that_are_not_there_leave_it_to_sentences(text in text(), size in 1..40_i32) {
        let by_separator = chunks(&text, &recursive(size, &["\u{1}{5}", "no such thing"]));
        let by_sentence = chunks(&text, &sentence(size, 0));
        if by_separator.len() > 1 {
            prop_assert_eq!(by_separator, by_sentence);
        } else {
            prop_assert_eq!(by_separator[0].of(&text), text.as_str());
        }
    }

    #[test]
    fn recursive_pieces_lie_side_by_side(text in text(), size in 20..60_i32) {
        let chunks = chunks(&text, &recursive(size, &["\n\n", "\n", " "]));
        prop_assert_eq!(chunks.iter().map(|chunk| chunk.of(&text)).collect::<String>(), text);
    }

    #[test]
    fn no_pattern_makes_it_panic(pattern in r"[ab.*+?(){}\[\]^$|\\sdwQEpu0-9&<>=!:,#-]{0,16}", text in "[ab \n1]{0,40}") {
        if let Ok(chunker) = Chunker::new(&recursive(1, &[&pattern]))
            && let Ok(chunks) = chunker.chunks(&text)
        {
            prop_assert!(!chunks.is_empty());
        }
    }
}
