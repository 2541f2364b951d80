//! ONNX files. Most are the good one with something added: protobuf joins messages by joining their bytes.

use std::path::Path;

use lexiscale_wire::FetchReason::{InvalidModel, UnsafeModel, UnsupportedModel};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use super::{Case, case, refused};

const MODEL: &str = "onnx/model.onnx";

const GRAPH: u32 = 7;
const NODE: u32 = 1;
const INITIALIZER: u32 = 5;
const SPARSE_INITIALIZER: u32 = 15;
const INPUT: u32 = 11;
const OUTPUT: u32 = 12;

pub(super) fn bytes(number: u32, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut field);
    encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

pub(super) fn number(field: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(field, WireType::Varint, &mut bytes);
    encode_varint(value, &mut bytes);
    bytes
}

/// The file in two: its graph, and all else.
pub(super) fn parts(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut graph, mut rest) = (Vec::new(), Vec::new());
    let mut left = file;
    while !left.is_empty() {
        let whole = left;
        let (field, wire_type) = decode_key(&mut left).unwrap();
        let value = decode_varint(&mut left).unwrap();
        if wire_type == WireType::LengthDelimited {
            let (content, after) = left.split_at(usize::try_from(value).unwrap());
            left = after;
            if field == GRAPH {
                graph = content.to_vec();
                continue;
            }
        }
        rest.extend_from_slice(&whole[..whole.len() - left.len()]);
    }
    (graph, rest)
}

fn raw(content: Vec<u8>) -> impl Fn(&Path) {
    move |folder| fs_err::write(folder.join(MODEL), &content).unwrap()
}

/// Adds to the file.
fn model_with(extra: Vec<u8>) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join(MODEL);
        let file = fs_err::read(&path).unwrap();
        fs_err::write(path, [file, extra.clone()].concat()).unwrap();
    }
}

/// Adds to the graph.
pub(super) fn graph_with(extra: Vec<u8>) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join(MODEL);
        let (graph, rest) = parts(&fs_err::read(&path).unwrap());
        let graph = bytes(GRAPH, &[graph, extra.clone()].concat());
        fs_err::write(path, [rest, graph].concat()).unwrap();
    }
}

fn node(operator: &str, domain: &str) -> Vec<u8> {
    bytes(NODE, &[bytes(4, operator.as_bytes()), bytes(7, domain.as_bytes())].concat())
}

