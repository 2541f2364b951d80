//! Models in 8-bit integers, by our kernels.

use std::collections::{HashMap, HashSet};

use lexiscale_wire::{InferenceResponse, Precision, Pruning, WorkerInfo};
use lexiscale_worker::backend::native::kernel_speed;
use lexiscale_worker::embedder::{Embedder, OpenError, Settings};
use lexiscale_worker::model::golden::{difference, judge};
use lexiscale_worker::model::manifest::{FP32_FILE, Golden, INT8_FILE, MODEL_FILE, Manifest};
use lexiscale_worker::model::verify::{VerifiedModel, read_manifest};
use lexiscale_worker::pooling::SparseRow;
use lexiscale_worker::precision::{KernelSpeed, PrecisionSetting};

use crate::support::models::{
    demo_source, leave_fp32_to_onnx, metrics, open, publish, published_demo, runtime, small_source,
};
use crate::support::process::Worker;
use crate::support::reference::Reference;
use crate::vectors::texts;

async fn rows(embedder: &Embedder, reference: &Reference) -> Vec<SparseRow> {
    let all = reference.texts.iter().map(|text| text.text.clone()).collect();
    embedder.embed(texts(all)).await.unwrap().into_iter().map(|found| found.row).collect()
}

fn cosine(left: &SparseRow, right: &SparseRow) -> f64 {
    let length = |row: &SparseRow| -> f64 {
        row.entries().iter().map(|(_, weight)| f64::from(*weight).powi(2)).sum::<f64>().sqrt()
    };
    let weights: HashMap<u32, f32> = left.entries().iter().copied().collect();
    let product: f64 = right
        .entries()
        .iter()
        .map(|(id, weight)| f64::from(*weight) * f64::from(weights.get(id).copied().unwrap_or_default()))
        .sum();
    product / (length(left) * length(right))
}

fn top(row: &SparseRow) -> HashSet<u32> {
    row.entries().iter().take(100).map(|(id, _)| *id).collect()
}

/// The bar that `auto` sets, on the real model and on texts that are not those of the golden set. What people do not write, such as one
/// word 500 times or a line of symbols, has few terms, of which each counts for much; its bar is lower.
#[tokio::test]
async fn int8_keeps_what_matters_of_the_demo_model() {
    let reference = Reference::demo();
    let fp32 = rows(&open(published_demo(), 2, PrecisionSetting::Fp32), &reference).await;
    let int8 = rows(&open(published_demo(), 2, PrecisionSetting::Int8), &reference).await;
    let mut prose = Vec::new();
    let (mut kept, mut of) = (0, 0);
    for (text, (fp32, int8)) in reference.texts.iter().zip(fp32.iter().zip(&int8)) {
        if fp32.entries().is_empty() {
            continue;
        }
        let cosine = cosine(fp32, int8);
        assert!(cosine > 0.99, "{:?}: {cosine}", text.text);
        kept += top(fp32).intersection(&top(int8)).count();
        of += top(fp32).len();
        let words: HashSet<_> = text.text.split_whitespace().filter(|word| word.is_ascii()).collect();
        if words.len() >= 5 {
            prose.push(cosine);
        }
    }
    let mean = prose.iter().sum::<f64>() / f64::from(u32::try_from(prose.len()).unwrap());
    println!("mean cosine of {} texts {mean:.5}, {kept} of {of} kept among the top 100", prose.len());
    assert!(prose.len() >= 8 && mean >= 0.999, "mean cosine {mean}");
    assert!(kept * 1000 >= of * 975, "{kept} of {of} kept");
}

/// Random weights are harder on 8 bits than trained ones; what counts is that no tensor is mistaken for another. The head of
/// `roberta-f32` has another activation than its layers, as RoBERTa's always has the exact GELU.
#[tokio::test]
async fn every_architecture_that_is_packed_gives_nearly_its_fp32_vectors() {
    for name in [
        "bert-f32",
        "bert-bf16-untied",
        "distilbert-f16",
        "distilbert-f32-sharded",
        "roberta-f32",
        "xlm-roberta-f16-untied",
        "modernbert-f32",
        "modernbert-bf16-biases",
        "sparse-sum",
    ] {
        let source = small_source(name);
        let published = publish(&source);
        let reference = Reference::read(&source.join("reference.json"));
        let fp32 = rows(&open(published.path(), 1, PrecisionSetting::Fp32), &reference).await;
        let int8 = rows(&open(published.path(), 1, PrecisionSetting::Int8), &reference).await;
        for (fp32, int8) in fp32.iter().zip(&int8).filter(|(fp32, _)| !fp32.entries().is_empty()) {
            let cosine = cosine(fp32, int8);
            assert!(cosine > 0.99, "{name}: {cosine}");
        }
    }
}

