//! What a worker gives out and how it is asked for it, through the real binary with the real model, and with small folders whose
//! queries take a table or a prompt.

use std::collections::BTreeMap;
use std::path::Path;

use lexiscale_worker::model::manifest::{MANIFEST_FILE, Manifest, ManifestFile, StaticSearch, digest};
use lexiscale_worker::model::verify::sha256_of;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::models::{file_names, publish, published_demo, small_source};
use crate::support::process::Worker;

const TEXT: &str = "Kubernetes restarts pods that fail their liveness probe.";

fn ask(worker: &Worker, path: &str, body: &Value) -> Value {
    let (status, answer) = worker.post(path, body.to_string().as_bytes());
    assert_eq!(status, 200, "{path} {body}: {answer}");
    serde_json::from_str(&answer).unwrap()
}

fn vector(worker: &Worker, more: &Value) -> Vec<(String, f32)> {
    let mut body = json!({"input": [TEXT]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, answer) = worker.post("/_inference", body.to_string().as_bytes());
    assert_eq!(status, 200, "{body}: {answer}");
    let answer: lexiscale_wire::InferenceResponse = serde_json::from_str(&answer).unwrap();
    let entries = answer.sparse_embedding[0].embedding.entries().iter();
    entries.map(|entry| (entry.token.clone(), entry.weight)).collect()
}

#[test]
fn every_format_holds_the_same_weights() {
    let worker = Worker::serve(published_demo(), &[]);
    worker.wait_until_ready();
    let tokens = vector(&worker, &json!({}));
    assert!(tokens.len() > 20);
    let pairs = ask(&worker, "/embed_sparse", &json!({"inputs": TEXT}));
    let by_id: BTreeMap<u64, f64> = pairs[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair["index"].as_u64().unwrap(), pair["value"].as_f64().unwrap()))
        .collect();
    assert_eq!(by_id.len(), tokens.len());
    let ids: Vec<_> = pairs[0].as_array().unwrap().iter().map(|pair| pair["index"].as_u64()).collect();
    assert!(ids.is_sorted(), "by ascending id");
    let arrays = ask(&worker, "/embed_sparse", &json!({"inputs": TEXT, "format": "arrays"}));
    assert_eq!(arrays[0]["indices"], json!(by_id.keys().collect::<Vec<_>>()));
    assert_eq!(arrays[0]["values"], json!(by_id.values().collect::<Vec<_>>()));
    let named = ask(&worker, "/embed_sparse", &json!({"inputs": TEXT, "format": "tokens"}));
    let inferred = ask(&worker, "/_inference", &json!({"input": TEXT}));
    assert_eq!(named[0], inferred["sparse_embedding"][0]["embedding"]);
    let inferred = ask(&worker, "/_inference", &json!({"input": TEXT, "format": "arrays"}));
    assert_eq!(inferred["sparse_embedding"][0]["embedding"], arrays[0]);
    // Both in the shortest digits of single precision, so as texts they are the same.
    let sorted = |mut values: Vec<String>| {
        values.sort();
        values
    };
    let of_tokens = sorted(tokens.iter().map(|(_, weight)| weight.to_string()).collect());
    let of_pairs = sorted(by_id.values().map(ToString::to_string).collect());
    assert_eq!(of_tokens, of_pairs);
}

#[test]
fn a_vector_is_pruned_as_the_endpoint_says_and_a_request_overrides() {
    let worker = Worker::serve(published_demo(), &[]);
    worker.wait_until_ready();
    let all = vector(&worker, &json!({}));
    let largest = all[0].1;
    let least = all[all.len() / 2].1;
    let ratio = |share: f32| all.iter().filter(|(_, weight)| *weight >= share * largest).count();
    assert_eq!(vector(&worker, &json!({"top_k": 7})), all[..7]);
    assert_eq!(vector(&worker, &json!({"max_ratio": 0.5})), all[..ratio(0.5)]);
    let strong = all.iter().filter(|(_, weight)| *weight >= least).count();
    assert_eq!(vector(&worker, &json!({"min_weight": least})), all[..strong]);
    assert_eq!(vector(&worker, &json!({"top_k": 5, "max_ratio": 0.5})), all[..5.min(ratio(0.5))]);

    let worker = Worker::serve(published_demo(), &["--top-k", "9", "--max-ratio", "0.01"]);
    worker.wait_until_ready();
    assert_eq!(vector(&worker, &json!({})), all[..9]);
    assert_eq!(vector(&worker, &json!({"top_k": 12})), all[..12]);
    let pairs = ask(&worker, "/embed_sparse", &json!({"inputs": TEXT}));
    assert_eq!(pairs[0].as_array().unwrap().len(), 9);
}

