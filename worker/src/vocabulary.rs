//! Token strings by id, read from `tokenizer.json` itself: the tokenizer keeps some vocabularies in a form that is meant
//! for decoding, and people search by the strings of the file. PURE.

mod keys;

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::manifest::hexadecimal;

use self::keys::Keys;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: Vec<Box<str>>,
    keys: Keys,
}

#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    #[error("failed to parse tokenizer.json")]
    Parse(#[source] serde_json::Error),
    #[error("tokenizer.json has no vocabulary")]
    Absent,
}

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Option<Entries>,
}

/// Tokens with their ids, in whatever order: an object of ids by token, or a list of tokens with their scores. Read as they come,
/// because a start waits for this, and a tree of 30,000 values costs several times as much.
struct Entries(Vec<(usize, Box<str>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of ids or a list of tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some((token, id)) = map.next_entry::<Box<str>, Value>()? {
            let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
            entries.extend(id.map(|id| (id, token)));
        }
        Ok(Entries(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element::<Value>()? {
            let token = entry.get(0).and_then(Value::as_str).unwrap_or_default();
            entries.push((entries.len(), token.into()));
        }
        Ok(Entries(entries))
    }
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

impl Vocabulary {
    /// `size` is the width of the model's output; ids beyond the file's get a name of their own, because models pad
    /// their vocabulary to round numbers.
    pub fn parse(tokenizer_json: &str, size: usize) -> Result<Self, VocabularyError> {
        let File { model, added_tokens } =
            serde_json::from_str(tokenizer_json).map_err(VocabularyError::Parse)?;
        let mut tokens: Vec<Box<str>> = vec![Box::default(); size];
        let mut set = |id: Option<usize>, token: Box<str>| {
            if let Some(place) = id.and_then(|id| tokens.get_mut(id)) {
                *place = token;
            }
        };
        let Some(Entries(entries)) = model.vocab else { return Err(VocabularyError::Absent) };
        for (id, token) in entries {
            set(Some(id), token);
        }
        for AddedToken { id, content } in added_tokens {
            set(usize::try_from(id).ok(), content.into());
        }
        for (id, token) in tokens.iter_mut().enumerate() {
            if token.is_empty() {
                *token = format!("[id {id}]").into();
            }
        }
        let keys = Keys::new(&tokens);
        Ok(Self { tokens, keys })
    }

    /// `sha256:` over the tokens by id and the tokenizer's file. What is indexed under one is found under the same one only.
    pub fn digest(&self, tokenizer_json: &str) -> String {
        let mut hash = Sha256::new();
        for token in self.tokens() {
            hash.update(token.len().to_le_bytes());
            hash.update(token);
        }
        hash.update(Sha256::digest(tokenizer_json));
        format!("sha256:{}", hexadecimal(&hash.finalize()))
    }

    /// By id.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|token| &**token)
    }

    pub fn token(&self, id: u32) -> &str {
        usize::try_from(id).ok().and_then(|id| self.tokens.get(id)).map_or("", |token| token)
    }

    /// The token's name as a key of an answer's object: `"token":`. None for an id beyond the vocabulary.
    pub fn key(&self, id: u32) -> Option<&[u8]> {
        self.keys.key(id)
    }

    /// A number that tokens share whose keys are equal; none for the others, which are nearly all.
    pub fn twin(&self, id: u32) -> Option<u32> {
        self.keys.twin(id)
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_tokens_win_and_gaps_have_names() {
        let json = r#"{"model":{"vocab":{"a":0,"b":1,"out of range":9}},"added_tokens":[{"id":1,"content":"[PAD]"}]}"#;
        let vocabulary = Vocabulary::parse(json, 3).unwrap();
        assert_eq!([0, 1, 2].map(|id| vocabulary.token(id)), ["a", "[PAD]", "[id 2]"]);
    }

    /// A model whose tokens moved by one answers with plausible words that nobody meant.
    #[test]
    fn the_digest_depends_on_every_token_and_on_the_tokenizer() {
        let digest = |json: &str| Vocabulary::parse(json, 2).unwrap().digest(json);
        let ab = r#"{"model":{"vocab":{"a":0,"b":1}}}"#;
        assert_eq!(digest(ab), digest(ab));
        let others = [
            r#"{"model":{"vocab":{"a":1,"b":0}}}"#,
            r#"{"model":{"vocab":{"a":0,"b":1}},"normalizer":null}"#,
        ];
        for other in others {
            assert_ne!(digest(ab), digest(other), "{other}");
        }
    }

    #[test]
    fn a_list_of_pieces_is_a_vocabulary_too() {
        let vocabulary = Vocabulary::parse(r#"{"model":{"vocab":[["<s>",0.0],["▁a",-1.5]]}}"#, 2).unwrap();
        assert_eq!([0, 1].map(|id| vocabulary.token(id)), ["<s>", "▁a"]);
    }

    #[test]
    fn keys_are_escaped_and_know_their_twins() {
        let json = r#"{"model":{"vocab":{"a.b":0,"\"":1,"é\n":2,"a__b":3,"c":4}}}"#;
        let vocabulary = Vocabulary::parse(json, 5).unwrap();
        let key = |id| vocabulary.key(id).map(|key| String::from_utf8(key.to_vec()).unwrap());
        let keys = [0, 1, 2, 3, 4].map(|id| key(id).unwrap());
        assert_eq!(keys, [r#""a__b":"#, r#""\"":"#, r#""é\n":"#, r#""a__b":"#, r#""c":"#]);
        assert_eq!(key(5), None);
        assert_eq!([0, 1, 3, 4].map(|id| vocabulary.twin(id)), [Some(0), None, Some(0), None]);
    }
}
