//! What a model is made of. The caller knows the names that checkpoints give these parts.

use std::borrow::Cow;

use crate::shape::{Positions, Shape};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    WordEmbeddings,
    /// Not asked for if the shape has rotations.
    PositionEmbeddings,
    /// Not asked for if the shape has no token types.
    TokenTypeEmbeddings,
    EmbeddingNormWeight,
    EmbeddingNormBias,
    Layer(usize, LayerPart),
    TransformWeight,
    TransformBias,
    TransformNormWeight,
    TransformNormBias,
    /// Not asked for if it is tied to the word embeddings.
    Decoder,
    DecoderBias,
}

/// Weights of linear layers are `[outputs, inputs]`, row by row, as checkpoints of `PyTorch` have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerPart {
    QueryWeight,
    QueryBias,
    KeyWeight,
    KeyBias,
    ValueWeight,
    ValueBias,
    AttentionOutputWeight,
    AttentionOutputBias,
    /// The norm of what the attention's output was added to, which the feed-forward part reads.
    AttentionNormWeight,
    AttentionNormBias,
    /// With gates: the rows of the inputs, then those of the gates.
    IntermediateWeight,
    IntermediateBias,
    OutputWeight,
    OutputBias,
    /// The norm of what the feed-forward part's output was added to, which the next layer reads, or the head.
    OutputNormWeight,
    OutputNormBias,
}

/// Where the numbers of a model come from.
pub trait Tensors {
    type Error;

    /// All numbers of a part, row by row.
    fn read(&self, part: Part) -> Result<Cow<'_, [f32]>, Self::Error>;

    /// Whether the decoder is the word embeddings.
    fn is_tied(&self) -> bool;
}

impl Part {
    /// How many numbers the part has.
    pub fn length(self, shape: &Shape) -> usize {
        let &Shape { hidden, vocabulary, positions, .. } = shape;
        let (rows, token_types) = match positions {
            Positions::Table { rows, token_types, .. } => (rows, token_types),
            Positions::Rotations { .. } => (0, 0),
        };
        match self {
            Self::WordEmbeddings | Self::Decoder => vocabulary * hidden,
            Self::PositionEmbeddings => rows * hidden,
            Self::TokenTypeEmbeddings => token_types * hidden,
            Self::TransformWeight => hidden * hidden,
            Self::EmbeddingNormWeight
            | Self::EmbeddingNormBias
            | Self::TransformBias
            | Self::TransformNormWeight
            | Self::TransformNormBias => hidden,
            Self::DecoderBias => vocabulary,
            Self::Layer(_, part) => part.length(shape),
        }
    }
}

impl LayerPart {
    fn length(self, shape: &Shape) -> usize {
        let &Shape { hidden, intermediate, .. } = shape;
        match self {
            Self::QueryWeight | Self::KeyWeight | Self::ValueWeight | Self::AttentionOutputWeight => {
                hidden * hidden
            }
            Self::IntermediateWeight => shape.widenings() * intermediate * hidden,
            Self::IntermediateBias => shape.widenings() * intermediate,
            Self::OutputWeight => intermediate * hidden,
            Self::QueryBias
            | Self::KeyBias
            | Self::ValueBias
            | Self::AttentionOutputBias
            | Self::AttentionNormWeight
            | Self::AttentionNormBias
            | Self::OutputBias
            | Self::OutputNormWeight
            | Self::OutputNormBias => hidden,
        }
    }
}
