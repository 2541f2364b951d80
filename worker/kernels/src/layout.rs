//! Where everything stands in a packed file. Nothing of this is written into the file: all offsets follow from the
//! shape, so sections can neither overlap nor lie outside, and one comparison of lengths checks a file.
//!
//! All numbers are little endian, every section begins at a multiple of 64 bytes. PURE.

use std::ops::Range;

use crate::isa::PANEL;
use crate::shape::{Activation, Shape, ShapeError, Sizes};

pub(crate) const MAGIC: [u8; 8] = *b"LXKERNEL";
/// Grows with every change of this module or of what `pack` computes.
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 128;
const ALIGNMENT: usize = 64;
const NUMBER: usize = size_of::<f32>();

/// Bytes of a section.
pub(crate) type Section = Range<usize>;

/// A linear layer: packed blocks, and a scale and a bias for each output.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) panels: Section,
    pub(crate) scales: Section,
    pub(crate) biases: Section,
}

#[derive(Clone, Debug)]
pub(crate) struct NormSections {
    pub(crate) weight: Section,
    pub(crate) bias: Section,
}

#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// Query, key and value of each group of heads, group by group.
    pub(crate) attention: Linear,
    pub(crate) attention_output: Linear,
    pub(crate) attention_norm: NormSections,
    pub(crate) intermediate: Linear,
    /// Run by run, and within a run panel by panel.
    pub(crate) output: Linear,
    pub(crate) output_norm: NormSections,
}

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) words: Section,
    /// Position by position, from the first token's; the first token type is added in.
    pub(crate) positions: Section,
    pub(crate) embedding_norm: NormSections,
    pub(crate) layers: Vec<Layer>,
    pub(crate) transform: Linear,
    pub(crate) transform_norm: NormSections,
    pub(crate) screen: Screen,
    /// The word embeddings where they are tied.
    pub(crate) decoder: Section,
    pub(crate) bytes: usize,
}

/// The decoder in bytes, and what the error bound needs, each divided by the column's scale.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    pub(crate) panels: Section,
    pub(crate) scales: Section,
    pub(crate) biases: Section,
    pub(crate) scaled_biases: Section,
    pub(crate) scaled_norms: Section,
    /// One number: the largest part of its length that a column lost when it became bytes.
    pub(crate) loss: Section,
}

struct Cursor(usize);

impl Cursor {
    fn take(&mut self, bytes: usize) -> Section {
        let start = self.0;
        self.0 = (start + bytes).next_multiple_of(ALIGNMENT);
        start..start + bytes
    }

    fn numbers(&mut self, count: usize) -> Section {
        self.take(count * NUMBER)
    }

    fn norm(&mut self, columns: usize) -> NormSections {
        NormSections { weight: self.numbers(columns), bias: self.numbers(columns) }
    }

    fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        Linear {
            panels: self.take(inputs * outputs),
            scales: self.numbers(outputs),
            biases: self.numbers(outputs),
        }
    }
}

impl Layout {
    /// Of a shape that was checked: its bounds keep every product here far below 2^63.
    pub(crate) fn new(shape: &Shape, is_tied: bool) -> Self {
        let sizes = shape.sizes();
        let Sizes { hidden, vocabulary, .. } = sizes;
        let (context, intermediate) = (sizes.context(), sizes.intermediate());
        let mut cursor = Cursor(HEADER_BYTES);
        let words = cursor.numbers(shape.vocabulary * hidden);
        let positions = cursor.numbers(shape.tokens() * hidden);
        let embedding_norm = cursor.norm(hidden);
        let layers = (0..shape.layers)
            .map(|_| Layer {
                attention: cursor.linear(hidden, 3 * context),
                attention_output: cursor.linear(context, hidden),
                attention_norm: cursor.norm(hidden),
                intermediate: cursor.linear(hidden, intermediate),
                output: cursor.linear(intermediate, hidden),
                output_norm: cursor.norm(hidden),
            })
            .collect();
        let transform = cursor.linear(hidden, hidden);
        let transform_norm = cursor.norm(hidden);
        let screen = Screen {
            panels: cursor.take(hidden * vocabulary),
            scales: cursor.numbers(vocabulary),
            biases: cursor.numbers(vocabulary),
            scaled_biases: cursor.numbers(vocabulary),
            scaled_norms: cursor.numbers(vocabulary),
            loss: cursor.numbers(1),
        };
        let decoder = if is_tied { words.clone() } else { cursor.numbers(shape.vocabulary * hidden) };
        Self {
            words,
            positions,
            embedding_norm,
            layers,
            transform,
            transform_norm,
            screen,
            decoder,
            bytes: cursor.0,
        }
    }
}