#[test]
fn a_long_text_may_lose_its_beginning_instead_of_its_end() {
    let model = publish(&small_source("bert-f32"));
    let worker = Worker::serve(model.path(), &[]);
    worker.wait_until_ready();
    // 24 positions, two of them for special tokens.
    let end = "one two three five ".repeat(5) + "hello world";
    let long = format!("the cat sat on the mat {end}");
    let cut = ask(&worker, "/_inference", &json!({"input": long, "truncation_direction": "Left"}));
    let alone = ask(&worker, "/_inference", &json!({"input": end}));
    assert_eq!(cut["sparse_embedding"][0]["embedding"], alone["sparse_embedding"][0]["embedding"]);
    assert_eq!(cut["sparse_embedding"][0]["is_truncated"], json!(true));
    assert_eq!(alone["sparse_embedding"][0]["is_truncated"], json!(false));
    let right = ask(&worker, "/_inference", &json!({"input": long}));
    assert_ne!(right["sparse_embedding"][0]["embedding"], alone["sparse_embedding"][0]["embedding"]);
    let (status, refused) =
        worker.post("/_inference", json!({"input": long, "truncate": false}).to_string().as_bytes());
    assert_eq!(status, 413, "{refused}");
}

/// A copy of a small model with one more file.
fn source_with(name: &str, content: &str) -> TempDir {
    let (source, folder) = (small_source("bert-f32"), tempfile::tempdir().unwrap());
    for file in file_names(&source) {
        fs_err::copy(source.join(&file), folder.path().join(&file)).unwrap();
    }
    fs_err::write(folder.path().join(name), content).unwrap();
    folder
}

#[test]
fn prompts_of_the_model_go_before_the_texts() {
    let prompts = json!({"prompts": {"query": "the cat ", "document": "on ", "title": "mat "}, "default_prompt_name": "title"});
    let source = source_with("config_sentence_transformers.json", &prompts.to_string());
    let model = publish(source.path());
    let worker = Worker::serve(model.path(), &[]);
    worker.wait_until_ready();
    let plain = publish(&small_source("bert-f32"));
    let plain = Worker::serve(plain.path(), &[]);
    plain.wait_until_ready();
    for (asked, text) in [
        (json!({"input_type": "search"}), "the cat hello"),
        (json!({"input_type": "ingest"}), "on hello"),
        (json!({}), "mat hello"),
        (json!({"prompt_name": "query", "input_type": "ingest"}), "the cat hello"),
    ] {
        let mut body = asked.clone();
        body["input"] = json!("hello");
        let expected = ask(&plain, "/_inference", &json!({"input": text}));
        assert_eq!(ask(&worker, "/_inference", &body), expected, "{asked}");
    }
    let body = json!({"inputs": "hello", "prompt_name": "abstract"}).to_string();
    let (status, error) = worker.post("/embed_sparse", body.as_bytes());
    assert_eq!(status, 400);
    assert!(error.contains("it has document, query, title"), "{error}");
}

