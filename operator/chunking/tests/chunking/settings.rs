//! What settings mean before a text is there.

use lexiscale_chunking::{Chunker, Effective, InvalidSettings, separators_of};
use lexiscale_crds::{ChunkingSettings, SeparatorGroup};

use crate::texts::{group, none, recursive, sentence, word};

fn shown(settings: &ChunkingSettings) -> String {
    serde_json::to_string(&Effective::of(settings)).expect("settings are JSON")
}

#[test]
fn defaults_are_filled_in_and_groups_written_out() {
    assert_eq!(
        shown(&ChunkingSettings::default()),
        r#"{"strategy":"sentence","max_chunk_size":250,"sentence_overlap":1}"#
    );
    let word_of = |max_chunk_size| ChunkingSettings { max_chunk_size, overlap: None, ..word(10, 1) };
    assert_eq!(shown(&word_of(None)), r#"{"strategy":"word","max_chunk_size":250,"overlap":100}"#);
    assert_eq!(shown(&word_of(Some(99))), r#"{"strategy":"word","max_chunk_size":99,"overlap":49}"#);
    assert_eq!(shown(&none()), r#"{"strategy":"none"}"#);
    assert_eq!(
        shown(&group(30, SeparatorGroup::Plaintext)),
        r#"{"strategy":"recursive","max_chunk_size":30,"separators":["(?<!\\n)\\n\\n(?!\\n)","(?<!\\n)\\n(?!\\n)"]}"#
    );
    assert_eq!(separators_of(SeparatorGroup::Markdown).len(), 8);
}

#[test]
fn what_cannot_be_cut_by_is_refused_with_its_name() {
    let table = [
        (word(0, 0), InvalidSettings::Size(0)),
        (sentence(-1, 0), InvalidSettings::Size(-1)),
        (word(10, 6), InvalidSettings::Overlap { value: 6, most: 5 }),
        (word(10, -1), InvalidSettings::Overlap { value: -1, most: 5 }),
        (sentence(20, 2), InvalidSettings::SentenceOverlap(2)),
        (recursive(10, &[]), InvalidSettings::NoSeparators),
        (recursive(0, &["a"]), InvalidSettings::Size(0)),
    ];
    for (settings, error) in table {
        assert_eq!(Chunker::new(&settings).unwrap_err(), error, "{settings:?}");
    }
}

#[test]
fn every_setting_that_the_api_accepts_makes_a_chunker() {
    for size in 10..=300 {
        for overlap in 1..=size / 2 {
            assert!(Chunker::new(&word(size, overlap)).is_ok());
        }
        for settings in [sentence(size, 0), sentence(size, 1), recursive(size, &["\n"])] {
            assert!(Chunker::new(&settings).is_ok());
        }
    }
    for name in [SeparatorGroup::Markdown, SeparatorGroup::Plaintext] {
        assert!(Chunker::new(&group(10, name)).is_ok());
    }
}