fn edit_manifest(folder: &std::path::Path, edit: impl FnOnce(&mut Manifest)) {
    let mut manifest = read_manifest(folder).unwrap();
    edit(&mut manifest);
    fs_err::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

fn precision(published: &std::path::Path, setting: PrecisionSetting) -> Result<Precision, OpenError> {
    let settings = Settings {
        threads: 1,
        precision: setting,
        queue_capacity: 9,
        max_texts: 9,
        pruning: Pruning::default(),
    };
    let model = published.join("model");
    let opened = Embedder::open(&model, &|| Ok(runtime().clone()), settings, metrics());
    opened.map(|embedder| embedder.info().precision)
}

#[test]
fn auto_is_int8_only_after_it_was_compared_with_fp32() {
    let published = publish(&small_source("bert-f32"));
    let model = published.path().join("model");
    for (mean_cosine, expected) in [(0.9995, Precision::Int8), (0.9, Precision::Fp32)] {
        let golden = Golden { mean_cosine, worst_cosine: 0.99, top100_kept: 0.99 };
        edit_manifest(&model, |manifest| manifest.golden = Some(golden));
        assert_eq!(precision(published.path(), PrecisionSetting::Auto).unwrap(), expected);
    }
    edit_manifest(&model, |manifest| manifest.golden = None);
    assert_eq!(precision(published.path(), PrecisionSetting::Auto).unwrap(), Precision::Fp32);
}

/// By what a download finds out about it before it publishes.
#[test]
fn auto_is_int8_for_the_trained_model_where_the_cpu_is_fast_at_it() {
    let published = publish(&demo_source());
    let model = published.path().join("model");
    let golden = judge(&model, &demo_source(), runtime()).unwrap();
    edit_manifest(&model, |manifest| manifest.golden = golden);
    let expected = match kernel_speed() {
        KernelSpeed::Fast => Precision::Int8,
        KernelSpeed::Slow => Precision::Fp32,
    };
    assert_eq!(precision(published.path(), PrecisionSetting::Auto).unwrap(), expected);
}

#[test]
fn a_model_that_is_not_packed_is_refused_by_name_and_served_in_fp32() {
    let published = publish(&small_source("onnx-logits"));
    assert_eq!(precision(published.path(), PrecisionSetting::Auto).unwrap(), Precision::Fp32);
    let error = precision(published.path(), PrecisionSetting::Int8).unwrap_err().to_string();
    assert!(error.contains("ships an ONNX file") && error.contains("set precision fp32 or auto"), "{error}");
}

/// The weights that are not used are not read: a start waits for each byte.
#[test]
fn only_what_is_served_is_verified_and_that_wholly() {
    for (setting, used, unused) in [
        (PrecisionSetting::Int8, INT8_FILE, MODEL_FILE),
        (PrecisionSetting::Int8, INT8_FILE, FP32_FILE),
        (PrecisionSetting::Fp32, FP32_FILE, MODEL_FILE),
        (PrecisionSetting::Fp32, FP32_FILE, INT8_FILE),
    ] {
        let published = publish(&small_source("bert-f32"));
        let damage = |name: &str| {
            let path = published.path().join("model").join(name);
            let mut content = fs_err::read(&path).unwrap();
            *content.last_mut().unwrap() ^= 1;
            fs_err::write(&path, content).unwrap();
        };
        damage(unused);
        precision(published.path(), setting).unwrap();
        VerifiedModel::open(&published.path().join("model")).unwrap_err();
        damage(used);
        let error = precision(published.path(), setting).unwrap_err().to_string();
        assert!(error.contains("does not have the sha256"), "{error}");
    }
}

/// RoBERTa skips the padding token in its count of positions, also where somebody wrote it into the text.
#[tokio::test]
async fn a_padding_token_in_a_text_is_counted_as_in_fp32() {
    let published = publish(&small_source("roberta-f32"));
    let (fp32, int8, onnx) = {
        let fp32 = open(published.path(), 1, PrecisionSetting::Fp32);
        let int8 = open(published.path(), 1, PrecisionSetting::Int8);
        leave_fp32_to_onnx(published.path());
        (fp32, int8, open(published.path(), 1, PrecisionSetting::Fp32))
    };
    for text in ["a <pad> b", "<pad><pad> the river", "the <pad>"] {
        let row = async |embedder: &Embedder| {
            embedder.embed(texts(vec![text.to_owned()])).await.unwrap().remove(0).row
        };
        let (fp32, int8, onnx) = (row(&fp32).await, row(&int8).await, row(&onnx).await);
        assert_eq!(difference(&onnx, &fp32), None, "{text}");
        assert!(cosine(&onnx, &int8) > 0.99, "{text}: {}", cosine(&onnx, &int8));
    }
}

/// What runs is seen by whoever asks, and ONNX Runtime is not even loaded.
#[test]
fn a_worker_says_what_it_computes_with() {
    let worker = Worker::serve(published_demo(), &["--precision", "int8", "--onnxruntime", "/nowhere.so"]);
    worker.wait_until_ready();
    let info: WorkerInfo = serde_json::from_str(&worker.get("/info").1).unwrap();
    assert_eq!(info.precision, Precision::Int8);
    assert!(worker.get("/metrics").1.contains("precision=\"int8\""));
    let (status, body) = worker.post("/_inference", br#"{"input":"hello world"}"#);
    assert_eq!(status, 200, "{body}");
    let answer: InferenceResponse = serde_json::from_str(&body).unwrap();
    assert!(answer.sparse_embedding[0].embedding.weight("hello").is_some());
}
