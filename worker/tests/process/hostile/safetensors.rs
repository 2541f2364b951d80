//! Weights.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use lexiscale_wire::FetchReason::{InvalidModel, UnsupportedModel};
use serde_json::{Value, json};

use super::{Case, case, refused};

const WEIGHTS: &str = "model.safetensors";
const WORDS: &str = "bert.embeddings.word_embeddings.weight";

fn write(folder: &Path, header: &str, data: &[u8]) {
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    fs_err::write(folder.join(WEIGHTS), file).unwrap();
}

fn parts(folder: &Path) -> (Value, Vec<u8>) {
    let file = fs_err::read(folder.join(WEIGHTS)).unwrap();
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    (serde_json::from_slice(&file[8..8 + length]).unwrap(), file[8 + length..].to_vec())
}

/// Changes the header and leaves the data as they are.
fn edit(change: impl Fn(&mut Value)) -> impl Fn(&Path) {
    move |folder| {
        let (mut header, data) = parts(folder);
        change(&mut header);
        write(folder, &header.to_string(), &data);
    }
}

fn header(text: impl Fn() -> String) -> impl Fn(&Path) {
    move |folder| write(folder, &text(), &[])
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn cases() -> Vec<Case> {
    let bert = |name, outcome, damage: Box<dyn Fn(&Path)>| case(name, "bert-f32", outcome, damage);
    let raw = |content: Vec<u8>| -> Box<dyn Fn(&Path)> {
        Box::new(move |folder: &Path| fs_err::write(folder.join(WEIGHTS), &content).unwrap())
    };
    let entry = |shape: &str, end: u64| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let invalid = |message| (InvalidModel, message);
    vec![
        bert("empty", invalid("shorter than 8 bytes"), raw(Vec::new())),
        bert(
            "header beyond the file",
            invalid("announces a header of 9 bytes"),
            raw(9_u64.to_le_bytes().to_vec()),
        ),
        bert("header without end", invalid("announces a header"), raw(vec![0xFF; 64])),
        bert("header of 17 MiB", invalid("announces a header"), Box::new(header(|| " ".repeat(17 << 20)))),
        bert("no JSON", invalid("is not a safetensors file"), Box::new(header(|| "{".to_owned()))),
        bert("a list", invalid("an object of tensors"), Box::new(header(|| "[]".to_owned()))),
        bert(
            "nested a thousand times",
            invalid("is not a safetensors file"),
            Box::new(header(|| format!(r#"{{"__metadata__":{}}}"#, "[".repeat(1000)))),
        ),
        bert(
            "the same name twice",
            invalid("tensor a is described twice"),
            Box::new(|folder: &Path| {
                let one = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
                write(folder, &format!("{{{one},{one}}}"), &[0; 4]);
            }),
        ),
        bert(
            "a field twice",
            invalid("duplicate field"),
            Box::new(|folder: &Path| {
                write(
                    folder,
                    r#"{"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,4]}}"#,
                    &[0; 4],
                );
            }),
        ),
        bert(
            "two names for one norm",
            invalid("is in model.safetensors as well"),
            Box::new(edit(|header| {
                let norm = header["bert.embeddings.LayerNorm.weight"].clone();
                let other = header["bert.embeddings.LayerNorm.bias"].clone();
                header["bert.embeddings.LayerNorm.gamma"] = other;
                header["bert.embeddings.LayerNorm.weight"] = norm;
                header.as_object_mut().unwrap().remove("bert.embeddings.LayerNorm.bias");
            })),
        ),
        bert(
            "a hundred thousand and one tensors",
            invalid("more than 100000 tensors"),
            Box::new(header(|| {
                let entry =
                    |number| format!(r#""t{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
                format!("{{{}}}", (0..100_001).map(entry).collect::<Vec<_>>().join(","))
            })),
        ),
        bert(
            "a million dimensions",
            invalid("more than 8 dimensions"),
            Box::new(move |folder: &Path| {
                write(folder, &entry(&format!("[{}1]", "1,".repeat(1_000_000)), 4), &[0; 4]);
            }),
        ),
        bert(
            "a shape beyond all numbers",
            invalid("is not a safetensors file"),
            Box::new(move |folder: &Path| {
                write(folder, &entry("[18446744073709551615,2]", 8), &[0; 8]);
            }),
        ),
        bert(
            "a shape below zero",
            invalid("is not a safetensors file"),
            Box::new(move |folder: &Path| {
                write(folder, &entry("[-1]", 4), &[0; 4]);
            }),
        ),
        bert(
            "data cut off",
            invalid("describes another length"),
            Box::new(|folder: &Path| {
                let (header, data) = parts(folder);
                write(folder, &header.to_string(), &data[..data.len() - 4]);
            }),
        ),
        bert(
            "data too long",
            invalid("describes another length"),
            Box::new(|folder: &Path| {
                let (header, data) = parts(folder);
                write(folder, &header.to_string(), &[data, vec![0; 4096]].concat());
            }),
        ),
        bert(
            "overlapping tensors",
            invalid("is not a safetensors file"),
            Box::new(edit(|header| {
                let first = header["cls.predictions.bias"]["data_offsets"].clone();
                for (name, entry) in header.as_object_mut().unwrap() {
                    if name.ends_with("LayerNorm.bias") {
                        entry["data_offsets"] = first.clone();
                    }
                }
            })),
        ),
        bert(
            "a gap between tensors",
            invalid("is not a safetensors file"),
            Box::new(|folder: &Path| {
                let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
                write(folder, header, &[0; 8]);
            }),
        ),
        bert(
            "an unknown type",
            invalid("is not a safetensors file"),
            Box::new(edit(|header| {
                header[WORDS]["dtype"] = json!("F31");
            })),
        ),
        bert(
            "integers for weights",
            invalid("has type I32"),
            Box::new(edit(|header| {
                header[WORDS]["dtype"] = json!("I32");
            })),
        ),
        bert(
            "an unknown field",
            invalid("unknown field `path`"),
            Box::new(edit(|header| {
                header[WORDS]["path"] = json!("/etc/passwd");
            })),
        ),
        bert(
            "a name of ten thousand bytes",
            invalid("too long or not printable"),
            Box::new(|folder: &Path| {
                let name = "n".repeat(10_000);
                let header = json!({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}});
                write(folder, &header.to_string(), &[0; 4]);
            }),
        ),
        bert(
            "a tensor renamed",
            invalid("tensor bert.embeddings.word_embeddings.weight is missing"),
            Box::new(edit(|header| {
                let words = header.as_object_mut().unwrap().remove(WORDS).unwrap();
                header["elsewhere"] = words;
            })),
        ),
        bert(
            "a terabyte of holes",
            invalid("nearly all of which are holes"),
            Box::new(move |folder: &Path| {
                let header = entry("[274877906944]", 1 << 40);
                write(folder, &header, &[]);
                let mut file = fs_err::OpenOptions::new().write(true).open(folder.join(WEIGHTS)).unwrap();
                file.seek(SeekFrom::End((1 << 40) - 1)).unwrap();
                file.write_all(&[0]).unwrap();
            }),
        ),
        bert(
            "a link",
            invalid("not a regular file"),
            Box::new(|folder: &Path| {
                fs_err::rename(folder.join(WEIGHTS), folder.join("elsewhere")).unwrap();
                fs_err::os::unix::fs::symlink(folder.join("elsewhere"), folder.join(WEIGHTS)).unwrap();
            }),
        ),
        bert(
            "a folder",
            invalid("not a regular file"),
            Box::new(|folder: &Path| {
                fs_err::remove_file(folder.join(WEIGHTS)).unwrap();
                fs_err::create_dir(folder.join(WEIGHTS)).unwrap();
            }),
        ),
        case(
            "an index that leaves the folder",
            "distilbert-f32-sharded",
            invalid("is not the name of a safetensors file"),
            index_of(json!({"weight_map": {"a": "../model.safetensors"}})),
        ),
        case(
            "an index to an absolute path",
            "distilbert-f32-sharded",
            invalid("is not the name of a safetensors file"),
            index_of(json!({"weight_map": {"a": "/etc/passwd"}})),
        ),
        case(
            "an index of two thousand files",
            "distilbert-f32-sharded",
            invalid("names 2000 files"),
            |folder| {
                let map: serde_json::Map<String, Value> = (0..2000)
                    .map(|number| (format!("t{number}"), json!(format!("m{number}.safetensors"))))
                    .collect();
                index_of(json!({ "weight_map": map }))(folder);
            },
        ),
        case(
            "an index to a shard that is not there",
            "distilbert-f32-sharded",
            invalid("failed to read the model's weights"),
            index_of(json!({"weight_map": {"a": "model-00009-of-00009.safetensors"}})),
        ),
        case("one tensor in two shards", "distilbert-f32-sharded", invalid("as well"), |folder| {
            let (one, two) = ("model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors");
            fs_err::copy(folder.join(one), folder.join(two)).unwrap();
        }),
        case(
            "an architecture of its own",
            "bert-f32",
            (UnsupportedModel, "EvilForMaskedLM is not supported"),
            |folder| {
                let config = json!({"architectures": ["EvilForMaskedLM"], "auto_map": {"AutoModel": "evil.Model"}, "vocab_size": 73});
                fs_err::write(folder.join("config.json"), config.to_string()).unwrap();
            },
        ),
    ]
}

fn index_of(json: Value) -> impl Fn(&Path) {
    move |folder| fs_err::write(folder.join("model.safetensors.index.json"), json.to_string()).unwrap()
}

#[test]
fn hostile_weights_are_refused_with_their_reason() {
    refused(&cases());
}
