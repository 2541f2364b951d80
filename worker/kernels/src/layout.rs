//! Where everything stands in a packed file. Nothing of this is written into the file: all offsets follow from the
//! shape, so sections can neither overlap nor lie outside, and one comparison of lengths checks a file.
//!
//! All numbers are little endian, every section begins at a multiple of 64 bytes. PURE.

use std::ops::Range;

use crate::shape::{Activation, Block, MAX_LAYERS, Positions, Precision, Shape, ShapeError, Sight, Sizes};

pub(crate) const MAGIC: [u8; 8] = *b"LXKERNEL";
/// Grows with every change that gives the bytes of older files another meaning.
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
    /// Of what the attention's output was added to, before the feed-forward part reads it.
    pub(crate) attention_norm: NormSections,
    /// With gates each panel is followed by that of its gates.
    pub(crate) intermediate: Linear,
    /// Run by run, and within a run panel by panel.
    pub(crate) output: Linear,
    /// Of what that was added to, before the next layer reads it, or the head.
    pub(crate) output_norm: NormSections,
}

/// What says where a token stands.
#[derive(Clone, Debug)]
pub(crate) enum Places {
    /// Position by position, from the first token's, and the padding token's last; the first token type is added in.
    Table(Section),
    /// An angle for each pair of a head's numbers, which each token turns further.
    Frequencies { global: Section, local: Section },
}

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) words: Section,
    pub(crate) places: Places,
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

    fn linear(&mut self, precision: Precision, inputs: usize, outputs: usize) -> Linear {
        let element = match precision {
            Precision::Int8 => 1,
            Precision::Fp32 => NUMBER,
        };
        Linear {
            panels: self.take(inputs * outputs * element),
            scales: self.numbers(outputs),
            biases: self.numbers(outputs),
        }
    }
}

impl Layout {
    /// Of a shape that was checked: its bounds keep every product here far below 2^63. Sections follow each other in the order in
    /// which they are written here.
    pub(crate) fn new(shape: &Shape, precision: Precision, is_tied: bool) -> Self {
        let sizes = shape.sizes();
        let Sizes { hidden, vocabulary, .. } = sizes;
        let (context, intermediate) = (sizes.context(), sizes.intermediate());
        let mut cursor = Cursor(0);
        cursor.take(HEADER_BYTES);
        cursor.take(sights_bytes(shape));
        let mut layout = Self {
            words: cursor.numbers(shape.vocabulary * hidden),
            places: match shape.positions {
                Positions::Table { rows, offset, padding, token_types: _ } => {
                    let rows = rows - offset + usize::from(padding.is_some());
                    Places::Table(cursor.numbers(rows * hidden))
                }
                Positions::Rotations { .. } => {
                    let pairs = shape.half();
                    Places::Frequencies { global: cursor.numbers(pairs), local: cursor.numbers(pairs) }
                }
            },
            embedding_norm: cursor.norm(hidden),
            layers: (0..shape.layers.len())
                .map(|_| Layer {
                    attention: cursor.linear(precision, hidden, 3 * context),
                    attention_output: cursor.linear(precision, context, hidden),
                    attention_norm: cursor.norm(hidden),
                    intermediate: cursor.linear(precision, hidden, shape.widenings() * intermediate),
                    output: cursor.linear(precision, intermediate, hidden),
                    output_norm: cursor.norm(hidden),
                })
                .collect(),
            transform: cursor.linear(precision, hidden, hidden),
            transform_norm: cursor.norm(hidden),
            screen: Screen {
                panels: cursor.take(hidden * vocabulary),
                scales: cursor.numbers(vocabulary),
                biases: cursor.numbers(vocabulary),
                scaled_biases: cursor.numbers(vocabulary),
                scaled_norms: cursor.numbers(vocabulary),
                loss: cursor.numbers(1),
            },
            decoder: 0..0,
            bytes: 0,
        };
        layout.decoder =
            if is_tied { layout.words.clone() } else { cursor.numbers(shape.vocabulary * hidden) };
        layout.bytes = cursor.0;
        layout
    }
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
    #[error("the header names precision {found}, which is unknown")]
    Precision { found: u32 },
    #[error("the header names block {found}, which is unknown")]
    Block { found: u32 },
    #[error(
        "the header says {found} where only 0 (all layers look at everything) and 1 (a list follows in which some do not) are known"
    )]
    Sights { found: u32 },
    #[error(
        "the header has rotations with an offset, a padding token or token types, which only a table of positions has"
    )]
    Turned,
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
    pub(crate) precision: Precision,
    pub(crate) is_tied: bool,
}

const SIZES: usize = 8;

/// Bytes of the list of what each layer looks at, which follows the header unless all look at everything.
fn sights_bytes(shape: &Shape) -> usize {
    if shape.layers.iter().all(|sight| *sight == Sight::Global) {
        0
    } else {
        shape.layers.len() * size_of::<u32>()
    }
}

