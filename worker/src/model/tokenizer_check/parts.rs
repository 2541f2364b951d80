//! Counts and measures the parts of a `tokenizer.json`. PURE.

use std::collections::HashSet;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::table;

/// Normalizers, pre-tokenizers and the like; the longest chains in use have ten.
const MAX_COMPONENTS: usize = 64;
/// The longest pattern in use has some 300 characters.
const MAX_PATTERN_BYTES: usize = 2048;
const MAX_TEXT_BYTES: usize = 1024;
const MAX_ADDED_TOKENS: usize = 50_000;
const MAX_TOKENS: usize = 4_194_304;
const MAX_TEMPLATE: usize = 64;
/// A pattern with more repetitions than this inside of others is not one for words.
const MAX_REPEATED: u32 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    #[error("it has {found} bytes, more than the {limit} that are read")]
    Bytes { found: u64, limit: u64 },
    #[error("it is not valid: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has {found} {what}, more than the {limit} that are allowed")]
    TooMany { what: &'static str, found: usize, limit: usize },
    #[error("{what} {found} is not allowed")]
    Refused { what: &'static str, found: String },
    #[error("its template names the token {token:?}, which it does not define")]
    Template { token: String },
    #[error("its table of replacements is corrupt: {reason}")]
    Table { reason: &'static str },
}

impl PartsError {
    pub(super) fn is_hostile(&self) -> bool {
        match self {
            Self::TooMany { .. } | Self::Refused { .. } | Self::Table { .. } | Self::Bytes { .. } => true,
            Self::Json(_) | Self::Template { .. } => false,
        }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: Model,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Option<Count>,
    merges: Option<Count>,
    dropout: Option<f64>,
    files: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u64,
    content: String,
}

/// Entries of a list or an object, which are not kept.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Count;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list or an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_any(Counting)
    }
}

pub(super) fn check(json: &str) -> Result<(), PartsError> {
    let file: File = serde_json::from_str(json)?;
    let File { normalizer, pre_tokenizer, post_processor, model, added_tokens } = file;
    for (what, count) in [("tokens", &model.vocab), ("merges", &model.merges)] {
        at_most(what, count.as_ref().map_or(0, |count| count.0), MAX_TOKENS)?;
    }
    if let Some(dropout) = model.dropout.filter(|dropout| *dropout > 0.0) {
        // The same text would have another vector each time.
        return Err(PartsError::Refused { what: "dropout", found: dropout.to_string() });
    }
    if model.files.is_some() {
        return Err(PartsError::Refused { what: "a vocabulary in", found: "other files".to_owned() });
    }
    at_most("added tokens", added_tokens.len(), MAX_ADDED_TOKENS)?;
    for token in &added_tokens {
        at_most("bytes of an added token", token.content.len(), MAX_TEXT_BYTES)?;
        if token.content.is_empty() || token.id >= MAX_TOKENS as u64 {
            let found = format!("{} {:?}", token.id, token.content);
            return Err(PartsError::Refused { what: "the added token", found });
        }
    }
    let mut components = 0;
    for part in [&normalizer, &pre_tokenizer, &post_processor] {
        walk(part, &mut components)?;
    }
    template(&post_processor)
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), PartsError> {
    if found > limit { Err(PartsError::TooMany { what, found, limit }) } else { Ok(()) }
}

/// As deep as the parser went, which is not deep.
fn walk(value: &Value, components: &mut usize) -> Result<(), PartsError> {
    match value {
        Value::Object(object) => {
            if object.contains_key("type") {
                *components += 1;
                at_most("components", *components, MAX_COMPONENTS)?;
            }
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("precompiled_charsmap", Value::String(text)) => table::check(text)?,
                    ("Regex", Value::String(pattern)) => check_pattern(pattern)?,
                    (_, Value::String(text)) => at_most("bytes of a setting", text.len(), MAX_TEXT_BYTES)?,
                    (_, value) => walk(value, components)?,
                }
            }
            Ok(())
        }
        Value::Array(list) => list.iter().try_for_each(|value| walk(value, components)),
        _ => Ok(()),
    }
}