/// Bytes of `count` panels that are `depth` inputs deep.
pub(crate) fn panel_bytes(depth: usize) -> usize {
    depth * PANEL
}

#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("the file is shorter than a header")]
    Short,
    #[error("the file does not begin as a packed model does")]
    Magic,
    #[error("the file has format version {found}, but {VERSION} is supported: pack the model again")]
    Version { found: u32 },
    #[error("the header names activation {found}, which is unknown")]
    Activation { found: u32 },
    #[error("the header says {found} where only 0 (own decoder) and 1 (tied) are known")]
    Tied { found: u32 },
    #[error("the header's shape is not valid")]
    Shape(#[from] ShapeError),
    #[error("the header's size {found} does not fit this machine")]
    Size { found: u64 },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) shape: Shape,
    pub(crate) is_tied: bool,
}

const SIZES: usize = 8;

impl Header {
    pub(crate) fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let &Shape {
            layers,
            hidden,
            heads,
            intermediate,
            vocabulary,
            positions,
            token_types,
            position_offset,
            epsilon,
            activation,
        } = &self.shape;
        let activation = match activation {
            Activation::Gelu => 0_u32,
            Activation::GeluTanh => 1,
            Activation::Relu => 2,
        };
        let mut bytes = Vec::from(MAGIC);
        for word in [VERSION, activation, u32::from(self.is_tied), epsilon.to_bits()] {
            bytes.extend(word.to_le_bytes());
        }
        let sizes: [usize; SIZES] =
            [layers, hidden, heads, intermediate, vocabulary, positions, token_types, position_offset];
        for size in sizes {
            bytes.extend((size as u64).to_le_bytes());
        }
        let mut header = [0; HEADER_BYTES];
        header[..bytes.len()].copy_from_slice(&bytes);
        header
    }

    pub(crate) fn parse(file: &[u8]) -> Result<Self, HeaderError> {
        let header = file.first_chunk::<HEADER_BYTES>().ok_or(HeaderError::Short)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(HeaderError::Magic);
        }
        let words = rest.as_chunks::<4>().0;
        let [version, activation, tied, epsilon] =
            std::array::from_fn(|index| u32::from_le_bytes(words[index]));
        if version != VERSION {
            return Err(HeaderError::Version { found: version });
        }
        let activation = match activation {
            0 => Activation::Gelu,
            1 => Activation::GeluTanh,
            2 => Activation::Relu,
            found => return Err(HeaderError::Activation { found }),
        };
        let is_tied = match tied {
            0 => false,
            1 => true,
            found => return Err(HeaderError::Tied { found }),
        };
        let mut sizes = [0; SIZES];
        for (size, bytes) in sizes.iter_mut().zip(rest[16..].as_chunks::<8>().0) {
            let found = u64::from_le_bytes(*bytes);
            *size = usize::try_from(found).map_err(|_| HeaderError::Size { found })?;
        }
        let [layers, hidden, heads, intermediate, vocabulary, positions, token_types, position_offset] =
            sizes;
        let epsilon = f32::from_bits(epsilon);
        let shape = Shape {
            layers,
            hidden,
            heads,
            intermediate,
            vocabulary,
            positions,
            token_types,
            position_offset,
            epsilon,
            activation,
        };
        shape.check()?;
        Ok(Self { shape, is_tied })
    }
}
