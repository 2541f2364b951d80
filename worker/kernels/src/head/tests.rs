//! Screening against a full product, on decoders made to mislead it.

use std::borrow::Cow;
use std::convert::Infallible;

use crate::synthetic::{Random, Synthetic};
use crate::{
    Activation, Block, Isa, Model, Part, Positions, Precision, Shape, Sight, Team, Tensors, Workspace, pack,
};

/// Decoders that lose as much as possible when they become bytes: outliers that leave everything else below one step.
struct Hostile {
    model: Synthetic,
    outliers: u64,
    size: f32,
}

impl Tensors for Hostile {
    type Error = Infallible;

    fn read(&self, part: Part) -> Result<Cow<'_, [f32]>, Infallible> {
        let numbers = self.model.read(part)?;
        if !matches!(part, Part::Decoder | Part::TransformNormWeight) || self.outliers == 0 {
            return Ok(numbers);
        }
        let mut random = Random(self.outliers);
        let mut enlarge = |number: &f32| match random.below(self.outliers) {
            0 => number * self.size,
            _ => *number,
        };
        Ok(Cow::Owned(numbers.iter().map(&mut enlarge).collect()))
    }

    fn is_tied(&self) -> bool {
        false
    }
}

/// A term that screening lost would be missing from the index, and nobody would ever see it.
#[test]
fn screening_finds_just_the_terms_of_a_full_product() {
    let shape = Shape {
        layers: vec![Sight::Global],
        hidden: 128,
        heads: 2,
        intermediate: 64,
        vocabulary: 2000,
        positions: Positions::Table { rows: 32, offset: 0, padding: None, token_types: 0 },
        block: Block::NormAfter,
        epsilon: 1e-12,
        activation: Activation::Gelu,
        head_activation: Activation::Gelu,
    };
    let (mut found_any, mut skipped) = (0, 0);
    for (seed, outliers, size) in [(1, 0, 0.0), (2, 128, 30.0), (3, 40, 200.0), (4, 300, 1e6), (5, 64, 1e-6)]
    {
        for decoder_bias in [0.0, -0.8, -1.6, -40.0] {
            let model = Synthetic { shape: shape.clone(), seed, is_tied: false, decoder_bias };
            let hostile = Hostile { model, outliers, size };
            let file = tempfile::NamedTempFile::new().unwrap();
            pack(&shape, Precision::Int8, &hostile, &mut file.as_file()).unwrap();
            let mut model = Model::open(file.path()).unwrap();
            for isa in Isa::available() {
                model = model.with_isa(isa);
                let mut space = Workspace::new();
                let found = model.embed(&[5, 900, 17, 5, 1999, 3], &mut space, &Team::alone());
                let lost = compare(&hostile, &space, &found);
                assert_eq!(lost, [], "{}, seed {seed}, bias {decoder_bias}", isa.name());
                found_any += found.len();
                skipped += shape.vocabulary - found.len();
            }
        }
    }
    assert!(found_any > 1000 && skipped > 1000, "{found_any} {skipped}");
}

/// Ids that are missing or have another logit than a product in double precision, beyond what rounding explains.
fn compare(hostile: &Hostile, space: &Workspace, found: &[(u32, f32)]) -> Vec<(u32, f64)> {
    let (decoder, biases) = (hostile.read(Part::Decoder).unwrap(), hostile.read(Part::DecoderBias).unwrap());
    let mut wrong = Vec::new();
    for (id, (word, bias)) in (0_u32..).zip(decoder.chunks_exact(128).zip(biases.iter())) {
        let (mut exact, mut rounding) = (f64::MIN, 0.0);
        for state in space.states.chunks_exact(128) {
            let terms = state.iter().zip(word).map(|(state, word)| f64::from(*state) * f64::from(*word));
            let logit = terms.clone().sum::<f64>() + f64::from(*bias);
            if logit > exact {
                (exact, rounding) = (logit, terms.map(f64::abs).sum::<f64>() * 1e-6 + 1e-6);
            }
        }
        let index = found.binary_search_by_key(&id, |(id, _)| *id);
        let logit = index.map_or(0.0, |index| f64::from(found[index].1));
        if (logit - exact.max(0.0)).abs() > rounding {
            wrong.push((id, exact));
        }
    }
    wrong
}
