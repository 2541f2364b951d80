//! The vectors are those of transformers in fp32: what users index today must be found by what they ask tomorrow.

use lexiscale_wire::InputType;
use lexiscale_worker::embedder::{Embedder, Texts, Truncation};
use lexiscale_worker::precision::PrecisionSetting;
use lexiscale_worker::tokenize::Tokenizer;

use crate::support::models::{demo_source, open, publish, published_demo, small_source};
use crate::support::reference::Reference;

const SMALL_MODELS: [&str; 5] =
    ["bert-f32", "bert-bf16-untied", "distilbert-f16", "distilbert-f32-sharded", "onnx-logits"];

pub(crate) fn texts(texts: Vec<String>) -> Texts {
    Texts { texts, input_type: Some(InputType::Ingest), truncation: Truncation::Cut, timeout: None }
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
    let tokenizer = Tokenizer::load(&demo_source().join("tokenizer.json"), 512).unwrap();
    for expected in Reference::demo().texts {
        let found = tokenizer.encode(&expected.text).unwrap();
        assert_eq!(found.ids, expected.ids, "{:?}", expected.text);
        assert_eq!(found.is_truncated, expected.is_truncated, "{:?}", expected.text);
    }
}

#[tokio::test]
async fn vectors_of_the_demo_model_are_those_of_transformers() {
    let embedder = open(published_demo(), 2, PrecisionSetting::Fp32);
    compare_alone(&embedder, &Reference::demo()).await;
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
        let embedder = open(published.path(), 1, PrecisionSetting::Fp32);
        assert_eq!(embedder.info().max_tokens, 24);
        let reference = Reference::read(&source.join("reference.json"));
        compare_alone(&embedder, &reference).await;
        let all = reference.texts.iter().map(|text| text.text.clone()).collect();
        let found = embedder.embed(texts(all)).await.unwrap();
        for (expected, found) in reference.texts.iter().zip(found) {
            reference.compare(expected, &embedder.name(&found.row));
        }
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