impl Header {
    /// With the list that follows it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let Shape {
            layers,
            hidden,
            heads,
            intermediate,
            vocabulary,
            positions,
            block,
            epsilon,
            activation,
            head_activation,
        } = &self.shape;
        let (rows, token_types, offset, padding, thetas) = match *positions {
            Positions::Table { rows, offset, padding, token_types } => {
                (rows, token_types, offset, padding, [0.0_f32; 2])
            }
            Positions::Rotations { window, global_theta, local_theta } => {
                (window, 0, 0, None, [global_theta, local_theta])
            }
        };
        let mut bytes = Vec::from(MAGIC);
        for word in [VERSION, number_of(*activation), u32::from(self.is_tied), epsilon.to_bits()] {
            bytes.extend(word.to_le_bytes());
        }
        let sizes: [usize; SIZES] =
            [layers.len(), *hidden, *heads, *intermediate, *vocabulary, rows, token_types, offset];
        for size in sizes {
            bytes.extend((size as u64).to_le_bytes());
        }
        // Files of the first version end here, with zeros: int8, no such token, one activation, a table of positions, norms
        // after, no local layers.
        let precision = match self.precision {
            Precision::Int8 => 0_u32,
            Precision::Fp32 => 1,
        };
        let head_activation = if head_activation == activation { 0 } else { 1 + number_of(*head_activation) };
        for word in [precision, head_activation] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend((padding.map_or(0, |padding| padding + 1) as u64).to_le_bytes());
        let block = match block {
            Block::NormAfter => 0_u32,
            Block::NormBeforeGated => 1,
        };
        let list = sights_bytes(&self.shape);
        for word in [block, thetas[0].to_bits(), thetas[1].to_bits(), u32::from(list > 0)] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(HEADER_BYTES, 0);
        for sight in layers.iter().filter(|_| list > 0) {
            bytes.extend(number_of_sight(*sight).to_le_bytes());
        }
        bytes
    }

    pub(crate) fn parse(file: &[u8]) -> Result<Self, HeaderError> {
        let (header, list) = file.split_first_chunk::<HEADER_BYTES>().ok_or(HeaderError::Short)?;
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
        let activation = activation_of(activation)?;
        let is_tied = match tied {
            0 => false,
            1 => true,
            found => return Err(HeaderError::Tied { found }),
        };
        let mut sizes = [0; SIZES];
        let (words, rest) = rest.split_at(16 + 8 * SIZES);
        for (size, bytes) in sizes.iter_mut().zip(words[16..].as_chunks::<8>().0) {
            *size = size_of_machine(*bytes)?;
        }
        let words = rest.as_chunks::<4>().0;
        let [precision, head_activation] = std::array::from_fn(|index| u32::from_le_bytes(words[index]));
        let precision = match precision {
            0 => Precision::Int8,
            1 => Precision::Fp32,
            found => return Err(HeaderError::Precision { found }),
        };
        let head_activation = match head_activation.checked_sub(1) {
            None => activation,
            Some(number) => activation_of(number)?,
        };
        let padding = size_of_machine(rest[8..].as_chunks::<8>().0[0])?.checked_sub(1);
        let [block, global_theta, local_theta, has_list] =
            std::array::from_fn(|index| u32::from_le_bytes(words[4 + index]));
        let [layers, hidden, heads, intermediate, vocabulary, rows, token_types, offset] = sizes;
        let positions = match [global_theta, local_theta] {
            [0, 0] => Positions::Table { rows, offset, padding, token_types },
            _ if (offset, padding, token_types) != (0, None, 0) => return Err(HeaderError::Turned),
            thetas => {
                let [global_theta, local_theta] = thetas.map(f32::from_bits);
                Positions::Rotations { window: rows, global_theta, local_theta }
            }
        };
        let block = match block {
            0 => Block::NormAfter,
            1 => Block::NormBeforeGated,
            found => return Err(HeaderError::Block { found }),
        };
        let shape = Shape {
            layers: sights(layers, has_list, list)?,
            hidden,
            heads,
            intermediate,
            vocabulary,
            positions,
            block,
            epsilon: f32::from_bits(epsilon),
            activation,
            head_activation,
        };
        shape.check()?;
        Ok(Self { shape, precision, is_tied })
    }
}

/// What each layer looks at, from the list if there is one. How many layers there are is checked before anything is made of it.
fn sights(layers: usize, has_list: u32, list: &[u8]) -> Result<Vec<Sight>, HeaderError> {
    if layers > MAX_LAYERS {
        let error =
            ShapeError::OutOfBounds { field: "layers", found: layers, minimum: 1, maximum: MAX_LAYERS };
        return Err(error.into());
    }
    match has_list {
        0 => Ok(vec![Sight::Global; layers]),
        1 => {
            let list = list.get(..layers * size_of::<u32>()).ok_or(HeaderError::Short)?;
            let sights = list.as_chunks().0.iter().map(|bytes| sight_of(u32::from_le_bytes(*bytes)));
            let sights: Vec<_> = sights.collect::<Result<_, _>>()?;
            // Such a file has no list, and where everything stands follows from that.
            if sights.iter().all(|sight| *sight == Sight::Global) {
                return Err(HeaderError::Sights { found: 1 });
            }
            Ok(sights)
        }
        found => Err(HeaderError::Sights { found }),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the shape was checked, and the reach has a bound")]
fn number_of_sight(sight: Sight) -> u32 {
    match sight {
        Sight::Global => 0,
        Sight::Local { reach } => reach as u32 + 1,
    }
}

fn sight_of(number: u32) -> Result<Sight, HeaderError> {
    match number.checked_sub(1) {
        None => Ok(Sight::Global),
        Some(reach) => {
            let reach = usize::try_from(reach).map_err(|_| HeaderError::Size { found: reach.into() })?;
            Ok(Sight::Local { reach })
        }
    }
}

fn number_of(activation: Activation) -> u32 {
    match activation {
        Activation::Gelu => 0,
        Activation::GeluTanh => 1,
        Activation::Relu => 2,
    }
}

fn activation_of(number: u32) -> Result<Activation, HeaderError> {
    match number {
        0 => Ok(Activation::Gelu),
        1 => Ok(Activation::GeluTanh),
        2 => Ok(Activation::Relu),
        found => Err(HeaderError::Activation { found }),
    }
}

fn size_of_machine(bytes: [u8; 8]) -> Result<usize, HeaderError> {
    let found = u64::from_le_bytes(bytes);
    usize::try_from(found).map_err(|_| HeaderError::Size { found })
}
