//! Whole models of random weights: against plain 32-bit arithmetic, and against themselves.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use lexiscale_kernels::synthetic::{Random, Synthetic};
use lexiscale_kernels::{
    Activation, Block, Isa, Model, Positions, Precision, Saturation, Shape, Sight, Team, Workspace, pack,
    reference,
};

const PRECISIONS: [Precision; 2] = [Precision::Int8, Precision::Fp32];

fn small() -> Shape {
    Shape {
        layers: vec![Sight::Global; 2],
        hidden: 96,
        heads: 4,
        intermediate: 200,
        vocabulary: 501,
        positions: Positions::Table { rows: 80, offset: 0, padding: None, token_types: 2 },
        block: Block::NormAfter,
        epsilon: 1e-12,
        activation: Activation::Gelu,
        head_activation: Activation::Gelu,
    }
}

/// Sizes that are no multiple of anything, heads narrower and wider than a panel, more than one run of the feed-forward
/// layer.
fn shapes() -> Vec<Shape> {
    let odd = Shape { hidden: 60, heads: 5, intermediate: 77, vocabulary: 67, ..small() };
    let wide = Shape {
        hidden: 160,
        heads: 2,
        intermediate: 1600,
        layers: vec![Sight::Global],
        positions: table(80, 0, None, 0),
        ..small()
    };
    let offset = Shape {
        hidden: 64,
        heads: 1,
        positions: table(80, 2, Some(1), 2),
        activation: Activation::GeluTanh,
        head_activation: Activation::Gelu,
        ..small()
    };
    let least = Shape {
        layers: vec![Sight::Global],
        hidden: 1,
        heads: 1,
        intermediate: 1,
        vocabulary: 1,
        positions: table(1, 0, None, 2),
        activation: Activation::Relu,
        head_activation: Activation::Relu,
        ..small()
    };
    vec![small(), odd, wide, offset, least].into_iter().chain(modern_shapes()).collect()
}

fn table(rows: usize, offset: usize, padding: Option<usize>, token_types: usize) -> Positions {
    Positions::Table { rows, offset, padding, token_types }
}

/// `ModernBERT`'s form: global and local layers in turns, the last one local.
fn modern(reach: usize) -> Shape {
    let near = Sight::Local { reach };
    Shape {
        layers: vec![Sight::Global, near, near, Sight::Global, near],
        hidden: 128,
        heads: 2,
        intermediate: 192,
        positions: Positions::Rotations { window: 400, global_theta: 160_000.0, local_theta: 10_000.0 },
        block: Block::NormBeforeGated,
        epsilon: 1e-5,
        ..small()
    }
}

/// Heads whose halves are no whole vectors, more than one run of gates, and each of the two forms' parts with the other's: they do not
/// depend on each other.
fn modern_shapes() -> Vec<Shape> {
    let odd = Shape { hidden: 60, heads: 5, intermediate: 77, vocabulary: 67, ..modern(3) };
    let wide = Shape {
        hidden: 160,
        heads: 2,
        intermediate: 1600,
        layers: vec![Sight::Local { reach: 0 }],
        activation: Activation::GeluTanh,
        ..modern(0)
    };
    let turned = Shape { block: Block::NormAfter, ..modern(5) };
    let gated = Shape { positions: table(400, 2, Some(1), 2), ..modern(1) };
    let far = Shape { hidden: 96, heads: 1, activation: Activation::Relu, ..modern(1 << 22) };
    vec![modern(8), odd, wide, turned, gated, far]
}

fn synthetic(shape: &Shape) -> Synthetic {
    Synthetic {
        shape: shape.clone(),
        seed: 3,
        is_tied: shape.hidden != 64 && shape.hidden != 160,
        decoder_bias: -0.2,
    }
}

fn write(synthetic: &Synthetic, precision: Precision) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let written = pack(&synthetic.shape, precision, synthetic, &mut bytes).unwrap();
    assert_eq!(written, bytes.get_ref().len() as u64);
    bytes.into_inner()
}

fn open(synthetic: &Synthetic, precision: Precision) -> (Model, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), write(synthetic, precision)).unwrap();
    let model = Model::open(file.path()).unwrap();
    assert_eq!((model.shape(), model.precision()), (&synthetic.shape, precision));
    (model, file)
}

