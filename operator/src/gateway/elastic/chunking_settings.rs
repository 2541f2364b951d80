//! `chunking_settings`: reading what a client asks for.

use lexiscale_chunking::{Chunker, InvalidSettings, Separator};
use lexiscale_crds::{ChunkingSettings, ChunkingStrategy, SeparatorGroup};

use super::error::Refusal;
use super::json::{Object, short_text};
use super::settings_reader::{Read, SettingsReader};

const SCOPE: &str = "chunking_settings";
const DEFAULT_SIZE: i32 = 250;
const LARGEST_SIZE: i32 = 300;
const MOST_SEPARATORS: usize = 50;
/// In characters. What nobody can read is no separator, and compiling takes time that grows with it.
const LONGEST_SEPARATOR: usize = 1024;

/// Settings that may be stored, or cut by.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) settings: ChunkingSettings,
    /// A client's own, which were compiled to see whether they can be.
    separators: Option<Vec<Separator>>,
}

impl Accepted {
    /// Those of an endpoint. Who stored them without asking this server may have stored what cannot be compiled.
    pub(crate) fn stored(settings: ChunkingSettings) -> Self {
        Self { settings, separators: None }
    }

    pub(crate) fn chunker(self) -> Result<Chunker, InvalidSettings> {
        match self.separators {
            Some(separators) => Chunker::with_separators(&self.settings, separators),
            None => Chunker::new(&self.settings),
        }
    }
}

/// Whether [`parse`] has separators to compile, up to 50 of them, which is no work for a thread that serves others.
pub(crate) fn has_separators(object: &Object) -> bool {
    object.entries().iter().any(|(key, _)| key == "separators")
}

pub(crate) fn parse(object: Object) -> Result<Accepted, Refusal> {
    let mut settings = SettingsReader::new(SCOPE, object);
    let name = settings.string("strategy");
    let strategy = match &name {
        Read::Given(name) => Some(strategy(name)?),
        Read::Absent | Read::Refused => None,
    };
    let in_force = strategy.unwrap_or_default();
    let read = match in_force {
        ChunkingStrategy::Sentence => Accepted::stored(sentence(&mut settings)),
        ChunkingStrategy::Word => Accepted::stored(word(&mut settings)),
        ChunkingStrategy::Recursive => recursive(&mut settings),
        ChunkingStrategy::None => Accepted::stored(ChunkingSettings::default()),
    };
    let (stray, mut items) = settings.finish();
    if !stray.is_empty() {
        let keys: Vec<_> = stray.entries().iter().map(|(key, _)| key.as_str()).collect();
        items.push(format!(
            "[{SCOPE}] settings [{}] are not allowed for the [{}] strategy",
            keys.join(", "),
            strategy_name(in_force)
        ));
    }
    items.or_refuse(Accepted { settings: ChunkingSettings { strategy, ..read.settings }, ..read })
}

fn strategy(name: &str) -> Result<ChunkingStrategy, Refusal> {
    Ok(match name {
        "sentence" => ChunkingStrategy::Sentence,
        "word" => ChunkingStrategy::Word,
        "recursive" => ChunkingStrategy::Recursive,
        "none" => ChunkingStrategy::None,
        unknown => {
            return Err(Refusal::argument(format!(
                "unknown chunking strategy [{unknown}]; known are [sentence, word, recursive, none]"
            )));
        }
    })
}

const fn strategy_name(strategy: ChunkingStrategy) -> &'static str {
    match strategy {
        ChunkingStrategy::Sentence => "sentence",
        ChunkingStrategy::Word => "word",
        ChunkingStrategy::Recursive => "recursive",
        ChunkingStrategy::None => "none",
    }
}

fn size(settings: &mut SettingsReader, smallest: i32) -> Read<i32> {
    match settings.integer("max_chunk_size") {
        Read::Given(value) if !(smallest..=LARGEST_SIZE).contains(&value) => {
            settings.refuse(format!(
                "invalid value [{value}]: [max_chunk_size] must be at least [{smallest}] and at most [{LARGEST_SIZE}]"
            ));
            Read::Refused
        }
        other => other,
    }
}

