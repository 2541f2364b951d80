//! Tokenizers.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lexiscale_wire::FetchReason::{InvalidModel, UnsafeModel};
use serde_json::{Value, json};

use super::{Case, case, refused};

fn edit(change: impl Fn(&mut Value)) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join("tokenizer.json");
        let mut value: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs_err::write(path, value.to_string()).unwrap();
    }
}

fn text(text: String) -> impl Fn(&Path) {
    move |folder| fs_err::write(folder.join("tokenizer.json"), &text).unwrap()
}

fn pattern(pattern: &str) -> impl Fn(&Path) + use<> {
    let split =
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    edit(move |tokenizer| tokenizer["pre_tokenizer"] = split.clone())
}

/// A table of replacements that announces `announced` bytes of trie.
fn table(announced: u32, trie: &[u32], replacements: &[u8]) -> impl Fn(&Path) + use<> {
    let mut bytes = announced.to_le_bytes().to_vec();
    bytes.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend_from_slice(replacements);
    let normalizer = json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(bytes)});
    edit(move |tokenizer| tokenizer["normalizer"] = normalizer.clone())
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn cases() -> Vec<Case> {
    let harmful = |message| (UnsafeModel, message);
    let invalid = |message| (InvalidModel, message);
    // A trie of one block that leads a text's first letter to a replacement far away.
    let mut far = vec![0_u32; 256];
    far[usize::from(b'a')] = u32::from(b'a') | 1 << 8;
    far[0] = 0;
    let mut away = far.clone();
    away[usize::from(b'a')] = u32::from(b'a') | 1 << 8 | 1 << 9 | 0xFFFF << 10;
    let leaf = usize::from(b'a');
    far[leaf] = u32::from(b'a') | 1 << 8 | u32::from(b'a' ^ 1) << 10;
    far[1] = 1_000_000;
    vec![
        case("no JSON", "bert-f32", invalid("it is not valid"), text("nonsense".to_owned())),
        case("no model", "bert-f32", invalid("missing field `model`"), text("{}".to_owned())),
        case(
            "nested ten thousand times",
            "bert-f32",
            invalid("recursion limit"),
            text(format!(r#"{{"normalizer":{}"#, "[".repeat(10_000))),
        ),
        case(
            "larger than any tokenizer",
            "bert-f32",
            harmful("more than the 67108864 that are read"),
            |folder| {
                let file =
                    fs_err::OpenOptions::new().write(true).open(folder.join("tokenizer.json")).unwrap();
                file.set_len(65 << 20).unwrap();
            },
        ),
        case("repetition of repetitions", "bert-f32", harmful("the pattern (a+)+$"), pattern("(a+)+$")),
        case(
            "repetition of repetitions, hidden",
            "bert-f32",
            harmful("the pattern"),
            pattern("(?:(?:x*)y?)*z"),
        ),
        case("a reference backwards", "bert-f32", harmful("the pattern"), pattern(r"(.*)\1\1\1")),
        case(
            "a pattern of a million states",
            "bert-f32",
            harmful("the pattern"),
            pattern("((a{100}){100}){100}"),
        ),
        case("a pattern of pages", "bert-f32", harmful("bytes of a pattern"), pattern(&"ab|".repeat(2000))),
        case("a pattern that is none", "bert-f32", invalid("cannot be used"), pattern("(((")),
        case(
            "a hundred normalizers",
            "bert-f32",
            harmful("components, more than the 64"),
            edit(|tokenizer| {
                let many = vec![json!({"type": "NFD"}); 100];
                tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": many});
            }),
        ),
        case(
            "a text that grows without end",
            "bert-f32",
            harmful("bytes of a setting"),
            edit(|tokenizer| {
                tokenizer["normalizer"] = json!({"type": "Prepend", "prepend": "x".repeat(1_000_000)});
            }),
        ),
        case(
            "fifty thousand and one added tokens",
            "bert-f32",
            harmful("50001 added tokens"),
            edit(|tokenizer| {
                let token = |id| {
                    json!({"id": id, "content": format!("t{id}"), "special": false, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
                };
                tokenizer["added_tokens"] = (0..50_001).map(token).collect();
            }),
        ),
        case(
            "an added token far away",
            "bert-f32",
            harmful("the added token 1099511627776"),
            edit(|tokenizer| {
                tokenizer["added_tokens"][0]["id"] = json!(1_u64 << 40);
            }),
        ),
        case(
            "an added token of nothing",
            "bert-f32",
            harmful("the added token"),
            edit(|tokenizer| {
                tokenizer["added_tokens"][0]["content"] = json!("");
            }),
        ),
        case(
            "an added token of a page",
            "bert-f32",
            harmful("bytes of an added token"),
            edit(|tokenizer| {
                tokenizer["added_tokens"][0]["content"] = json!("x".repeat(5000));
            }),
        ),
        case(
            "a template with an unknown token",
            "bert-f32",
            invalid("names the token \"[NONE]\""),
            edit(|tokenizer| {
                tokenizer["post_processor"]["single"][0] =
                    json!({"SpecialToken": {"id": "[NONE]", "type_id": 0}});
            }),
        ),
        case(
            "a template without end",
            "bert-f32",
            harmful("pieces of a template"),
            edit(|tokenizer| {
                let piece = tokenizer["post_processor"]["single"][0].clone();
                tokenizer["post_processor"]["single"] = json!(vec![piece; 1000]);
            }),
        ),
        case(
            "a special token of a thousand ids",
            "bert-f32",
            harmful("ids of a special token"),
            edit(|tokenizer| {
                let token = &mut tokenizer["post_processor"]["special_tokens"]["[CLS]"];
                token["ids"] = json!(vec![2; 1000]);
                token["tokens"] = json!(vec!["[CLS]"; 1000]);
            }),
        ),
        case(
            "a template that fills the window",
            "bert-f32",
            invalid("has no room beside"),
            edit(|tokenizer| {
                let piece = tokenizer["post_processor"]["single"][0].clone();
                let pieces = tokenizer["post_processor"]["single"].as_array_mut().unwrap();
                pieces.extend(vec![piece; 40]);
            }),
        ),
        case(
            "a table of four gigabytes",
            "bert-f32",
            harmful("not of the size that it announces"),
            table(u32::MAX, &[0; 4], b""),
        ),
        case(
            "a table that leads outside",
            "bert-f32",
            harmful("leads outside of itself"),
            table(64, &[0; 16], b""),
        ),
        case(
            "a table with a jump outside",
            "bert-f32",
            harmful("leads outside of itself"),
            table(1024, &away, b"x\0"),
        ),
        case(
            "a table to no replacement",
            "bert-f32",
            harmful("a replacement that is not there"),
            table(1024, &far, b"x\0"),
        ),
        case("a table of nothing", "bert-f32", harmful("its trie is not"), table(0, &[], b"")),
        case(
            "a table whose replacements are no text",
            "bert-f32",
            harmful("are not text"),
            table(4, &[0], &[0xFF]),
        ),
        case(
            "a table that is not base64",
            "bert-f32",
            harmful("not base64"),
            edit(|tokenizer| {
                tokenizer["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "***"});
            }),
        ),
        case(
            "chance",
            "roberta-f32",
            harmful("dropout 0.5"),
            edit(|tokenizer| {
                tokenizer["model"]["dropout"] = json!(0.5);
            }),
        ),
        case(
            "a vocabulary in a file",
            "roberta-f32",
            harmful("a vocabulary in"),
            edit(|tokenizer| {
                tokenizer["model"]["files"] = json!(["/etc/passwd"]);
            }),
        ),
        case(
            "merges of tokens that are not there",
            "roberta-f32",
            invalid("cannot be used"),
            edit(|tokenizer| {
                tokenizer["model"]["merges"][0] = json!(["nothing", "here"]);
            }),
        ),
        case(
            "an unknown token behind the vocabulary",
            "xlm-roberta-f16-untied",
            invalid("cannot be used"),
            edit(|tokenizer| {
                tokenizer["model"]["unk_id"] = json!(1_000_000);
            }),
        ),
        case(
            "a score that is none",
            "xlm-roberta-f16-untied",
            invalid("cannot be used"),
            edit(|tokenizer| {
                tokenizer["model"]["vocab"][5][1] = json!("high");
            }),
        ),
        case("a link", "bert-f32", invalid("not a regular file"), |folder| {
            let path = folder.join("tokenizer.json");
            fs_err::rename(&path, folder.join("elsewhere")).unwrap();
            fs_err::os::unix::fs::symlink("/dev/zero", path).unwrap();
        }),
    ]
}

#[test]
fn hostile_tokenizers_are_refused_with_their_reason() {
    refused(&cases());
}
