//! Models that are not there, not what they claim to be, or nothing that a worker can serve.

use std::path::Path;

use lexiscale_wire::FetchReason;
use tempfile::TempDir;

use super::{Fetcher, hub_of};
use crate::support::models::{demo_source, small_source};

#[tokio::test]
async fn models_and_revisions_that_do_not_exist_are_told_apart() {
    let hub = hub_of(&small_source("bert-f32")).await;
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.revision = "v9".parse().unwrap();
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::RevisionNotFound);
    assert_eq!(message, "repository lexiscale/demo-splade-tiny has no revision v9");
    fetcher.wish.source = "hf://lexiscale/other".parse().unwrap();
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::ModelNotFound);
    assert!(message.contains("no repository lexiscale/other"), "{message}");
    assert_eq!(fetcher.left(), Vec::<String>::new());
}

/// Nobody waits for gigabytes to learn that the model cannot be used.
#[tokio::test]
async fn an_unsupported_architecture_is_refused_before_its_weights_are_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "model.safetensors"] {
        fs_err::copy(small_source("bert-f32").join(name), folder.path().join(name)).unwrap();
    }
    fs_err::write(folder.path().join("config.json"), r#"{"architectures":["ElectraForMaskedLM"]}"#).unwrap();
    let hub = hub_of(folder.path()).await;
    let fetcher = Fetcher::new(&hub);
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::UnsupportedModel);
    assert!(
        message.contains("ElectraForMaskedLM is not supported; supported are BertForMaskedLM"),
        "{message}"
    );
    assert!(hub.requests().iter().all(|request| !request.path.ends_with("safetensors")));
    assert_eq!(fetcher.left(), Vec::<String>::new());
}

#[tokio::test]
async fn models_that_are_not_what_they_claim_are_invalid() {
    type Damage = fn(&Path);
    let config = |from: &'static str, to: &'static str| (from, to);
    let edits = [
        config(r#""hidden_size": 16"#, r#""hidden_size": 32"#),
        config(r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 3"#),
        config(r#""vocab_size": 73"#, r#""vocab_size": 74"#),
        config(r#""num_attention_heads": 4"#, r#""num_attention_heads": 5"#),
    ];
    let messages = [
        "tensor bert.embeddings.word_embeddings.weight has shape [73, 16], but config.json asks for [73, 32]",
        "tensor bert.encoder.layer.2.attention.self.query.weight is missing",
        "but config.json asks for [74, 16]",
        "5 attention heads",
    ];
    for ((from, to), message) in edits.into_iter().zip(messages) {
        let folder = copy_of("bert-f32");
        let path = folder.path().join("config.json");
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs_err::write(&path, text.replace(from, to)).unwrap();
        let (reason, found) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
        assert_eq!(reason, FetchReason::InvalidModel, "{found}");
        assert!(found.contains(message), "{found}");
    }
    let damages: [(Damage, &str); 4] = [
        (
            |folder| fs_err::write(folder.join("model.safetensors"), "short").unwrap(),
            "not a safetensors file",
        ),
        (
            |folder| fs_err::write(folder.join("tokenizer.json"), "{}").unwrap(),
            "tokenizer.json cannot be used",
        ),
        (
            |folder| fs_err::write(folder.join("tokenizer.json"), "nonsense").unwrap(),
            "tokenizer.json cannot be used",
        ),
        (|folder| fs_err::write(folder.join("config.json"), "[]").unwrap(), "failed to parse config.json"),
    ];
    for (damage, message) in damages {
        let folder = copy_of("bert-f32");
        damage(folder.path());
        let (reason, found) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
        assert_eq!(reason, FetchReason::InvalidModel, "{found}");
        assert!(found.contains(message), "{found}");
    }
}

#[tokio::test]
async fn onnx_files_that_no_worker_can_serve_are_refused_by_the_fetch() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs_err::copy(small_source("onnx-logits").join(name), folder.path().join(name)).unwrap();
    }
    let shipped = small_source("onnx-logits").join("onnx/model.onnx");
    fs_err::copy(&shipped, folder.path().join("model.onnx")).unwrap();
    let config = fs_err::read_to_string(folder.path().join("config.json")).unwrap();
    fs_err::write(folder.path().join("config.json"), config.replace("73", "768")).unwrap();
    let (reason, message) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
    assert_eq!(reason, FetchReason::UnsupportedModel, "{message}");
    assert!(message.contains("logits [-1, -1, 73]; needed is one of shape [texts, 768]"), "{message}");
    fs_err::write(folder.path().join("model.onnx"), "<html>not a model</html>").unwrap();
    let (reason, message) = Fetcher::new(&hub_of(folder.path()).await).reason().await;
    assert_eq!(reason, FetchReason::InvalidModel, "{message}");
}

fn copy_of(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs_err::copy(small_source(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[tokio::test]
async fn more_bytes_than_allowed_are_not_downloaded() {
    let hub = hub_of(&demo_source()).await;
    let mut fetcher = Fetcher::new(&hub);
    fetcher.wish.max_bytes = 1000;
    let (reason, message) = fetcher.reason().await;
    assert_eq!(reason, FetchReason::InvalidModel);
    assert!(message.contains("more than the 1000 B that are allowed"), "{message}");
    assert_eq!(hub.requests().len(), 1);
}