/// What the intake of a model with static queries leaves behind.
fn with_table(published: &Path, weights: &[f32]) {
    let folder = published.join("model");
    let table: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let name = "query_weights.bin".to_owned();
    fs_err::write(folder.join(&name), &table).unwrap();
    let path = folder.join(MANIFEST_FILE);
    let mut manifest: Manifest = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    let sha256 = sha256_of(&folder.join(&name)).unwrap();
    manifest.files.push(ManifestFile { name: name.clone(), size: table.len() as u64, sha256 });
    manifest.static_search = Some(StaticSearch { file: name });
    manifest.digest = digest(&manifest.files);
    fs_err::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
fn searches_of_a_static_model_take_the_table_and_never_the_model() {
    let model = publish(&small_source("bert-f32"));
    let mut weights = [0.0; 73];
    weights[5..16].copy_from_slice(&[0.5, 3.0, 2.5, 0.25, 4.0, 1.5, 1.25, 0.75, 0.0, 1.0, 2.0]);
    with_table(model.path(), &weights);
    let worker = Worker::serve(model.path(), &["--queue-capacity", "3"]);
    worker.wait_until_ready();
    let search = |more: &Value| {
        let mut body =
            json!({"input": ["The cat sat, the cat sat", "two", "mat [SEP]"], "input_type": "search"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&worker, "/_inference", &body)
    };
    let entry = |embedding: Value| json!({"is_truncated": false, "embedding": embedding});
    let expected = [json!({"cat": 3.0, "sat": 2.5, "the": 0.5}), json!({}), json!({"mat": 4.0})];
    assert_eq!(search(&json!({})), json!({"sparse_embedding": expected.map(entry)}));
    let expected = [json!({"cat": 3.0}), json!({}), json!({"mat": 4.0})];
    assert_eq!(search(&json!({"top_k": 1})), json!({"sparse_embedding": expected.map(entry)}));
    assert_eq!(worker.metric("lexiscale_worker_static_texts_total").to_string(), "6");
    assert_eq!(worker.metric("lexiscale_worker_texts_total").to_string(), "0");
    let (_, ingest) = worker.post("/_inference", br#"{"input":"the cat","input_type":"ingest"}"#);
    let plain = publish(&small_source("bert-f32"));
    let plain = Worker::serve(plain.path(), &[]);
    plain.wait_until_ready();
    assert_eq!(ingest, plain.post("/_inference", br#"{"input":"the cat"}"#).1, "documents take the model");
}

#[test]
fn a_table_of_another_vocabulary_is_not_served() {
    let model = publish(&small_source("bert-f32"));
    with_table(model.path(), &[1.0; 72]);
    let (code, log) = Worker::ends(model.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(log.contains("288 bytes, but a vocabulary of 73 tokens takes 292"), "{log}");
}

#[test]
fn what_it_measures_of_itself_is_told() {
    let model = publish(&small_source("bert-f32"));
    let worker = Worker::serve(model.path(), &[]);
    worker.wait_until_ready();
    ask(&worker, "/_inference", &json!({"input": ["hello world", "one"]}));
    for (metric, least) in [
        ("lexiscale_worker_tokenize_seconds_count", 1.0),
        ("lexiscale_worker_queue_seconds_count", 2.0),
        ("lexiscale_worker_inference_seconds_count", 1.0),
        ("lexiscale_worker_serialize_seconds_count", 1.0),
        ("lexiscale_worker_request_tokens_sum", 7.0),
        ("lexiscale_worker_run_texts_sum", 2.0),
        ("lexiscale_worker_resident_memory_bytes", 1e6),
        ("lexiscale_worker_peak_memory_bytes", 1e6),
    ] {
        assert!(worker.metric(metric) >= least, "{metric}");
    }
    assert_eq!(worker.metric("lexiscale_worker_texts_in_flight").to_string(), "0");
}

#[test]
fn a_quiet_worker_measures_itself_and_tells_it() {
    let model = publish(&small_source("bert-f32"));
    let worker = Worker::serve(model.path(), &["--measure-after", "0.05"]);
    let sizing = worker.wait_for(|worker| {
        let info: lexiscale_wire::WorkerInfo = serde_json::from_str(&worker.get("/info").1).ok()?;
        info.sizing
    });
    assert!(sizing.tokens_per_second > 0.0 && sizing.documents_per_second_128 > 0.0, "{sizing:?}");
    assert!(sizing.resident_bytes > 1 << 20 && sizing.recommended_memory_bytes > sizing.resident_bytes);
    let (status, body) = worker.get("/info");
    assert!(status == 200 && body.contains(r#""documentsPerSecond128":"#), "{body}");
}

#[test]
fn bench_prints_a_table_or_json_and_nothing_else() {
    let model = publish(&small_source("bert-f32"));
    let folder = model.path().join("model");
    let library = crate::support::models::library();
    let bench = |more: &[&str]| {
        let mut arguments = vec!["bench", "--model", folder.to_str().unwrap(), "--threads", "1"];
        arguments.extend([
            "--onnxruntime",
            library.to_str().unwrap(),
            "--seconds",
            "0.3",
            "--lengths",
            "8,24",
        ]);
        arguments.extend(more);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_lexiscale-worker"))
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{}", text(output.stderr));
        text(output.stdout)
    };
    let report: Value = serde_json::from_str(&bench(&["--json"])).unwrap();
    assert_eq!((&report["threads"], &report["precision"]), (&json!(1), &json!("fp32")));
    assert_eq!(report["lengths"].as_array().unwrap().len(), 2);
    for length in report["lengths"].as_array().unwrap() {
        let rate = &length["documentsPerSecond"];
        let number = |name: &str| rate[name].as_f64().unwrap();
        assert!(0.0 < number("minimum") && number("minimum") <= number("median"), "{length}");
        assert!(number("median") <= number("maximum"), "{length}");
        let share = length["shareOfLimit"].as_f64().unwrap();
        assert!(0.0 < share && share < 1.0, "{length}");
    }
    for kind in ["fp32", "int8"] {
        assert!(report["limits"][kind].as_f64().unwrap() > 0.1, "{kind}");
    }
    assert!(report["query"]["p50Milliseconds"].as_f64() <= report["query"]["p99Milliseconds"].as_f64());
    assert!(report["residentBytes"].as_u64() <= report["peakBytes"].as_u64());
    let table = bench(&[]);
    assert!(table.starts_with("hf://lexiscale/test 000000") && table.lines().count() >= 7, "{table}");
}
