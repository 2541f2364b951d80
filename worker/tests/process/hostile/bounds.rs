//! What no look at a file can tell: how it behaves. The process that reads it ends, and ours says why.

use lexiscale_wire::FetchReason;
use lexiscale_worker::model::intake::Limits;

use super::onnx::{bytes, graph_with, number};
use super::{copy_of, intake, names, read};

fn outcome(model: &str, folder: &std::path::Path, limits: Option<Limits>) -> (FetchReason, String) {
    read(folder, &names(folder, model), &intake(true, limits)).unwrap_err()
}

#[test]
fn a_file_that_needs_more_memory_than_there_is_ends_in_a_reason() {
    let folder = copy_of("bert-f32");
    let limits = Limits { memory_bytes: 2 << 20, seconds: 60 };
    let (reason, message) = outcome("bert-f32", folder.path(), Some(limits));
    assert_eq!(reason, FetchReason::UnsafeModel, "{message}");
    assert!(message.contains("more than 2.0 MiB of memory or 60 s"), "{message}");
}

#[test]
fn a_file_that_takes_for_ever_ends_in_a_reason() {
    let folder = copy_of("bert-f32");
    let limits = Limits { memory_bytes: 1 << 30, seconds: 0 };
    let (reason, message) = outcome("bert-f32", folder.path(), Some(limits));
    assert_eq!(reason, FetchReason::UnsafeModel, "{message}");
    assert!(message.contains("0 s"), "{message}");
}

/// Two numbers of a file that looks well ask for a terabyte once it runs.
#[test]
fn a_graph_that_fills_the_memory_ends_in_a_reason() {
    let folder = copy_of("onnx-logits");
    let size = bytes(
        5,
        &[number(1, 1), number(2, 7), bytes(8, b"size"), bytes(9, &(1_u64 << 38).to_le_bytes())].concat(),
    );
    let fill = |operator: &str, from: &[&str], to: &str| {
        let inputs: Vec<u8> = from.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
        bytes(1, &[inputs, bytes(2, to.as_bytes()), bytes(4, operator.as_bytes())].concat())
    };
    let output = bytes(12, &[bytes(1, b"huge"), bytes(2, &bytes(1, &number(1, 1)))].concat());
    let extra = [size, fill("ConstantOfShape", &["size"], "huge"), output].concat();
    graph_with(extra)(folder.path());
    let (reason, message) = outcome("onnx-logits", folder.path(), None);
    // The runtime may say so itself, or be ended in the middle of it.
    let expected = [FetchReason::UnsafeModel, FetchReason::UnsupportedModel, FetchReason::InvalidModel];
    assert!(expected.contains(&reason), "{reason}: {message}");
}

#[test]
fn a_graph_of_unknown_operators_is_refused_by_the_runtime_in_the_child() {
    let folder = copy_of("onnx-logits");
    let path = folder.path().join("onnx/model.onnx");
    let file = fs_err::read(&path).unwrap();
    let place = file.windows(6).position(|bytes| bytes == b"Gather").unwrap();
    fs_err::write(&path, [&file[..place], b"Gother", &file[place + 6..]].concat()).unwrap();
    let (reason, message) = outcome("onnx-logits", folder.path(), None);
    assert_eq!(reason, FetchReason::UnsupportedModel, "{message}");
    assert!(message.contains("Gother"), "{message}");
}

/// Weights that are no numbers give vectors without words, which nobody would ever find.
#[test]
fn a_model_without_a_single_weight_is_not_published() {
    let folder = copy_of("onnx-logits");
    let path = folder.path().join("onnx/model.onnx");
    let file = fs_err::read(&path).unwrap();
    // Its first row is that of padding.
    let position = file.windows(8).position(|eight| eight == 9.0_f32.to_le_bytes().repeat(2)).unwrap();
    let mut broken = file.clone();
    for four in broken[position..position + 73 * 73 * 4].chunks_exact_mut(4) {
        four.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    fs_err::write(&path, broken).unwrap();
    let (reason, message) = outcome("onnx-logits", folder.path(), None);
    assert_eq!(reason, FetchReason::InvalidModel, "{message}");
    assert!(message.contains("no vector at all"), "{message}");
}
