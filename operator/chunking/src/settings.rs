//! The settings in force: those that were asked for, with every default filled in and groups written out. PURE.

use lexiscale_crds::{ChunkingSettings, ChunkingStrategy, SeparatorGroup};
use serde::Serialize;

const DEFAULT_SIZE: i32 = 250;
const DEFAULT_OVERLAP: i32 = 100;
const DEFAULT_SENTENCE_OVERLAP: i32 = 1;

/// Paragraphs, then lines: exactly two line feeds, then a single one.
const PLAINTEXT: [&str; 2] = [r"(?<!\n)\n\n(?!\n)", r"(?<!\n)\n(?!\n)"];

/// Headings by level, then the two underlined kinds. Those never match, in Elasticsearch as here: `^` is the start of the
/// text, and a line feed stands before it. Who wants such headings to split gives separators that find them.
const MARKDOWN: [&str; 8] = [
    "\n# ",
    "\n## ",
    "\n### ",
    "\n#### ",
    "\n##### ",
    "\n###### ",
    "\n^(?!\\s*$).*\\n-{1,}\\n",
    "\n^(?!\\s*$).*\\n={1,}\\n",
];

/// The separators behind a group's name, coarsest first.
pub const fn separators_of(group: SeparatorGroup) -> &'static [&'static str] {
    match group {
        SeparatorGroup::Markdown => &MARKDOWN,
        SeparatorGroup::Plaintext => &PLAINTEXT,
    }
}

/// The settings in force, in the order in which they are answered: every key the strategy has, separators written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum Effective<'a> {
    Sentence { max_chunk_size: i32, sentence_overlap: i32 },
    Word { max_chunk_size: i32, overlap: i32 },
    Recursive { max_chunk_size: i32, separators: Vec<&'a str> },
    None,
}

impl<'a> Effective<'a> {
    /// The defaults fill what `settings` leaves out. Keys of other strategies are not looked at: whoever accepts settings refuses
    /// them.
    pub fn of(settings: &'a ChunkingSettings) -> Self {
        let ChunkingSettings {
            strategy,
            max_chunk_size,
            overlap,
            sentence_overlap,
            separator_group,
            separators,
        } = settings;
        let max_chunk_size = max_chunk_size.unwrap_or(DEFAULT_SIZE);
        match strategy.unwrap_or_default() {
            ChunkingStrategy::Sentence => Self::Sentence {
                max_chunk_size,
                sentence_overlap: sentence_overlap.unwrap_or(DEFAULT_SENTENCE_OVERLAP),
            },
            ChunkingStrategy::Word => Self::Word {
                max_chunk_size,
                overlap: overlap.unwrap_or(DEFAULT_OVERLAP.min(max_chunk_size / 2)),
            },
            ChunkingStrategy::Recursive => Self::Recursive {
                max_chunk_size,
                separators: match separators {
                    Some(own) => own.iter().map(String::as_str).collect(),
                    None => separators_of(separator_group.unwrap_or(SeparatorGroup::Plaintext)).to_vec(),
                },
            },
            ChunkingStrategy::None => Self::None,
        }
    }
}
