//! `config.json` and the modules of Sentence Transformers.

use std::path::Path;

use lexiscale_wire::FetchReason::{InvalidModel, UnsafeModel, UnsupportedModel};
use serde_json::{Value, json};

use super::{Case, case, refused};

fn config(change: impl Fn(&mut Value)) -> impl Fn(&Path) {
    edit("config.json", change)
}

fn edit(file: &'static str, change: impl Fn(&mut Value)) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join(file);
        let mut value: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs_err::write(path, value.to_string()).unwrap();
    }
}

fn text(file: &'static str, text: String) -> impl Fn(&Path) {
    move |folder| fs_err::write(folder.join(file), &text).unwrap()
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn cases() -> Vec<Case> {
    let set = |field: &'static str, value: Value| config(move |config| config[field] = value.clone());
    let modules = |path: &str, kind: &str| {
        json!([{"path": "", "type": "a.Transformer"}, {"path": path, "type": kind}]).to_string()
    };
    vec![
        case(
            "settings nested ten thousand times",
            "bert-f32",
            (InvalidModel, "failed to parse config.json"),
            text("config.json", "[".repeat(10_000)),
        ),
        case(
            "settings of two megabytes",
            "bert-f32",
            (InvalidModel, "larger than"),
            text("config.json", " ".repeat(2 << 20)),
        ),
        case("no width", "bert-f32", (InvalidModel, "hidden_size = 0"), set("hidden_size", json!(0))),
        case(
            "a width beyond all bounds",
            "bert-f32",
            (InvalidModel, "hidden_size = 18446744073709551615"),
            set("hidden_size", json!(u64::MAX)),
        ),
        case(
            "four million layers",
            "bert-f32",
            (InvalidModel, "layer.2.attention.self.query.weight is missing"),
            set("num_hidden_layers", json!(4_194_304)),
        ),
        case(
            "more layers than that",
            "bert-f32",
            (InvalidModel, "num_hidden_layers"),
            set("num_hidden_layers", json!(4_194_305)),
        ),
        case(
            "a vocabulary of four million",
            "bert-f32",
            (InvalidModel, "asks for [4194304, 16]"),
            set("vocab_size", json!(4_194_304)),
        ),
        case(
            "a vocabulary of four thousand millions",
            "onnx-logits",
            (InvalidModel, "vocab_size = 4294967295"),
            set("vocab_size", json!(u32::MAX)),
        ),
        case(
            "padding behind all positions",
            "roberta-f32",
            (InvalidModel, "pad_token_id"),
            set("pad_token_id", json!(1_000_000)),
        ),
        case(
            "a number for a name",
            "bert-f32",
            (InvalidModel, "failed to parse config.json"),
            set("architectures", json!(7)),
        ),
        case(
            "rotations without end",
            "modernbert-bf16-biases",
            (UnsupportedModel, "rope_theta"),
            set("global_rope_theta", json!(0.0)),
        ),
        case(
            "modules outside",
            "sparse-sum",
            (UnsafeModel, "names the path \"../../etc\""),
            text("modules.json", modules("../../etc", "a.SpladePooling")),
        ),
        case(
            "modules at an absolute path",
            "sparse-sum",
            (UnsafeModel, "names the path \"/etc\""),
            text("modules.json", modules("/etc", "a.SpladePooling")),
        ),
        case(
            "a module that is code",
            "sparse-sum",
            (UnsupportedModel, "the modules Transformer, Evil"),
            text("modules.json", modules("1_Evil", "evil.Evil")),
        ),
        case(
            "modules nested ten thousand times",
            "sparse-sum",
            (InvalidModel, "failed to parse modules.json"),
            text("modules.json", "[".repeat(10_000)),
        ),
        case(
            "a router that leaves the folder",
            "sparse-router",
            (UnsafeModel, "names the path"),
            edit("router_config.json", |router| {
                router["structure"]["document"] =
                    json!(["../document_0_Transformer", "document_1_SpladePooling"]);
            }),
        ),
        case(
            "a router to another model",
            "sparse-router",
            (UnsupportedModel, "were found in"),
            edit("router_config.json", |router| {
                router["types"]["other"] = json!("a.Transformer");
                router["structure"]["document"] = json!(["other", "document_1_SpladePooling"]);
            }),
        ),
        case(
            "queries of another tokenizer",
            "sparse-router",
            (UnsupportedModel, "another tokenizer"),
            edit("query_0_SparseStaticEmbedding/tokenizer.json", |tokenizer| {
                tokenizer["model"]["vocab"]["[PAD]"] = json!(1);
            }),
        ),
        case(
            "queries that weigh nothing known",
            "sparse-router",
            (InvalidModel, "is not a number from zero"),
            |folder| {
                let path = folder.join("query_0_SparseStaticEmbedding/model.safetensors");
                let mut bytes = fs_err::read(&path).unwrap();
                let end = bytes.len();
                bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
                fs_err::write(path, bytes).unwrap();
            },
        ),
        case(
            "an unknown pooling",
            "sparse-sum",
            (UnsupportedModel, "pooling_strategy = median"),
            edit("1_SpladePooling/config.json", |config| config["pooling_strategy"] = json!("median")),
        ),
    ]
}

#[test]
fn hostile_settings_are_refused_with_their_reason() {
    refused(&cases());
}
