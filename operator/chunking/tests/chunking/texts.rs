//! Texts that the worked cases are made of, and settings in few words.

use lexiscale_chunking::{Chunk, Chunker};
use lexiscale_crds::{ChunkingSettings, ChunkingStrategy, SeparatorGroup};

/// Ten words, 53 characters with the final blank.
pub(crate) const P: &str = "Ten short words make up this plain little test line. ";

/// The numbers below `count`, each followed by a blank.
pub(crate) fn numbers(count: usize) -> String {
    (0..count).fold(String::new(), |text, number| text + &format!("{number} "))
}

/// A sentence of `words` words, the first of which names it.
pub(crate) fn started(index: usize, words: usize) -> String {
    let numbers = (1..words).fold(String::new(), |text, number| text + &format!(" {number}"));
    format!("SStart{index}{numbers}. ")
}

/// A sentence of `words` words that begins with a capital.
pub(crate) fn asked(index: usize, words: usize, end: &str) -> String {
    let rest = (2..=words).fold(String::new(), |text, word| text + &format!(" q{index}w{word}"));
    format!("Q{index}w1{rest}{end}")
}

/// Sentences of 15, 30, 20 and 5 words.
pub(crate) fn x() -> String {
    started(0, 15) + &started(1, 30) + &started(2, 20) + &started(3, 5)
}

/// Sentences of 16, 42, 60 and 15 words.
pub(crate) fn four() -> String {
    asked(1, 16, ".\n") + &asked(2, 42, ". ") + &asked(3, 60, ". ") + &asked(4, 15, ".")
}

pub(crate) fn word(max_chunk_size: i32, overlap: i32) -> ChunkingSettings {
    ChunkingSettings {
        strategy: Some(ChunkingStrategy::Word),
        max_chunk_size: Some(max_chunk_size),
        overlap: Some(overlap),
        ..ChunkingSettings::default()
    }
}

pub(crate) fn sentence(max_chunk_size: i32, sentence_overlap: i32) -> ChunkingSettings {
    ChunkingSettings {
        strategy: Some(ChunkingStrategy::Sentence),
        max_chunk_size: Some(max_chunk_size),
        sentence_overlap: Some(sentence_overlap),
        ..ChunkingSettings::default()
    }
}

pub(crate) fn recursive(max_chunk_size: i32, separators: &[&str]) -> ChunkingSettings {
    ChunkingSettings {
        strategy: Some(ChunkingStrategy::Recursive),
        max_chunk_size: Some(max_chunk_size),
        separators: Some(separators.iter().map(ToString::to_string).collect()),
        ..ChunkingSettings::default()
    }
}

pub(crate) fn group(max_chunk_size: i32, group: SeparatorGroup) -> ChunkingSettings {
    ChunkingSettings {
        strategy: Some(ChunkingStrategy::Recursive),
        max_chunk_size: Some(max_chunk_size),
        separator_group: Some(group),
        ..ChunkingSettings::default()
    }
}

pub(crate) fn none() -> ChunkingSettings {
    ChunkingSettings { strategy: Some(ChunkingStrategy::None), ..ChunkingSettings::default() }
}

pub(crate) fn chunks(text: &str, settings: &ChunkingSettings) -> Vec<Chunk> {
    let chunker = Chunker::new(settings).expect("the settings are good");
    chunker.chunks(text).expect("the separators are cheap")
}

/// Start and end of each chunk in UTF-16 code units.
pub(crate) fn offsets(text: &str, settings: &ChunkingSettings) -> Vec<(usize, usize)> {
    let chunks = chunks(text, settings);
    chunks.iter().map(|chunk| (chunk.start, chunk.end)).collect()
}

/// The chunks' texts.
pub(crate) fn pieces<'t>(text: &'t str, settings: &ChunkingSettings) -> Vec<&'t str> {
    let chunks = chunks(text, settings);
    chunks.iter().map(|chunk| chunk.of(text)).collect()
}
