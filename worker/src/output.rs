//! Vectors as JSON, written straight into the answer's buffer: no tree, no string for each token. PURE.

use lexiscale_wire::Format;

use crate::pooling::SparseRow;
use crate::vocabulary::Vocabulary;

/// Bytes of an entry, about. Too little costs a copy, too much some memory for the time of an answer.
const ENTRY_BYTES: usize = 24;

/// One vector with what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// `{"sparse_embedding":[{"is_truncated":false,"embedding":…}]}`, as Elasticsearch has it.
    Inference,
    /// `[…]`, as Text Embeddings Inference has it.
    List,
}

/// A row to be written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    pub row: &'a SparseRow,
    pub is_truncated: bool,
}

/// A whole answer.
pub fn answer<'a>(
    rows: impl Iterator<Item = Written<'a>> + Clone,
    envelope: Envelope,
    format: Format,
    vocabulary: &Vocabulary,
) -> Vec<u8> {
    let entries: usize = rows.clone().map(|written| written.row.entries().len() + 2).sum();
    let mut buffer = Vec::with_capacity(64 + entries * ENTRY_BYTES);
    let (open, close): (&[u8], &[u8]) = match envelope {
        Envelope::Inference => (br#"{"sparse_embedding":["#, b"]}"),
        Envelope::List => (b"[", b"]"),
    };
    buffer.extend_from_slice(open);
    for (index, Written { row, is_truncated }) in rows.enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        match envelope {
            Envelope::List => embedding(&mut buffer, row, format, vocabulary),
            Envelope::Inference => {
                buffer.extend_from_slice(if is_truncated {
                    br#"{"is_truncated":true,"embedding":"#
                } else {
                    br#"{"is_truncated":false,"embedding":"#
                });
                embedding(&mut buffer, row, format, vocabulary);
                buffer.push(b'}');
            }
        }
    }
    buffer.extend_from_slice(close);
    buffer
}

fn embedding(buffer: &mut Vec<u8>, row: &SparseRow, format: Format, vocabulary: &Vocabulary) {
    match format {
        Format::Tokens => tokens(buffer, row.entries(), vocabulary),
        Format::Pairs => pairs(buffer, &by_id(row)),
        Format::Arrays => arrays(buffer, &by_id(row)),
    }
}

/// Largest weight first, equal ones by id.
fn tokens(buffer: &mut Vec<u8>, entries: &[(u32, f32)], vocabulary: &Vocabulary) {
    // Few vocabularies have twins, and few texts hold them.
    let mut seen = Vec::new();
    let mut separator = b'{';
    for (id, weight) in entries {
        let Some(key) = vocabulary.key(*id) else { continue };
        if let Some(twin) = vocabulary.twin(*id) {
            // The stronger one came first and stays.
            if seen.contains(&twin) {
                continue;
            }
            seen.push(twin);
        }
        buffer.push(separator);
        buffer.extend_from_slice(key);
        number(buffer, *weight);
        separator = b',';
    }
    if separator == b'{' {
        buffer.push(b'{');
    }
    buffer.push(b'}');
}

