//! Each reader of a model's files, with files to begin with.

use std::path::Path;

use lexiscale_fuzz::{Inputs, fuzz};
use lexiscale_worker::model::config::{ModelConfig, Window};
use lexiscale_worker::model::inspect::inspect;
use lexiscale_worker::model::layout::Layout;
use lexiscale_worker::model::saturation::Pooling;
use lexiscale_worker::model::tokenizer_check::check_tokenizer;
use lexiscale_worker::model::verify::read_manifest;
use lexiscale_worker::model::weights::Weights;
use lexiscale_worker::vocabulary::Vocabulary;

struct Reader {
    name: &'static str,
    /// Below the folder of small models.
    seeds: &'static [&'static str],
    /// Under this name the input lies in the folder.
    file: &'static str,
    /// What the format is made of.
    words: &'static [&'static str],
    read: fn(&Path),
}

impl Reader {
    fn fuzz(&self) {
        let Self { name, seeds, file, words, read } = *self;
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/assets/models");
        let seeds = seeds.iter().map(|seed| fs_err::read(models.join(seed)).unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        fuzz(&Inputs { name, seeds, words }, |input| {
            fs_err::write(folder.path().join(file), input).unwrap();
            read(folder.path());
        });
    }
}

#[test]
fn any_weights_get_a_verdict() {
    Reader {
        name: "weights",
        seeds: &[
            "bert-f32/model.safetensors",
            "distilbert-f16/model.safetensors",
            "modernbert-f32/model.safetensors",
        ],
        file: "model.safetensors",
        words: &[
            "\"dtype\":\"F32\"",
            "\"shape\":[",
            "\"data_offsets\":[0,4]",
            "\"BF16\"",
            "LayerNorm.gamma",
            "__metadata__",
        ],
        read: |folder| {
            // What is let through can be read.
            if let Ok(weights) = Weights::open(folder)
                && let Ok(length) = weights.length("cls.predictions.bias")
                && weights.check("cls.predictions.bias", &[length]).is_ok()
            {
                assert_eq!(weights.read("cls.predictions.bias", &[length]).unwrap().len(), length);
            }
        },
    }
    .fuzz();
}

#[test]
fn any_graph_gets_a_verdict() {
    Reader {
        name: "graph",
        seeds: &["onnx-logits/onnx/model.onnx"],
        file: "model.onnx",
        words: &["Loop", "ai.onnx.ml", "location", "external_data", "input_ids", "ort_config"],
        read: |folder| {
            let _ = inspect(&folder.join("model.onnx"), 73);
        },
    }
    .fuzz();
}

#[test]
fn any_tokenizer_gets_a_verdict() {
    Reader {
        name: "tokenizer",
        seeds: &[
            "bert-f32/tokenizer.json",
            "roberta-f32/tokenizer.json",
            "xlm-roberta-f16-untied/tokenizer.json",
        ],
        file: "tokenizer.json",
        words: &[
            "\"type\":\"Sequence\"",
            "\"Regex\":\"(a+)+\"",
            "\"pattern\":",
            "\"Split\"",
            "\"NFKC\"",
            "\"ids\":[1]",
            "null",
        ],
        read: |folder| {
            let path = folder.join("tokenizer.json");
            if let Ok(checked) = check_tokenizer(&path, 24) {
                let _ = Vocabulary::parse(&checked.json, 73);
            }
        },
    }
    .fuzz();
}

#[test]
fn any_config_gets_a_verdict() {
    Reader {
        name: "settings",
        seeds: &[
            "bert-f32/config.json",
            "roberta-f32/config.json",
            "modernbert-f32/config.json",
            "modernbert-bf16-biases/config.json",
        ],
        file: "config.json",
        words: &["\"layer_types\":[", "\"rope_parameters\":{", "\"pad_token_id\":", "1e999", "-1", "null"],
        read: |folder| {
            let json = fs_err::read(folder.join("config.json")).unwrap();
            if let Ok(config) = ModelConfig::parse(&json) {
                assert!(config.head_size() > 0 && config.window() > 0, "{config:?}");
            }
            let _ = Window::parse(&json).map(|window| window.positions());
        },
    }
    .fuzz();
}

/// Paths of a layout are joined to the folder.
fn read_layout(folder: &Path) {
    if let Ok(layout) = Layout::read(folder) {
        let paths = std::iter::once(&layout.model).chain(&layout.static_search);
        for path in paths {
            assert!(!path.contains("..") && !path.starts_with('/'), "{path}");
        }
    }
}

#[test]
fn any_modules_get_a_verdict() {
    Reader {
        name: "modules",
        seeds: &["sparse-sum/modules.json", "sparse-router/modules.json"],
        file: "modules.json",
        words: &["\"path\":\"../\"", "SpladePooling", "Router", "Transformer", "\"type\":\"a.Asym\""],
        read: read_layout,
    }
    .fuzz();
}

#[test]
fn any_router_gets_a_verdict() {
    Reader {
        name: "router",
        seeds: &["sparse-router/router_config.json"],
        file: "router_config.json",
        words: &["\"structure\":{", "\"query\":[", "../", "SparseStaticEmbedding", "SpladePooling", "null"],
        read: |folder| {
            let modules = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Router"}]"#;
            fs_err::write(folder.join("modules.json"), modules).unwrap();
            read_layout(folder);
        },
    }
    .fuzz();
}

#[test]
fn any_pooling_gets_a_verdict() {
    Reader {
        name: "pooling",
        seeds: &["sparse-sum/1_SpladePooling/config.json", "sparse-double-log/1_SpladePooling/config.json"],
        file: "config.json",
        words: &["\"pooling_strategy\":", "\"activation_function\":", "log1p_relu", "max", "sum", "null"],
        read: |folder| {
            let pooling = folder.join("1_SpladePooling");
            fs_err::create_dir_all(&pooling).unwrap();
            fs_err::copy(folder.join("config.json"), pooling.join("config.json")).unwrap();
            let _ = Pooling::read(folder);
        },
    }
    .fuzz();
}

#[test]
fn any_manifest_gets_a_verdict() {
    Reader {
        name: "manifest",
        seeds: &[],
        file: "manifest.json",
        words: &["\"format\":1", "sha256:", "\"files\":[", "sum-double-log", "\"golden\":{"],
        read: |folder| {
            let _ = read_manifest(folder);
        },
    }
    .fuzz();
}
