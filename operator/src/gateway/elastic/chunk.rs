//! `POST _inference/{id}/_chunk`: the body, and the answer. Elasticsearch has no such route; its conventions for bodies
//! and errors are kept.

use lexiscale_chunking::Chunk;
use lexiscale_wire::{SparseEmbedding, TextEmbedding};
use serde::Serialize;
use serde::de::{Error as _, MapAccess};

use super::error::Refusal;
use super::fields::{self, Fields};
use super::json::{AtDepth, Json, Object, short, short_text};
use super::texts::TextsReader;

/// Texts to cut: at least one.
#[derive(Debug, PartialEq)]
pub(crate) struct ChunkRequest {
    pub(crate) texts: Vec<String>,
    /// Instead of those of the endpoint; not looked into yet.
    pub(crate) settings: Option<Object>,
}

#[derive(Debug, Default)]
struct Body {
    input: Option<Vec<String>>,
    chunking_settings: Option<Object>,
}

pub(crate) fn parse(body: &[u8]) -> Result<ChunkRequest, Refusal> {
    let Body { input, chunking_settings } = fields::parse(body)?;
    let Some(texts) = input else {
        return Err(Refusal::request("[input] must not be null"));
    };
    if texts.is_empty() {
        return Err(Refusal::request("[input] must not be an empty array"));
    }
    Ok(ChunkRequest { texts, settings: chunking_settings })
}

impl Fields for Body {
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, access: &mut A) -> Result<(), A::Error> {
        match key {
            "input" => self.input = access.next_value_seed(TextsReader("input"))?,
            "chunking_settings" => {
                self.chunking_settings = match access.next_value_seed(AtDepth(2))? {
                    Json::Null => None,
                    Json::Object(settings) => Some(settings),
                    other => {
                        return Err(A::Error::custom(format!(
                            "[chunking_settings] must be an object, not [{}]",
                            short(&other)
                        )));
                    }
                }
            }
            unknown => {
                return Err(A::Error::custom(format!(
                    "unknown field [{}]; known are [input, chunking_settings]",
                    short_text(unknown)
                )));
            }
        }
        Ok(())
    }
}

/// Texts with the places where they are cut.
#[derive(Debug)]
pub(crate) struct CutTexts {
    pub(crate) texts: Vec<String>,
    /// One list for each text.
    pub(crate) chunks: Vec<Vec<Chunk>>,
}

impl CutTexts {
    /// The chunks' own texts, text by text.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &str> {
        self.texts
            .iter()
            .zip(&self.chunks)
            .flat_map(|(text, chunks)| chunks.iter().map(|chunk| chunk.of(text)))
    }
}

impl CutTexts {
    /// About as many bytes as an answer without vectors has, and no fewer but for what JSON has to escape.
    pub(crate) fn answer_bytes(&self, shown: Texts) -> usize {
        // {"start":1234567,"end":1234567,"text":""},
        const PLACE: usize = 48;
        let places = PLACE * self.chunks.iter().map(Vec::len).sum::<usize>();
        match shown {
            Texts::LeftOut => places,
            Texts::Shown => places + self.pieces().map(str::len).sum::<usize>(),
        }
    }
}

/// What is said of a chunk beside its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Texts {
    Shown,
    LeftOut,
}

#[derive(Debug, Serialize)]
pub(crate) struct Answer<'a> {
    #[serde(rename = "sparse_embedding_chunks")]
    texts: Vec<OfText<'a>>,
}

#[derive(Debug, Serialize)]
struct OfText<'a> {
    chunks: Vec<OfChunk<'a>>,
}

#[derive(Debug, Serialize)]
struct OfChunk<'a> {
    start: usize,
    end: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_truncated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<&'a SparseEmbedding>,
}