fn initializer(fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(INITIALIZER, &fields.concat())
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    [bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat()
}

/// Branches in branches; the innermost graph holds `inner`.
fn nested(depth: usize, inner: Vec<u8>) -> Vec<u8> {
    (0..depth).fold(inner, |graph, _| {
        let attribute = bytes(5, &bytes(6, &graph));
        bytes(NODE, &[bytes(4, b"If"), attribute].concat())
    })
}

fn operators(domain: &str, version: u64) -> Vec<u8> {
    bytes(8, &[bytes(1, domain.as_bytes()), number(2, version)].concat())
}

fn described(kind: u32, name: &str, sizes: &[u64]) -> Vec<u8> {
    let shape: Vec<u8> = sizes.iter().flat_map(|size| bytes(1, &number(1, *size))).collect();
    let tensor = [number(1, 1), bytes(2, &shape)].concat();
    bytes(kind, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
}

pub(super) fn cases() -> Vec<Case> {
    let onnx = |name, outcome, damage: Box<dyn Fn(&Path)>| case(name, "onnx-logits", outcome, damage);
    let invalid = |message| (InvalidModel, message);
    let harmful = |message| (UnsafeModel, message);
    let unsupported = |message| (UnsupportedModel, message);
    let external = unsupported("keeps its weights in other files");
    let outside = bytes(13, &entry("location", "../../../../etc/passwd"));
    let marker = bytes(13, &entry("location", "*/_ORT_MEM_ADDR_/*"));
    let lie = invalid("not the size that it claims");
    vec![
        onnx("a page", invalid("is not valid"), Box::new(raw(b"<html>please log in</html>".to_vec()))),
        onnx("empty", invalid("does not hold one graph"), Box::new(raw(Vec::new()))),
        onnx(
            "cut off",
            invalid("is not valid"),
            Box::new(|folder: &Path| {
                let file = fs_err::read(folder.join(MODEL)).unwrap();
                raw(file[..file.len() / 2].to_vec())(folder);
            }),
        ),
        onnx("two graphs", invalid("does not hold one graph"), Box::new(model_with(bytes(GRAPH, b"")))),
        onnx("a group", invalid("an impossible type"), Box::new(model_with(vec![7 << 3 | 3]))),
        onnx(
            "a number without end",
            invalid("a number is too long"),
            Box::new(model_with([vec![8], vec![0xFF; 64]].concat())),
        ),
        onnx(
            "a field beyond the file",
            invalid("longer than what it is in"),
            Box::new(model_with([&[7 << 3 | 2][..], &[0xFF; 9], &[1]].concat())),
        ),
        onnx(
            "weights in another file",
            external,
            Box::new(graph_with(initializer(std::slice::from_ref(&outside)))),
        ),
        onnx(
            "weights elsewhere by their place",
            external,
            Box::new(graph_with(initializer(&[number(14, 1)]))),
        ),
        onnx("weights at an address in memory", external, Box::new(graph_with(initializer(&[marker])))),
        onnx(
            "a constant in another file",
            external,
            Box::new(graph_with(bytes(
                NODE,
                &[bytes(4, b"Constant"), bytes(5, &bytes(5, &outside))].concat(),
            ))),
        ),
        onnx(
            "a list of constants in other files",
            external,
            Box::new(graph_with(bytes(
                NODE,
                &[bytes(4, b"Constant"), bytes(5, &bytes(10, &outside))].concat(),
            ))),
        ),
        onnx(
            "sparse weights in another file",
            external,
            Box::new(graph_with(bytes(SPARSE_INITIALIZER, &bytes(1, &outside)))),
        ),
        onnx(
            "a sparse constant in another file",
            external,
            Box::new(graph_with(bytes(NODE, &bytes(5, &bytes(22, &bytes(2, &outside)))))),
        ),
        onnx(
            "weights in another file, in a branch",
            external,
            Box::new(graph_with(nested(2, initializer(std::slice::from_ref(&outside))))),
        ),
        onnx(
            "an operator of somebody's own",
            unsupported("operators of \"evil.example\""),
            Box::new(graph_with(node("Evil", "evil.example"))),
        ),
        onnx(
            "an operator of somebody's own, in a branch",
            unsupported("operators of \"evil.example\""),
            Box::new(graph_with(nested(3, node("Evil", "evil.example")))),
        ),
        onnx("a loop", harmful("the operator Loop"), Box::new(graph_with(node("Loop", "")))),
        onnx("a scan", harmful("the operator Scan"), Box::new(graph_with(node("Scan", "ai.onnx")))),
        onnx(
            "a loop by another name",
            harmful("the operator SequenceMap"),
            Box::new(graph_with(node("SequenceMap", ""))),
        ),
        onnx(
            "a context in another file",
            harmful("the operator EPContext"),
            Box::new(graph_with(node("EPContext", "com.microsoft"))),
        ),
        onnx(
            "functions of its own",
            unsupported("functions of its own"),
            Box::new(model_with(bytes(25, &bytes(1, b"f")))),
        ),
        onnx("training steps", unsupported("training steps"), Box::new(model_with(bytes(20, b"")))),
        onnx(
            "operators of the future",
            unsupported("operator set \"\" 99"),
            Box::new(model_with(operators("", 99))),
        ),
        onnx(
            "operators of a negative version",
            unsupported("operator set \"\" -1"),
            Box::new(model_with(operators("", u64::MAX))),
        ),
        onnx("a format of the future", unsupported("IR version 99"), Box::new(model_with(number(1, 99)))),
        onnx(
            "settings of the runtime",
            harmful("metadata \"ort_config\""),
            Box::new(model_with(bytes(14, &entry("ort_config", "{}")))),
        ),
        onnx(
            "metadata that name a file",
            harmful("metadata \"external_data_path\""),
            Box::new(model_with(bytes(14, &entry("external_data_path", "/etc/passwd")))),
        ),
        onnx(
            "metadata without end",
            harmful("entries of metadata"),
            Box::new(model_with(bytes(14, &entry("k", "v")).repeat(1000))),
        ),
        onnx(
            "branches in branches",
            harmful("graphs inside of graphs"),
            Box::new(graph_with(nested(5, Vec::new()))),
        ),
        onnx(
            "branches a thousand deep",
            harmful("graphs inside of graphs"),
            Box::new(graph_with(nested(1000, Vec::new()))),
        ),
        onnx(
            "a hundred thousand nodes",
            harmful("100000 nodes"),
            Box::new(graph_with(node("Identity", "").repeat(100_001))),
        ),
        onnx(
            "a hundred thousand weights",
            harmful("100000 initializers"),
            Box::new(graph_with(initializer(&[number(1, 0)]).repeat(100_001))),
        ),
        onnx(
            "a tensor of a thousand dimensions",
            harmful("dimensions of a tensor"),
            Box::new(graph_with(initializer(&[number(1, 1).repeat(1000)]))),
        ),
        onnx(
            "packed dimensions without end",
            harmful("dimensions of a tensor"),
            Box::new(graph_with(initializer(&[bytes(1, &[1; 1000])]))),
        ),
        onnx(
            "a terabyte in ten bytes",
            lie,
            Box::new(graph_with(initializer(&[number(1, 1 << 38), number(2, 1), bytes(9, &[0; 4])]))),
        ),
        onnx(
            "more elements than there are numbers",
            lie,
            Box::new(graph_with(initializer(&[number(1, 1 << 40), number(1, 1 << 40), number(2, 1)]))),
        ),
        onnx(
            "a terabyte without data",
            lie,
            Box::new(graph_with(initializer(&[number(1, 1 << 38), number(2, 1)]))),
        ),
        onnx(
            "less than no elements",
            lie,
            Box::new(graph_with(initializer(&[number(1, u64::MAX), number(2, 1), bytes(9, &[0; 4])]))),
        ),
        onnx(
            "another input",
            unsupported("asks for input pixel_values"),
            Box::new(graph_with(described(INPUT, "pixel_values", &[1, 1]))),
        ),
        onnx(
            "a hundred outputs",
            harmful("inputs or outputs"),
            Box::new(graph_with(described(OUTPUT, "more", &[1, 1]).repeat(100))),
        ),
        onnx(
            "a name of a megabyte",
            invalid("a description is too long"),
            Box::new(graph_with(bytes(NODE, &bytes(4, &vec![b'x'; 1 << 20])))),
        ),
        onnx(
            "a name that is no text",
            invalid("a name is not text"),
            Box::new(graph_with(bytes(NODE, &bytes(7, &[0xFF])))),
        ),
        onnx(
            "a link",
            invalid("not a regular file"),
            Box::new(|folder: &Path| {
                let path = folder.join(MODEL);
                fs_err::rename(&path, folder.join("elsewhere.onnx")).unwrap();
                fs_err::os::unix::fs::symlink(folder.join("elsewhere.onnx"), path).unwrap();
            }),
        ),
    ]
}

#[test]
fn hostile_graphs_are_refused_with_their_reason() {
    refused(&cases());
}
