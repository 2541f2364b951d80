//! The vectors are those of transformers in fp32: what users index today must be found by what they ask tomorrow.

use std::collections::BTreeMap;
use std::path::Path;

use lexiscale_wire::{InputType, Options, SparseEmbedding, TruncationDirection};
use lexiscale_worker::embedder::{Embedder, Texts};
use lexiscale_worker::model::verify::VerifiedModel;
use lexiscale_worker::precision::PrecisionSetting;
use lexiscale_worker::tokenize::Tokenizer;
use lexiscale_worker::vocabulary::Vocabulary;
use tempfile::TempDir;

use crate::support::models::{
    demo_source, leave_fp32_to_onnx, open, publish, published_demo, published_demo_for_onnx, small_source,
};
use crate::support::reference::Reference;

const SMALL_MODELS: [&str; 12] = [
    "bert-f32",
    "bert-bf16-untied",
    "distilbert-f16",
    "distilbert-f32-sharded",
    "onnx-logits",
    "roberta-f32",
    "xlm-roberta-f16-untied",
    "modernbert-f32",
    "modernbert-bf16-biases",
    "sparse-sum",
    "sparse-double-log",
    "sparse-router",
];

pub(crate) fn texts(texts: Vec<String>) -> Texts {
    Texts { texts, input_type: Some(InputType::Ingest), options: Options::default(), timeout: None }
}

async fn compare_alone(embedder: &Embedder, reference: &Reference) {
    for expected in &reference.texts {
        let found = embedder.embed(texts(vec![expected.text.clone()])).await.unwrap();
        assert_eq!(found[0].is_truncated, expected.is_truncated, "is_truncated of {:?}", expected.text);
        reference.compare(expected, &embedder.name(&found[0].row));
    }
}

#[test]
fn token_ids_of_the_demo_model_are_those_of_transformers() {
    same_ids(&demo_source().join("tokenizer.json"), 512, &Reference::demo());
}

fn same_ids(tokenizer: &Path, window: usize, reference: &Reference) {
    let tokenizer = Tokenizer::load(tokenizer, window).unwrap();
    for expected in &reference.texts {
        let found = tokenizer.encode(&expected.text).unwrap();
        assert_eq!(found.ids, expected.ids, "{:?}", expected.text);
        assert_eq!(found.is_truncated, expected.is_truncated, "{:?}", expected.text);
    }
}

/// What a routed model's queries weigh without inference, against Sentence Transformers.
#[test]
fn the_table_of_a_routed_model_gives_its_queries_their_vectors() {
    let source = small_source("sparse-router");
    let published = publish(&source);
    let model = VerifiedModel::open(&published.path().join("model")).unwrap();
    let file = &model.manifest().static_search.as_ref().unwrap().file;
    let bytes = fs_err::read(published.path().join("model").join(file)).unwrap();
    let table: Vec<f32> = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    assert_eq!(table.len(), 73);
    let json = fs_err::read_to_string(model.tokenizer_file()).unwrap();
    let tokenizer = Tokenizer::parse(&json, 24).unwrap();
    let vocabulary = Vocabulary::parse(&json, 73).unwrap();
    let reference = Reference::read(&source.join("queries.json"));
    for expected in &reference.texts {
        let ids = tokenizer.encode(&expected.text).unwrap().ids;
        let weights = ids.iter().map(|id| (*id, vocabulary.token(*id), table[*id as usize]));
        let unique: BTreeMap<u32, (u32, &str, f32)> = weights.map(|entry| (entry.0, entry)).collect();
        reference.compare(expected, &SparseEmbedding::from_weights(unique.into_values()));
    }
}

#[tokio::test]
async fn vectors_of_the_demo_model_are_those_of_transformers() {
    for model in [published_demo(), published_demo_for_onnx()] {
        let embedder = open(model, 2, PrecisionSetting::Fp32);
        compare_alone(&embedder, &Reference::demo()).await;
    }
}

