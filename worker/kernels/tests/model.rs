//! Whole models of random weights: against plain 32-bit arithmetic, and against themselves.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use lexiscale_kernels::synthetic::{Random, Synthetic};
use lexiscale_kernels::{Activation, Isa, Model, Shape, Team, Workspace, pack, reference};

fn small() -> Shape {
    Shape {
        layers: 2,
        hidden: 96,
        heads: 4,
        intermediate: 200,
        vocabulary: 501,
        positions: 80,
        token_types: 2,
        position_offset: 0,
        epsilon: 1e-12,
        activation: Activation::Gelu,
    }
}

/// Sizes that are no multiple of anything, heads narrower and wider than a panel, more than one run of the feed-forward
/// layer.
fn shapes() -> Vec<Shape> {
    let odd = Shape { hidden: 60, heads: 5, intermediate: 77, vocabulary: 67, ..small() };
    let wide = Shape { hidden: 160, heads: 2, intermediate: 1600, layers: 1, token_types: 0, ..small() };
    let offset =
        Shape { hidden: 64, heads: 1, position_offset: 2, activation: Activation::GeluTanh, ..small() };
    let least = Shape {
        layers: 1,
        hidden: 1,
        heads: 1,
        intermediate: 1,
        vocabulary: 1,
        positions: 1,
        activation: Activation::Relu,
        ..small()
    };
    vec![small(), odd, wide, offset, least]
}

fn synthetic(shape: &Shape) -> Synthetic {
    Synthetic { shape: shape.clone(), seed: 3, is_tied: shape.token_types > 0, decoder_bias: -0.2 }
}

fn write(synthetic: &Synthetic) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let written = pack(&synthetic.shape, synthetic, &mut bytes).unwrap();
    assert_eq!(written, bytes.get_ref().len() as u64);
    bytes.into_inner()
}

fn open(synthetic: &Synthetic) -> (Model, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), write(synthetic)).unwrap();
    (Model::open(file.path()).unwrap(), file)
}

fn text(tokens: usize, seed: u64, shape: &Shape) -> Vec<u32> {
    let mut random = Random(seed);
    (0..tokens).map(|_| u32::try_from(random.below(shape.vocabulary as u64)).unwrap()).collect()
}

fn cosine(left: &[(u32, f32)], right: &[(u32, f32)]) -> f32 {
    let length = |row: &[(u32, f32)]| row.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
    let other = |id: u32| right.iter().find(|(other, _)| *other == id).map_or(0.0, |(_, weight)| *weight);
    let product: f32 = left.iter().map(|(id, weight)| weight * other(*id)).sum();
    product / (length(left) * length(right))
}

#[test]
fn vectors_are_close_to_plain_arithmetic() {
    for shape in shapes() {
        let synthetic = synthetic(&shape);
        let (model, _file) = open(&synthetic);
        for tokens in [1, 7, 40] {
            let ids = text(tokens, 11, &shape);
            let expected = reference::embed(&shape, &synthetic, &ids).unwrap();
            let found = model.embed(&ids, &mut Workspace::new(), &Team::alone());
            if expected.len() > 5 {
                let cosine = cosine(&expected, &found);
                assert!(cosine > 0.995, "{shape:?} {tokens} tokens: {cosine}");
            }
        }
    }
}

/// A worker on another kind of machine must index the same vectors.
#[test]
fn every_instruction_set_gives_the_same_bits() {
    for shape in shapes() {
        let (mut model, _file) = open(&synthetic(&shape));
        for tokens in [1, 2, 5, 6, 13, 70] {
            let ids = text(tokens, 5, &shape);
            model = model.with_isa(*Isa::available().last().unwrap());
            let portable = model.embed(&ids, &mut Workspace::new(), &Team::alone());
            for isa in Isa::available() {
                model = model.with_isa(isa);
                let found = model.embed(&ids, &mut Workspace::new(), &Team::alone());
                assert!(bits(&found) == bits(&portable), "{} {tokens} tokens {shape:?}", isa.name());
            }
        }
    }
}

fn bits(row: &[(u32, f32)]) -> Vec<(u32, u32)> {
    row.iter().map(|(id, weight)| (*id, weight.to_bits())).collect()
}

/// The defect of other int8 servers: one text, another vector in another batch.
#[test]
fn neighbours_and_threads_never_change_a_vector() {
    for shape in shapes() {
        let (model, _file) = open(&synthetic(&shape));
        let mut space = Workspace::new();
        let texts: Vec<Vec<u32>> =
            [3, 0, 40, 1, 7, 70, 12].iter().map(|tokens| text(*tokens, 9 + *tokens as u64, &shape)).collect();
        let alone: Vec<_> =
            texts.iter().map(|text| bits(&model.embed(text, &mut space, &Team::alone()))).collect();
        let borrowed: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        for threads in 1..=3 {
            let team = Team::new(threads);
            let each: Vec<_> = texts.iter().map(|text| bits(&model.embed(text, &mut space, &team))).collect();
            assert!(each == alone, "{threads} threads");
            let together: Vec<_> =
                model.embed_all(&borrowed, &mut space, &team).iter().map(|row| bits(row)).collect();
            assert!(together == alone, "{threads} threads, together");
        }
    }
}

#[test]
fn texts_too_long_and_ids_too_large_are_cut_and_never_fail() {
    let shape = small();
    let (model, _file) = open(&synthetic(&shape));
    let long = text(200, 1, &shape);
    let mut space = Workspace::new();
    let team = Team::alone();
    assert_eq!(model.embed(&long, &mut space, &team), model.embed(&long[..80], &mut space, &team));
    assert_eq!(model.embed(&[u32::MAX], &mut space, &team), model.embed(&[500], &mut space, &team));
    assert_eq!(model.embed(&[], &mut space, &team), []);
}