/// Patterns whose compiled form or running time grows without bound are refused by what they are made of.
fn check_pattern(pattern: &str) -> Result<(), PartsError> {
    at_most("bytes of a pattern", pattern.len(), MAX_PATTERN_BYTES)?;
    let refused = |found: &str| Err(PartsError::Refused { what: "the pattern", found: found.to_owned() });
    let is_back_reference = |pair: &[u8]| pair[0] == b'\\' && (b'1'..=b'9').contains(&pair[1]);
    let bytes = pattern.as_bytes();
    if bytes.windows(2).any(is_back_reference) || pattern.contains("\\k<") || pattern.contains("(?R") {
        return refused(pattern);
    }
    let mut repeated = 1_u32;
    for part in pattern.split('{').skip(1) {
        let bounds = part.split('}').next().unwrap_or_default().split(',');
        for bound in bounds.filter_map(|bound| bound.trim().parse::<u32>().ok()) {
            repeated = repeated.saturating_mul(bound.max(1));
        }
    }
    // A repeated group whose content repeats as well backtracks through every way to cut the text.
    if repeated > MAX_REPEATED || has_nested_repetition(pattern) { refused(pattern) } else { Ok(()) }
}

/// `(a+)+` and its like: a group that is repeated without bound and ends in, or is nothing but, such a repetition.
fn has_nested_repetition(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    let mut stack: Vec<bool> = Vec::new();
    let mut in_class = false;
    let mut index = 0;
    while index < bytes.len() {
        match bytes[index] {
            b'\\' => index += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            _ if in_class => {}
            b'(' => stack.push(false),
            b')' => {
                let repeats = stack.pop().unwrap_or(false);
                let is_repeated = matches!(bytes.get(index + 1), Some(b'+' | b'*'));
                if repeats && is_repeated {
                    return true;
                }
                if let Some(outer) = stack.last_mut() {
                    *outer |= repeats || is_repeated;
                }
            }
            b'+' | b'*' => {
                // A possessive repetition, `a++`, gives nothing back.
                let is_possessive = bytes.get(index + 1) == Some(&b'+');
                if is_possessive {
                    index += 1;
                } else if let Some(group) = stack.last_mut() {
                    *group = true;
                }
            }
            _ => {}
        }
        index += 1;
    }
    false
}

/// Every special token that a template names must be among those that it defines.
fn template(post_processor: &Value) -> Result<(), PartsError> {
    let processors = match post_processor.get("processors").and_then(Value::as_array) {
        Some(list) => list.iter().collect(),
        None => vec![post_processor],
    };
    for processor in processors {
        let defined: HashSet<&str> = processor
            .get("special_tokens")
            .and_then(Value::as_object)
            .map(|tokens| tokens.keys().map(String::as_str).collect())
            .unwrap_or_default();
        for side in ["single", "pair"] {
            let Some(pieces) = processor.get(side).and_then(Value::as_array) else { continue };
            at_most("pieces of a template", pieces.len(), MAX_TEMPLATE)?;
            for piece in pieces {
                let token = piece.get("SpecialToken").and_then(|token| token.get("id")?.as_str());
                if let Some(token) = token.filter(|token| !defined.contains(token)) {
                    return Err(PartsError::Template { token: token.to_owned() });
                }
            }
        }
        let tokens = processor.get("special_tokens").and_then(Value::as_object);
        for token in tokens.into_iter().flat_map(|tokens| tokens.values()) {
            let ids = token.get("ids").and_then(Value::as_array).map_or(0, Vec::len);
            at_most("ids of a special token", ids, MAX_TEMPLATE)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_tokenizers_in_use_pass() {
        for pattern in [
            " {2,}",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{Lm}]+(?i:'s|'t)?|\p{N}{1,3}",
            r"(?:\r?\n)+|[\p{L}]++",
        ] {
            check_pattern(pattern).unwrap();
        }
    }

    /// Each of these takes minutes or memory without end in an engine that backtracks.
    #[test]
    fn patterns_that_explode_are_refused() {
        for pattern in ["(a+)+$", "(?:a*)*b", "((ab)+c)*", r"(a)\1", "(a{1000}){1000}", &"a|".repeat(2000)] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
    }
}