fn sentence(settings: &mut SettingsReader) -> ChunkingSettings {
    let size = size(settings, 20);
    let overlap = settings.integer("sentence_overlap").given();
    if let Some(value) = overlap.filter(|value| !(0..=1).contains(value)) {
        settings.refuse(format!("invalid value [{value}]: [sentence_overlap] must be 0 or 1"));
    }
    ChunkingSettings {
        max_chunk_size: size.given(),
        sentence_overlap: overlap,
        ..ChunkingSettings::default()
    }
}

fn word(settings: &mut SettingsReader) -> ChunkingSettings {
    let size = size(settings, 10);
    let overlap = settings.integer("overlap").given();
    // Half of a size that is itself refused says nothing, so the overlap is not examined then.
    let most = match size {
        Read::Absent => Some(DEFAULT_SIZE / 2),
        Read::Given(size) => Some(size / 2),
        Read::Refused => None,
    };
    if let (Some(value), Some(most)) = (overlap, most)
        && !(1..=most).contains(&value)
    {
        settings.refuse(format!(
            "invalid value [{value}]: [overlap] must be at least [1] and at most half of [max_chunk_size], [{most}]"
        ));
    }
    ChunkingSettings { max_chunk_size: size.given(), overlap, ..ChunkingSettings::default() }
}

fn recursive(settings: &mut SettingsReader) -> Accepted {
    let size = size(settings, 10);
    let group = match settings.string("separator_group") {
        Read::Given(name) => separator_group(settings, &name),
        Read::Absent | Read::Refused => None,
    };
    let separators = settings.strings("separators").given();
    if let Some(list) = &separators
        && !(1..=MOST_SEPARATORS).contains(&list.len())
    {
        settings
            .refuse(format!("[separators] must hold 1 to {MOST_SEPARATORS} patterns, not [{}]", list.len()));
    }
    // Compiled already here: found while a text is cut, a mistake would fail every text, and late.
    let mut compiled = Vec::new();
    for pattern in separators.iter().flatten().take(MOST_SEPARATORS) {
        if pattern.chars().nth(LONGEST_SEPARATOR).is_some() {
            let pattern = short_text(pattern);
            settings.refuse(format!(
                "invalid value [{pattern}]: [separators] must have at most [{LONGEST_SEPARATOR}] characters each"
            ));
        } else {
            match Separator::compile(pattern) {
                Ok(separator) => compiled.push(separator),
                Err(invalid) => settings.refuse(invalid.to_string()),
            }
        }
    }
    if group.is_some() && separators.is_some() {
        settings.refuse("[separators] and [separator_group] exclude each other; give one of them");
    }
    let compiled = separators.is_some().then_some(compiled);
    let settings = ChunkingSettings {
        max_chunk_size: size.given(),
        separator_group: group,
        separators,
        ..ChunkingSettings::default()
    };
    Accepted { settings, separators: compiled }
}