/// Each shape in each precision.
fn models() -> Vec<(Shape, Precision)> {
    shapes().into_iter().flat_map(|shape| PRECISIONS.map(|precision| (shape.clone(), precision))).collect()
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

fn padding(shape: &Shape) -> Option<usize> {
    match shape.positions {
        Positions::Table { padding, .. } => padding,
        Positions::Rotations { .. } => None,
    }
}

/// Only the order of additions differs from the plain one. A text has the padding token among its own where there is one.
#[test]
fn fp32_is_plain_arithmetic_but_for_the_last_digits() {
    for shape in shapes() {
        let synthetic = synthetic(&shape);
        let (model, _file) = open(&synthetic, Precision::Fp32);
        for tokens in [1, 7, 40] {
            let mut ids = text(tokens, 11, &shape);
            if let (Some(padding), Some(id)) = (padding(&shape), ids.get_mut(3)) {
                *id = u32::try_from(padding).unwrap();
            }
            let expected = reference::embed(&shape, &synthetic, &ids).unwrap();
            let found = model.embed(&ids, &mut Workspace::new(), &Team::alone());
            same(&expected, &found, &format!("{shape:?} {tokens} tokens"));
        }
    }
}

fn same(expected: &[(u32, f32)], found: &[(u32, f32)], which: &str) {
    let weight = |row: &[(u32, f32)], id| row.iter().find(|(other, _)| *other == id).map_or(0.0, |(_, w)| *w);
    for (id, _) in expected.iter().chain(found) {
        let (expected, found) = (weight(expected, *id), weight(found, *id));
        assert!((expected - found).abs() < 1e-4 + 1e-4 * expected, "{which}, {id}: {expected} {found}");
    }
}

/// Texts that are shorter than what a token sees, just as long, one token longer, and several times as long; blocks of queries and of keys end
/// before, at and after the edges.
#[test]
fn local_layers_see_just_what_is_within_their_reach() {
    for (reach, lengths) in [
        (0, vec![1, 2, 17]),
        (1, vec![1, 2, 3, 64, 65]),
        (5, vec![4, 5, 6, 7, 11, 12, 66]),
        (63, vec![63, 64, 65, 127, 128, 129, 190]),
        (64, vec![64, 65, 66, 129, 200, 390]),
        (70, vec![71, 141, 142, 300]),
    ] {
        let shape = Shape { layers: vec![Sight::Local { reach }; 2], hidden: 64, heads: 2, ..modern(reach) };
        let synthetic = synthetic(&shape);
        let (model, _file) = open(&synthetic, Precision::Fp32);
        for tokens in lengths {
            let ids = text(tokens, 3, &shape);
            let expected = reference::embed(&shape, &synthetic, &ids).unwrap();
            let found = model.embed(&ids, &mut Workspace::new(), &Team::alone());
            assert!(!expected.is_empty());
            same(&expected, &found, &format!("reach {reach}, {tokens} tokens"));
        }
    }
}

const SATURATIONS: [Saturation; 2] = [Saturation::Log, Saturation::DoubleLog];

/// Texts that fill their last vector and their last 64 tokens, and such as do not; words beyond the last six.
#[test]
fn sums_count_every_token_of_a_text_and_nothing_else() {
    let many_words = Shape { vocabulary: 510, ..small() };
    for shape in shapes().into_iter().chain([many_words]) {
        let synthetic = Synthetic { decoder_bias: 0.3, ..synthetic(&shape) };
        let (model, _file) = open(&synthetic, Precision::Fp32);
        for tokens in [1, 15, 16, 17, 64, 70] {
            let ids = text(tokens, 11, &shape);
            for saturation in SATURATIONS {
                let expected = reference::sum(&shape, &synthetic, &ids, saturation).unwrap();
                let found = model.sum_all(&[&ids], saturation, &mut Workspace::new(), &Team::alone());
                same(&expected, &found[0], &format!("{saturation:?} {tokens} tokens {shape:?}"));
                assert!(shape.vocabulary == 1 || found[0].len() > shape.vocabulary / 2);
            }
        }
    }
}

/// What holds of the largest logits holds of sums: neighbours, threads and instruction sets change no bit.
#[test]
fn sums_have_the_same_bits_whatever_runs_beside_them() {
    for (shape, precision) in models() {
        let (mut model, _file) = open(&synthetic(&shape), precision);
        let texts: Vec<Vec<u32>> = [3, 0, 65, 1, 20].map(|tokens| text(tokens, 7, &shape)).to_vec();
        let borrowed: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut space = Workspace::new();
        let one = |model: &Model, text: &[u32]| {
            bits(&model.sum_all(&[text], Saturation::Log, &mut Workspace::new(), &Team::alone())[0])
        };
        let alone: Vec<_> = borrowed.iter().map(|text| one(&model, text)).collect();
        for threads in 1..=3 {
            let together = model.sum_all(&borrowed, Saturation::Log, &mut space, &Team::new(threads));
            let together: Vec<_> = together.iter().map(|row| bits(row)).collect();
            assert_eq!(together, alone, "{threads} threads {shape:?}");
        }
        for isa in Isa::available().into_iter().skip(1) {
            model = model.with_isa(isa);
            let found: Vec<_> = borrowed.iter().map(|text| one(&model, text)).collect();
            assert_eq!(found, alone, "{} {shape:?}", isa.name());
        }
    }
}

#[test]
fn sums_in_int8_are_close_to_plain_arithmetic() {
    for shape in [small(), modern(8)] {
        let synthetic = synthetic(&shape);
        let (model, _file) = open(&synthetic, Precision::Int8);
        let ids = text(40, 11, &shape);
        let expected = reference::sum(&shape, &synthetic, &ids, Saturation::Log).unwrap();
        let found = model.sum_all(&[&ids], Saturation::Log, &mut Workspace::new(), &Team::alone());
        let cosine = cosine(&expected, &found[0]);
        assert!(expected.len() > 5 && cosine > 0.999, "{cosine}");
    }
}

/// With a reach as long as the text a local layer is a global one, bit for bit, and one token less is another model.
#[test]
fn a_reach_beyond_the_text_is_the_whole_text() {
    let vector = |sight: Sight, tokens: usize| {
        let shape = Shape {
            layers: vec![sight],
            positions: Positions::Rotations { window: 400, global_theta: 500.0, local_theta: 500.0 },
            ..modern(0)
        };
        let (model, _file) = open(&synthetic(&shape), Precision::Fp32);
        bits(&model.embed(&text(tokens, 8, &shape), &mut Workspace::new(), &Team::alone()))
    };
    for tokens in [2, 65, 130] {
        let whole = vector(Sight::Global, tokens);
        assert_eq!(vector(Sight::Local { reach: tokens - 1 }, tokens), whole, "{tokens}");
        assert_ne!(vector(Sight::Local { reach: tokens - 2 }, tokens), whole, "{tokens}");
    }
}

/// Nothing that a window of thousands of tokens could hold is taken before a text is that long.
#[test]
fn a_window_of_any_length_takes_no_room_in_the_file() {
    let bytes = |window| {
        let positions = Positions::Rotations { window, global_theta: 160_000.0, local_theta: 10_000.0 };
        write(&synthetic(&Shape { positions, ..modern(8) }), Precision::Int8).len()
    };
    assert_eq!(bytes(16), bytes(1 << 17));
}

#[test]
fn int8_is_close_to_plain_arithmetic() {
    for shape in shapes() {
        let synthetic = synthetic(&shape);
        let (model, _file) = open(&synthetic, Precision::Int8);
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
    let sets = Isa::available();
    for (shape, precision) in models() {
        let (mut model, _file) = open(&synthetic(&shape), precision);
        let (portable, others) = sets.split_last().unwrap();
        for tokens in [1, 2, 6, 13, 70] {
            let ids = text(tokens, 5, &shape);
            model = model.with_isa(*portable);
            let portable = model.embed(&ids, &mut Workspace::new(), &Team::alone());
            for isa in others {
                model = model.with_isa(*isa);
                let found = model.embed(&ids, &mut Workspace::new(), &Team::alone());
                assert!(
                    bits(&found) == bits(&portable),
                    "{} {precision:?} {tokens} tokens {shape:?}",
                    isa.name()
                );
            }
        }
    }
}

/// The same on every architecture and by every C library: this test runs on 64-bit Arm too (`make test-kernels`).
#[test]
fn bits_are_the_same_everywhere() {
    let mut found = Vec::new();
    for shape in [small(), modern(30)] {
        for precision in PRECISIONS {
            let (model, _file) = open(&synthetic(&shape), precision);
            for saturation in [Saturation::Log, Saturation::DoubleLog] {
                let mut row = model.embed(&text(70, 5, &shape), &mut Workspace::new(), &Team::alone());
                model.weigh(saturation, &mut row);
                found.push(digest(&row));
            }
        }
    }
    let expected = [
        0xfb23_fcb6_df2f_92d5,
        0x7e70_525a_2dac_926b,
        0x9da8_bcb5_6263_2b82,
        0x58ec_cd90_7dfa_27dc,
        0x435e_1a78_2915_db59,
        0x4b01_79e4_b03e_ba1e,
        0xdb73_6ca4_f1e9_b583,
        0xe686_ddc0_c14f_a8e6,
    ];
    assert_eq!(found, expected, "{found:#x?}");
}

/// FNV-1a of ids and weights.
fn digest(row: &[(u32, f32)]) -> u64 {
    let words = row.iter().flat_map(|(id, weight)| [*id, weight.to_bits()]);
    words
        .flat_map(u32::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn bits(row: &[(u32, f32)]) -> Vec<(u32, u32)> {
    row.iter().map(|(id, weight)| (*id, weight.to_bits())).collect()
}

/// The defect of other int8 servers: one text, another vector in another batch.
#[test]
fn neighbours_and_threads_never_change_a_vector() {
    for (shape, precision) in models() {
        let (model, _file) = open(&synthetic(&shape), precision);
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
    let (model, _file) = open(&synthetic(&shape), Precision::Int8);
    let long = text(200, 1, &shape);
    let mut space = Workspace::new();
    let team = Team::alone();
    assert_eq!(model.embed(&long, &mut space, &team), model.embed(&long[..80], &mut space, &team));
    assert_eq!(model.embed(&[u32::MAX], &mut space, &team), model.embed(&[500], &mut space, &team));
    assert_eq!(model.embed(&[], &mut space, &team), []);
}

/// Whatever a busy worker puts together.
#[test]
fn twenty_random_groupings_give_the_same_vectors() {
    PRECISIONS.into_iter().for_each(groupings);
}

fn groupings(precision: Precision) {
    let shape = small();
    let (model, _file) = open(&synthetic(&shape), precision);
    let (team, mut space, mut random) = (Team::new(2), Workspace::new(), Random(4));
    let length = |random: &mut Random| usize::try_from(1 + random.below(30)).unwrap();
    let texts: Vec<Vec<u32>> = (0..50).map(|seed| text(length(&mut random), seed, &shape)).collect();
    let alone: Vec<_> =
        texts.iter().map(|text| bits(&model.embed(text, &mut space, &Team::alone()))).collect();
    for _ in 0..20 {
        let order: Vec<usize> =
            (0..12).map(|_| usize::try_from(random.below(texts.len() as u64)).unwrap()).collect();
        let group: Vec<&[u32]> = order.iter().map(|index| &texts[*index][..]).collect();
        let found = model.embed_all(&group, &mut space, &team);
        for (index, row) in order.iter().zip(&found) {
            assert!(bits(row) == alone[*index], "text {index} in {order:?}");
        }
    }
}

/// What the first version of the format did not have is zero there, and stands for what it did: a new reader opens old files.
#[test]
fn what_newer_files_say_is_zero_in_a_plain_int8_file() {
    let plain = write(&synthetic(&small()), Precision::Int8);
    assert_eq!(plain[88..128], [0; 40]);
    let said = |shape: Shape, precision| write(&synthetic(&shape), precision)[88..104].to_vec();
    assert_eq!(said(small(), Precision::Fp32)[..4], 1_u32.to_le_bytes());
    let other_head = Shape { head_activation: Activation::Relu, ..small() };
    assert_eq!(said(other_head, Precision::Int8)[4..8], 3_u32.to_le_bytes());
    let padding = Shape { positions: table(80, 0, Some(1), 2), ..small() };
    assert_eq!(said(padding, Precision::Int8)[8..], 2_u64.to_le_bytes());
    let modern = write(&synthetic(&modern(8)), Precision::Int8);
    let word = |at: usize| u32::from_le_bytes(modern[at..at + 4].try_into().unwrap());
    let said: Vec<u32> = (104..148).step_by(4).map(word).collect();
    let thetas = [160_000.0_f32, 10_000.0].map(f32::to_bits);
    assert_eq!(said, [1, thetas[0], thetas[1], 1, 0, 0, 0, 9, 9, 0, 9]);
}
