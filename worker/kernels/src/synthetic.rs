//! Models of random weights, for tests and benchmarks: their speed means something, their vectors do not. PURE.

use std::borrow::Cow;
use std::convert::Infallible;

use crate::shape::Shape;
use crate::tensors::{LayerPart, Part, Tensors};

/// The same numbers for the same seed, part by part, without keeping them in memory.
#[derive(Clone, Debug)]
pub struct Synthetic {
    pub shape: Shape,
    pub seed: u64,
    pub is_tied: bool,
    /// Added to every word's logit: how sparse results are.
    pub decoder_bias: f32,
}

impl Tensors for Synthetic {
    type Error = Infallible;

    fn read(&self, part: Part) -> Result<Cow<'_, [f32]>, Infallible> {
        let length = part.length(&self.shape);
        let mut random = Random(self.seed ^ mix(number_of(part)));
        let mut numbers = |scale: f32, around: f32| -> Vec<f32> {
            (0..length).map(|_| random.normal() * scale + around).collect()
        };
        Ok(Cow::Owned(match part {
            Part::EmbeddingNormWeight
            | Part::TransformNormWeight
            | Part::Layer(_, LayerPart::AttentionNormWeight | LayerPart::OutputNormWeight) => {
                numbers(0.1, 1.0)
            }
            Part::DecoderBias => numbers(0.1, self.decoder_bias),
            _ => numbers(0.04, 0.0),
        }))
    }

    fn is_tied(&self) -> bool {
        self.is_tied
    }
}

fn number_of(part: Part) -> u64 {
    let plain = [
        Part::WordEmbeddings,
        Part::PositionEmbeddings,
        Part::TokenTypeEmbeddings,
        Part::EmbeddingNormWeight,
        Part::EmbeddingNormBias,
        Part::TransformWeight,
        Part::TransformBias,
        Part::TransformNormWeight,
        Part::TransformNormBias,
        Part::Decoder,
        Part::DecoderBias,
    ];
    match part {
        Part::Layer(index, part) => 1000 + 100 * index as u64 + part as u64,
        part => plain.iter().position(|other| *other == part).unwrap_or_default() as u64,
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A small generator: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `bound`, which is small against 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// Nearly normal, of mean 0 and variance 1: the sum of four uniform numbers.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let sum: f32 = (0..4).map(|index| (bits >> (16 * index) & 0xffff) as f32 / 65_536.0).sum();
        (sum - 2.0) * 3.0_f32.sqrt()
    }
}