impl<'a> Answer<'a> {
    /// `embeddings` are those of all pieces in their order, or none at all.
    pub(crate) fn new(cut: &'a CutTexts, shown: Texts, embeddings: Option<&'a [TextEmbedding]>) -> Self {
        let mut embeddings = embeddings.unwrap_or_default().iter();
        let mut of_chunk = |text: &'a str, chunk: &'a Chunk| {
            let embedding = embeddings.next();
            OfChunk {
                start: chunk.start,
                end: chunk.end,
                text: (shown == Texts::Shown).then(|| chunk.of(text)),
                is_truncated: embedding.map(|embedding| embedding.is_truncated),
                embedding: embedding.map(|embedding| &embedding.embedding),
            }
        };
        let texts = cut.texts.iter().zip(&cut.chunks);
        let texts = texts.map(|(text, chunks)| OfText {
            chunks: chunks.iter().map(|chunk| of_chunk(text, chunk)).collect(),
        });
        Self { texts: texts.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::elastic::error::ErrorType;

    #[test]
    fn takes_texts_and_settings_of_their_own() {
        let request = parse(br#"{"input":"a","chunking_settings":null}"#).unwrap();
        assert_eq!(request, ChunkRequest { texts: vec!["a".to_owned()], settings: None });
        let request = parse(br#"{"chunking_settings":{"max_chunk_size":20},"input":["a",""]}"#).unwrap();
        assert_eq!(request.texts, ["a", ""]);
        assert_eq!(request.settings.unwrap().listed(), "{max_chunk_size=20}");
    }

    #[test]
    fn refuses_as_the_other_routes_do() {
        let table = [
            ("{}", ErrorType::ActionRequestValidation, "[input] must not be null"),
            (r#"{"input":[]}"#, ErrorType::ActionRequestValidation, "empty array"),
            (r#"{"input":[1]}"#, ErrorType::XContentParse, "expected a string"),
            (r#"{"input":"a","input_type":"search"}"#, ErrorType::XContentParse, "[input_type]"),
            (r#"{"input":"a","chunking_settings":[]}"#, ErrorType::XContentParse, "[chunking_settings]"),
            (r#"{"input":"a","input":"b"}"#, ErrorType::XContentParse, "duplicate field [input]"),
            (r#"["a"]"#, ErrorType::XContentParse, "a JSON object"),
        ];
        for (body, kind, part) in table {
            let refusal = parse(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.kind(), kind, "{body}: {refusal}");
            assert!(refusal.to_string().contains(part), "{body}: {refusal}");
        }
    }

    #[test]
    fn the_answer_has_one_entry_for_each_text_and_its_fields_in_order() {
        let cut = CutTexts {
            texts: vec!["a😀b".to_owned(), "c".to_owned()],
            chunks: vec![
                vec![Chunk { start: 0, end: 3, bytes: 0..5 }, Chunk { start: 3, end: 4, bytes: 5..6 }],
                vec![Chunk { start: 0, end: 1, bytes: 0..1 }],
            ],
        };
        assert_eq!(cut.pieces().collect::<Vec<_>>(), ["a😀", "b", "c"]);
        let plain = serde_json::to_string(&Answer::new(&cut, Texts::LeftOut, None)).unwrap();
        assert_eq!(
            plain,
            r#"{"sparse_embedding_chunks":[{"chunks":[{"start":0,"end":3},{"start":3,"end":4}]},{"chunks":[{"start":0,"end":1}]}]}"#
        );
        let embeddings = [0.5, 0.1, 1.0].map(|weight| TextEmbedding {
            is_truncated: false,
            embedding: SparseEmbedding::from_weights([(1, "t", weight)]),
        });
        let whole = serde_json::to_string(&Answer::new(&cut, Texts::Shown, Some(&embeddings))).unwrap();
        assert!(
            whole.starts_with(
                r#"{"sparse_embedding_chunks":[{"chunks":[{"start":0,"end":3,"text":"a😀","is_truncated":false,"embedding":{"t":0.5}},"#
            ),
            "{whole}"
        );
        assert!(whole.ends_with(r#""text":"c","is_truncated":false,"embedding":{"t":1.0}}]}]}"#), "{whole}");
    }
}