fn pairs(buffer: &mut Vec<u8>, entries: &[(u32, f32)]) {
    buffer.push(b'[');
    for (index, (id, weight)) in entries.iter().enumerate() {
        buffer.extend_from_slice(if index == 0 { br#"{"index":"# } else { br#",{"index":"# });
        number(buffer, *id);
        buffer.extend_from_slice(br#","value":"#);
        number(buffer, *weight);
        buffer.push(b'}');
    }
    buffer.push(b']');
}

fn arrays(buffer: &mut Vec<u8>, entries: &[(u32, f32)]) {
    buffer.extend_from_slice(br#"{"indices":["#);
    list(buffer, entries.iter().map(|(id, _)| *id));
    buffer.extend_from_slice(br#"],"values":["#);
    list(buffer, entries.iter().map(|(_, weight)| *weight));
    buffer.extend_from_slice(b"]}");
}

fn list<N: serde::Serialize>(buffer: &mut Vec<u8>, numbers: impl Iterator<Item = N>) {
    for (index, value) in numbers.enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        number(buffer, value);
    }
}

fn by_id(row: &SparseRow) -> Vec<(u32, f32)> {
    let mut entries = row.entries().to_vec();
    entries.sort_unstable_by_key(|(id, _)| *id);
    entries
}

/// The shortest digits that are read as the same number again.
fn number(buffer: &mut Vec<u8>, value: impl serde::Serialize) {
    // A number always becomes JSON, and a vector takes all that is written to it.
    let _ = serde_json::to_writer(buffer, &value);
}

#[cfg(test)]
mod tests {
    use lexiscale_wire::{InferenceResponse, SparseEmbedding, TextEmbedding};
    use proptest::prelude::*;

    use super::*;

    const TOKENIZER: &str =
        r#"{"model":{"vocab":{"zero":0,"a.b":1,"\"q\"":2,"a__b":3,"four":4,"é":5,"\u0007":6,"seven":7}}}"#;

    fn vocabulary() -> Vocabulary {
        Vocabulary::parse(TOKENIZER, 8).unwrap()
    }

    fn written(rows: &[SparseRow], envelope: Envelope, format: Format) -> String {
        let rows = rows.iter().map(|row| Written { row, is_truncated: false });
        String::from_utf8(answer(rows, envelope, format, &vocabulary())).unwrap()
    }

    #[test]
    fn each_format_in_each_envelope() {
        let rows = [SparseRow::from_dense(&[0.0, 0.1, 0.0, 0.0, 2.0, 0.0, 0.0, 1e-7]), SparseRow::default()];
        for (envelope, format, expected) in [
            (
                Envelope::Inference,
                Format::Tokens,
                r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"four":2.0,"a__b":0.1,"seven":1e-7}},{"is_truncated":false,"embedding":{}}]}"#,
            ),
            (
                Envelope::List,
                Format::Pairs,
                r#"[[{"index":1,"value":0.1},{"index":4,"value":2.0},{"index":7,"value":1e-7}],[]]"#,
            ),
            (
                Envelope::List,
                Format::Arrays,
                r#"[{"indices":[1,4,7],"values":[0.1,2.0,1e-7]},{"indices":[],"values":[]}]"#,
            ),
            (Envelope::List, Format::Tokens, r#"[{"four":2.0,"a__b":0.1,"seven":1e-7},{}]"#),
            (
                Envelope::Inference,
                Format::Arrays,
                r#"{"sparse_embedding":[{"is_truncated":false,"embedding":{"indices":[1,4,7],"values":[0.1,2.0,1e-7]}},{"is_truncated":false,"embedding":{"indices":[],"values":[]}}]}"#,
            ),
        ] {
            assert_eq!(written(&rows, envelope, format), expected);
        }
        let row = SparseRow::default();
        let cut = std::iter::once(Written { row: &row, is_truncated: true });
        let cut = answer(cut, Envelope::Inference, Format::Tokens, &vocabulary());
        assert_eq!(cut, br#"{"sparse_embedding":[{"is_truncated":true,"embedding":{}}]}"#);
    }

    #[test]
    fn of_tokens_with_one_name_the_stronger_stays() {
        for (weights, expected) in
            [([1.0, 2.0], r#"[{"a__b":2.0,"zero":0.5}]"#), ([2.0, 1.0], r#"[{"a__b":2.0,"zero":0.5}]"#)]
        {
            let row = SparseRow::from_dense(&[0.5, weights[0], 0.0, weights[1]]);
            assert_eq!(written(&[row], Envelope::List, Format::Tokens), expected);
        }
    }

    proptest! {
        /// Byte for byte what the wire's own types write, which gateways and clients read.
        #[test]
        fn the_shape_of_elasticsearch_is_the_wires(
            weights in proptest::collection::vec(proptest::collection::vec(any::<f32>(), 8), 1..4),
        ) {
            let rows: Vec<_> = weights.iter().map(|row| SparseRow::from_dense(row)).collect();
            let vocabulary = vocabulary();
            let named = |row: &SparseRow| {
                let entries = row.entries().iter();
                SparseEmbedding::from_weights(entries.map(|(id, weight)| (*id, vocabulary.token(*id), *weight)))
            };
            let texts = rows.iter().map(|row| TextEmbedding { is_truncated: false, embedding: named(row) });
            let response = InferenceResponse { sparse_embedding: texts.collect() };
            let expected = serde_json::to_string(&response).unwrap();
            prop_assert_eq!(written(&rows, Envelope::Inference, Format::Tokens), expected);
        }
    }
}