fn separator_group(settings: &mut SettingsReader, name: &str) -> Option<SeparatorGroup> {
    match name.trim().to_ascii_lowercase().as_str() {
        "markdown" => Some(SeparatorGroup::Markdown),
        "plaintext" => Some(SeparatorGroup::Plaintext),
        _ => {
            settings.refuse(format!(
                "invalid value [{name}]: [separator_group] must be one of [markdown, plaintext]"
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_chunking::Effective;

    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    fn parse_text(text: &str) -> Result<ChunkingSettings, Refusal> {
        parse(Object::parse(text.as_bytes()).unwrap()).map(|accepted| accepted.settings)
    }

    #[test]
    fn defaults_are_filled_in_when_shown() {
        let table = [
            ("{}", r#"{"strategy":"sentence","max_chunk_size":250,"sentence_overlap":1}"#),
            (
                r#"{"max_chunk_size":20,"sentence_overlap":0}"#,
                r#"{"strategy":"sentence","max_chunk_size":20,"sentence_overlap":0}"#,
            ),
            (r#"{"strategy":"word"}"#, r#"{"strategy":"word","max_chunk_size":250,"overlap":100}"#),
            (
                r#"{"strategy":"word","max_chunk_size":99}"#,
                r#"{"strategy":"word","max_chunk_size":99,"overlap":49}"#,
            ),
            (
                r#"{"strategy":"word","max_chunk_size":10,"overlap":5}"#,
                r#"{"strategy":"word","max_chunk_size":10,"overlap":5}"#,
            ),
            (r#"{"strategy":"none"}"#, r#"{"strategy":"none"}"#),
            (
                r#"{"strategy":"recursive"}"#,
                r#"{"strategy":"recursive","max_chunk_size":250,"separators":["(?<!\\n)\\n\\n(?!\\n)","(?<!\\n)\\n(?!\\n)"]}"#,
            ),
            (
                r##"{"strategy":"recursive","max_chunk_size":300,"separators":["#"]}"##,
                r##"{"strategy":"recursive","max_chunk_size":300,"separators":["#"]}"##,
            ),
        ];
        for (asked, shown) in table {
            let settings = parse_text(asked).unwrap();
            assert_eq!(serde_json::to_string(&Effective::of(&settings)).unwrap(), shown, "{asked}");
        }
        let markdown = parse_text(r#"{"strategy":"recursive","separator_group":" MarkDown "}"#).unwrap();
        assert_eq!(markdown.separator_group, Some(SeparatorGroup::Markdown));
        insta::assert_snapshot!(serde_json::to_string(&Effective::of(&markdown)).unwrap());
    }

    #[test]
    fn each_rule_has_its_type() {
        let validation = ErrorType::Validation;
        let table = [
            (r#"{"strategy":"words"}"#, ErrorType::IllegalArgument, "[words]"),
            (r#"{"strategy":"Word"}"#, ErrorType::IllegalArgument, "[Word]"),
            (r#"{"strategy":3}"#, validation, "[strategy]"),
            (r#"{"max_chunk_size":19}"#, validation, "at least [20]"),
            (r#"{"max_chunk_size":301}"#, validation, "at most [300]"),
            (r#"{"max_chunk_size":"40"}"#, validation, "[max_chunk_size]"),
            (r#"{"sentence_overlap":2}"#, validation, "0 or 1"),
            (r#"{"overlap":10}"#, validation, "[overlap] are not allowed for the [sentence] strategy"),
            (r#"{"strategy":"word","max_chunk_size":9}"#, validation, "at least [10]"),
            (r#"{"strategy":"word","overlap":126}"#, validation, "[125]"),
            (r#"{"strategy":"word","max_chunk_size":20,"overlap":11}"#, validation, "[10]"),
            (r#"{"strategy":"word","overlap":0}"#, validation, "at least [1]"),
            (r#"{"strategy":"word","sentence_overlap":1}"#, validation, "[sentence_overlap]"),
            (r#"{"strategy":"none","max_chunk_size":30}"#, validation, "[max_chunk_size]"),
            (r#"{"strategy":"recursive","separators":[]}"#, validation, "1 to 50"),
            (r#"{"strategy":"recursive","separators":["a",1]}"#, validation, "List of String"),
            (r#"{"strategy":"recursive","separators":["a","(b"]}"#, validation, "[(b] in [separators]"),
            (
                r#"{"strategy":"recursive","separators":["a"],"separator_group":"markdown"}"#,
                validation,
                "exclude",
            ),
            (r#"{"strategy":"recursive","separator_group":"latex"}"#, validation, "[latex]"),
            (r#"{"strategy":"recursive","separators":["[z-a]"]}"#, validation, "[[z-a]] in [separators]"),
        ];
        for (text, kind, part) in table {
            let refusal = parse_text(text).unwrap_err();
            assert_eq!(refusal.kind(), kind, "{text}");
            assert!(refusal.to_string().contains(part), "{text}: {refusal}");
        }
        let many: Vec<_> = (0..51).map(|_| "\"a\"").collect();
        assert!(
            parse_text(&format!(r#"{{"strategy":"recursive","separators":[{}]}}"#, many.join(","))).is_err()
        );
    }

    #[test]
    fn a_separator_has_a_length_that_somebody_can_read() {
        let settings = |length| {
            parse_text(&format!(r#"{{"strategy":"recursive","separators":["{}"]}}"#, "a".repeat(length)))
        };
        assert!(settings(LONGEST_SEPARATOR).is_ok());
        assert!(settings(LONGEST_SEPARATOR + 1).unwrap_err().to_string().contains("at most [1024]"));
    }

    #[test]
    fn a_refused_size_silences_the_rule_about_its_half() {
        let refusal =
            parse_text(r#"{"strategy":"word","max_chunk_size":4,"overlap":90}"#).unwrap_err().to_string();
        assert!(refusal.contains("1: ") && !refusal.contains("2: "), "{refusal}");
    }
}
