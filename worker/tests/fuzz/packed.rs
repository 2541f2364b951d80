//! The packed models of a cache. A worker reads what an earlier download wrote, but a disk may give back something else.

use lexiscale_fuzz::{Inputs, fuzz};
use lexiscale_kernels::synthetic::Synthetic;
use lexiscale_kernels::{
    Activation, Block, Model, Positions, Precision, Shape, Sight, Team, Workspace, pack,
};

fn plain() -> Shape {
    Shape {
        layers: vec![Sight::Global],
        hidden: 16,
        heads: 2,
        intermediate: 32,
        vocabulary: 70,
        positions: Positions::Table { rows: 8, offset: 0, padding: None, token_types: 1 },
        block: Block::NormAfter,
        epsilon: 1e-12,
        activation: Activation::Gelu,
        head_activation: Activation::Gelu,
    }
}

fn modern() -> Shape {
    Shape {
        layers: vec![Sight::Local { reach: 1 }],
        positions: Positions::Rotations { window: 8, global_theta: 160_000.0, local_theta: 10_000.0 },
        block: Block::NormBeforeGated,
        ..plain()
    }
}

fn packed(shape: &Shape, precision: Precision) -> Vec<u8> {
    let synthetic = Synthetic { shape: shape.clone(), seed: 1, is_tied: false, decoder_bias: 0.0 };
    let mut bytes = Vec::new();
    pack(shape, precision, &synthetic, &mut bytes).unwrap();
    bytes
}

#[test]
fn any_packed_model_gets_a_verdict() {
    let seeds = vec![
        packed(&plain(), Precision::Int8),
        packed(&plain(), Precision::Fp32),
        packed(&modern(), Precision::Int8),
        packed(&modern(), Precision::Fp32),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    fuzz(
        &Inputs { name: "packed", seeds, words: &["\0\0\0\0", "\u{1}\0\0\0", "\0\0\u{80}\u{3f}"] },
        |input| {
            fs_err::write(file.path(), input).unwrap();
            // What is let through computes, whatever its weights are.
            if let Ok(model) = Model::open(file.path()) {
                let word = u32::try_from(model.shape().vocabulary).unwrap() - 1;
                let weights = model.embed(
                    &[0, word][..model.shape().tokens().min(2)],
                    &mut Workspace::new(),
                    &Team::alone(),
                );
                assert!(weights.iter().all(|(token, _)| *token <= word), "{weights:?}");
            }
        },
    );
}