/// All texts in one request, so that lengths and padding mix.
#[tokio::test]
async fn a_list_gives_the_reference_too() {
    let embedder = open(published_demo(), 2, PrecisionSetting::Fp32);
    let reference = Reference::demo();
    let all = reference.texts.iter().map(|text| text.text.clone()).collect();
    let found = embedder.embed(texts(all)).await.unwrap();
    assert_eq!(found.len(), reference.texts.len());
    for (expected, found) in reference.texts.iter().zip(found) {
        reference.compare(expected, &embedder.name(&found.row));
    }
}

/// Every architecture, number format and layout that the converter knows, and an ONNX file that ends at the logits.
#[tokio::test]
async fn vectors_of_the_small_models_are_those_of_transformers() {
    for name in SMALL_MODELS {
        println!("{name}");
        let source = small_source(name);
        let published = publish(&source);
        let reference = Reference::read(&source.join("reference.json"));
        same_ids(&published.path().join("model/tokenizer.json"), 24, &reference);
        compare_in_both_ways(&published, &reference).await;
        // By our kernels where they know the model, and by ONNX Runtime.
        leave_fp32_to_onnx(published.path());
        compare_in_both_ways(&published, &reference).await;
    }
}

async fn compare_in_both_ways(published: &TempDir, reference: &Reference) {
    let embedder = open(published.path(), 1, PrecisionSetting::Fp32);
    assert_eq!(embedder.info().max_tokens, 24);
    compare_alone(&embedder, reference).await;
    let all = reference.texts.iter().map(|text| text.text.clone()).collect();
    let found = embedder.embed(texts(all)).await.unwrap();
    for (expected, found) in reference.texts.iter().zip(found) {
        reference.compare(expected, &embedder.name(&found.row));
    }
}

/// The window is found without reading megabytes of text; what is found must be what reading them would have given.
#[test]
fn a_long_text_has_the_ids_of_its_beginning() {
    let tokenizer = Tokenizer::load(&demo_source().join("tokenizer.json"), 512).unwrap();
    for unit in
        ["word ", "東京 は ", "antidisestablishmentarianism\n", "a.b,c! ", "                          x"]
    {
        let long = tokenizer.encode(&unit.repeat(100_000)).unwrap();
        let short = tokenizer.encode(&unit.repeat(3_000)).unwrap();
        assert_eq!(long.ids.len(), 512);
        assert!(long.is_truncated && short.is_truncated);
        assert_eq!(long.ids, short.ids, "{unit:?}");
    }
    let blank = tokenizer.encode(&" ".repeat(1_000_000)).unwrap();
    assert_eq!((blank.ids.len(), blank.is_truncated), (2, false));
    let late = tokenizer.encode(&format!("{}end", " ".repeat(1_000_000))).unwrap();
    assert_eq!((late.ids.len(), late.is_truncated), (3, false));
}

/// The end of a long text is found without reading megabytes of it, and is what reading them would have given.
#[test]
fn a_text_that_is_cut_on_the_left_has_the_ids_of_its_end() {
    let tokenizer = Tokenizer::load(&demo_source().join("tokenizer.json"), 512).unwrap();
    let left = TruncationDirection::Left;
    let end = "the last words of a long text, which are what counts here: antidisestablishmentarianism.";
    for unit in ["word ", "東京 は ", "a.b,c! ", "                          x"] {
        // The blank keeps the last word of the one from growing into the first of the other.
        let text = format!("{} {end}", unit.repeat(3_000));
        let whole = tokenizer.encode_plain(&unit.repeat(3_000), left).unwrap();
        let found = tokenizer.encode_cut(&text, left).unwrap();
        assert!(found.is_truncated && whole.is_truncated && found.ids.len() == 512);
        let (inner, alone) = (&found.ids[1..511], tokenizer.encode_plain(end, left).unwrap());
        assert!(inner.ends_with(&alone.ids), "{unit:?}");
        let before = &whole.ids[alone.ids.len()..];
        assert_eq!(&inner[..inner.len() - alone.ids.len()], before, "{unit:?}");
        assert_eq!([found.ids[0], found.ids[511]], [101, 102], "the special tokens stay");
    }
    let short = "hello world";
    assert_eq!(tokenizer.encode_cut(short, left).unwrap(), tokenizer.encode(short).unwrap());
}
