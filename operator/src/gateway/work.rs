//! What is asked of workers: texts, the route that embeds them, and how they are cut into pieces and their answers
//! joined. PURE.

use std::ops::Range;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use lexiscale_wire::{InputType, Options};
use serde::Serialize;

use super::presentation::json;
use super::queue::Class;

/// Trace context goes on to the worker.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// One of the worker's routes, with what its body says beside the texts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// Elasticsearch's shape: tokens and weights.
    Inference { input_type: Option<InputType> },
    /// The shape of Text Embeddings Inference: token ids and weights.
    EmbedSparse { input_type: Option<InputType> },
}

/// What goes to one worker in one request, and who it competes with.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) path: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) class: Class,
    pub(crate) texts: usize,
}

/// All texts of a request; at least one.
#[derive(Debug)]
pub(crate) struct Work {
    texts: Vec<String>,
    form: Form,
    options: Options,
    headers: HeaderMap,
}

/// The worker's answer is not what its route promises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BrokenFrame;

impl Work {
    /// `client` is the head of the request that brought the texts.
    pub(crate) fn new(texts: Vec<String>, form: Form, options: Options, client: &HeaderMap) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for name in [TRACEPARENT, TRACESTATE] {
            if let Some(value) = client.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        Self { texts, form, options, headers }
    }

    pub(crate) fn texts(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Ranges of at most `size` texts.
    pub(crate) fn pieces(&self, size: usize) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let texts = self.texts.len();
        let size = size.max(1);
        (0..texts.div_ceil(size)).map(move |piece| piece * size..texts.min((piece + 1) * size))
    }

    /// The request for a piece.
    pub(crate) fn message(&self, range: Range<usize>) -> Message {
        let texts = &self.texts[range];
        Message {
            path: self.form.path(),
            headers: self.headers.clone(),
            body: Bytes::from(self.form.body(texts, &self.options)),
            class: self.form.class(),
            texts: texts.len(),
        }
    }
}

impl Form {
    fn path(self) -> &'static str {
        match self {
            Self::Inference { .. } => "/_inference",
            Self::EmbedSparse { .. } => "/embed_sparse",
        }
    }

    fn class(self) -> Class {
        match self {
            Self::Inference { input_type } | Self::EmbedSparse { input_type } => Class::from(input_type),
        }
    }

    /// As the worker reads it: `InferenceRequest` of the wire, with borrowed texts.
    fn body(self, texts: &[String], options: &Options) -> Vec<u8> {
        #[derive(Serialize)]
        struct Inference<'a> {
            input: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            input_type: Option<InputType>,
            #[serde(flatten)]
            options: &'a Options,
        }
        #[derive(Serialize)]
        struct EmbedSparse<'a> {
            inputs: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            input_type: Option<InputType>,
            #[serde(flatten)]
            options: &'a Options,
        }
        match self {
            Self::Inference { input_type } => json(&Inference { input: texts, input_type, options }),
            Self::EmbedSparse { input_type } => json(&EmbedSparse { inputs: texts, input_type, options }),
        }
    }

    /// What stands before and behind the entries of an answer.
    pub(crate) fn frame(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Inference { .. } => (br#"{"sparse_embedding":["#, b"]}"),
            Self::EmbedSparse { .. } => (b"[", b"]"),
        }
    }

    /// The entries of an answer, as they are.
    pub(crate) fn entries(self, answer: &Bytes) -> Result<Bytes, BrokenFrame> {
        let (head, tail) = self.frame();
        let entries =
            answer.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)).ok_or(BrokenFrame)?;
        // An answer to at least one text has at least one entry.
        if entries.is_empty() { Err(BrokenFrame) } else { Ok(answer.slice_ref(entries)) }
    }
}

#[cfg(test)]
mod tests {
    use lexiscale_wire::{InferenceRequest, InferenceResponse, SparseEmbedding, TextEmbedding};

    use super::*;

    const INFERENCE: Form = Form::Inference { input_type: Some(InputType::Search) };
    const EMBED_SPARSE: Form = Form::EmbedSparse { input_type: None };

    fn work(texts: usize, form: Form) -> Work {
        let texts = (0..texts).map(|number| number.to_string()).collect();
        Work::new(texts, form, Options::default(), &HeaderMap::new())
    }

    #[test]
    fn every_text_is_in_one_piece_in_order() {
        for (texts, size, ends) in
            [(1, 10, vec![1]), (10, 10, vec![10]), (11, 10, vec![10, 11]), (3, 0, vec![1, 2, 3])]
        {
            let pieces: Vec<_> = work(texts, INFERENCE).pieces(size).collect();
            assert_eq!(pieces.iter().map(|piece| piece.end).collect::<Vec<_>>(), ends);
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start) && pieces[0].start == 0);
        }
    }

    #[test]
    fn a_message_is_what_the_worker_reads() {
        let message = work(12, INFERENCE).message(10..12);
        let request: InferenceRequest = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(
            (request.texts(), request.input_type()),
            (&["10".to_owned(), "11".to_owned()][..], Some(InputType::Search))
        );
        assert_eq!((message.path, message.class, message.texts), ("/_inference", Class::Search, 2));
        let message = work(1, EMBED_SPARSE).message(0..1);
        assert_eq!(message.body, r#"{"inputs":["0"]}"#);
        assert_eq!((message.path, message.class), ("/embed_sparse", Class::Ingest));
        let options = Options { truncate: Some(true), ..Options::default() };
        let work = Work::new(vec!["a".to_owned()], EMBED_SPARSE, options, &HeaderMap::new());
        assert_eq!(work.message(0..1).body, r#"{"inputs":["a"],"truncate":true}"#);
    }

    #[test]
    fn trace_context_goes_on_and_nothing_else() {
        let mut client = HeaderMap::new();
        client.insert("authorization", HeaderValue::from_static("ApiKey x"));
        client.insert(TRACEPARENT, HeaderValue::from_static("00-1"));
        let work = Work::new(vec![String::new()], INFERENCE, Options::default(), &client);
        let headers = work.message(0..1).headers;
        assert_eq!((headers.len(), headers.get(TRACEPARENT).is_some()), (2, true));
    }

    /// The worker's answers are taken apart without reading them, so their frame must be what is expected.
    #[test]
    fn the_frame_is_the_one_that_the_worker_writes() {
        let entry = || TextEmbedding {
            is_truncated: false,
            embedding: SparseEmbedding::from_weights([(1, "]}", 1.0)]),
        };
        let answer = |entries| Bytes::from(json(&InferenceResponse { sparse_embedding: entries }));
        let entries = INFERENCE.entries(&answer(vec![entry(), entry()])).unwrap();
        let (head, tail) = INFERENCE.frame();
        let again = Bytes::from([head, &entries[..], b",", &entries[..], tail].concat());
        let read: InferenceResponse = serde_json::from_slice(&again).unwrap();
        assert_eq!(read.sparse_embedding, [entry(), entry(), entry(), entry()]);
        assert_eq!(INFERENCE.entries(&answer(Vec::new())), Err(BrokenFrame));
        assert_eq!(INFERENCE.entries(&Bytes::from_static(b"{}")), Err(BrokenFrame));
        assert_eq!(EMBED_SPARSE.entries(&Bytes::from_static(b"[[]]")), Ok(Bytes::from_static(b"[]")));
    }
}
