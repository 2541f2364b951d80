//! Each reader of files from outside, with files to begin with.

use std::path::Path;

use lexiscale_worker::model::config::{ModelConfig, Window};
use lexiscale_worker::model::inspect::inspect;
use lexiscale_worker::model::layout::Layout;
use lexiscale_worker::model::saturation::Pooling;
use lexiscale_worker::model::tokenizer_check::check_tokenizer;
use lexiscale_worker::model::verify::read_manifest;
use lexiscale_worker::model::weights::Weights;
use lexiscale_worker::vocabulary::Vocabulary;

pub(crate) struct Reader {
    pub(crate) name: &'static str,
    /// Below the folder of small models.
    pub(crate) seeds: &'static [&'static str],
    /// Under this name the input lies in the folder.
    pub(crate) file: &'static str,
    /// What the format is made of.
    pub(crate) words: &'static [&'static str],
    pub(crate) read: fn(&Path),
}

pub(crate) const READERS: [Reader; 6] = [
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
    },
    Reader {
        name: "graph",
        seeds: &["onnx-logits/onnx/model.onnx"],
        file: "model.onnx",
        words: &["Loop", "ai.onnx.ml", "location", "external_data", "input_ids", "ort_config"],
        read: |folder| {
            let _ = inspect(&folder.join("model.onnx"), 73);
        },
    },
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
    },
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
    },
    Reader {
        name: "modules",
        seeds: &["sparse-sum/modules.json", "sparse-router/modules.json"],
        file: "modules.json",
        words: &["\"path\":\"../\"", "SpladePooling", "Router", "Transformer", "\"type\":\"a.Asym\""],
        read: |folder| {
            if let Ok(layout) = Layout::read(folder) {
                let paths = std::iter::once(&layout.model).chain(&layout.static_search);
                for path in paths {
                    assert!(!path.contains("..") && !path.starts_with('/'), "{path}");
                }
            }
            let _ = Pooling::read(folder);
        },
    },
    Reader {
        name: "manifest",
        seeds: &[],
        file: "manifest.json",
        words: &["\"format\":1", "sha256:", "\"files\":[", "sum-double-log", "\"golden\":{"],
        read: |folder| {
            let _ = read_manifest(folder);
        },
    },
];
