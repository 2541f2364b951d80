//! What a model looks like, and the padded sizes that follow from it. PURE.

use std::ops::RangeInclusive;

use crate::isa::{LANES, PANEL};

/// Sizes of a BERT-like masked-language model.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// One for each layer.
    pub layers: Vec<Sight>,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub vocabulary: usize,
    pub positions: Positions,
    pub block: Block,
    pub epsilon: f32,
    pub activation: Activation,
    /// That of the masked-language head.
    pub head_activation: Activation,
}

/// Which tokens a layer's tokens look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All of the text.
    Global,
    /// Those that are at most this many tokens away, to either side.
    Local { reach: usize },
}

/// How a model knows where in the text a token stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// A row for each place is added to the word's, and one for the first token type.
    Table {
        rows: usize,
        /// Row that the first token takes (2 in the `RoBERTa` family).
        offset: usize,
        /// Token that is not counted and takes the row of its own id, if there is one (1 in the `RoBERTa` family).
        padding: Option<usize>,
        /// Rows of the token type table; 0 for families without one.
        token_types: usize,
    },
    /// Queries and keys are turned by angles that grow with the place, with a base for each kind of layer.
    Rotations {
        /// The most tokens that a text can have. Nothing is stored for each of them.
        window: usize,
        global_theta: f32,
        local_theta: f32,
    },
}

/// What a layer's two halves add to, and what the second one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// BERT's: each half adds to what it read, and the sum is normalised. One matrix widens, with its activation.
    NormAfter,
    /// `ModernBERT`'s: each half adds to a sum that is never normalised itself, and what it reads is that sum normalised. The
    /// matrix that widens gives twice the intermediate size, inputs and gates: `activation(input) * gate`.
    NormBeforeGated,
}

/// What the layers compute in. What decides about words is in 32-bit numbers in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Int8,
    Fp32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// With the error function.
    Gelu,
    /// The tanh approximation.
    GeluTanh,
    Relu,
}

/// What a logit above zero weighs where weights are added up. (Where the largest counts, whoever asks does this once for each word.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saturation {
    /// `log(1 + x)`.
    Log,
    /// `log(1 + log(1 + x))`.
    DoubleLog,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShapeError {
    #[error("{field} is {found}, which is not in {minimum}..={maximum}")]
    OutOfBounds { field: &'static str, found: usize, minimum: usize, maximum: usize },
    #[error("the hidden size {hidden} is not a multiple of the {heads} attention heads")]
    Heads { hidden: usize, heads: usize },
    #[error("the first token takes position {offset}, but there are only {positions} positions")]
    Offset { offset: usize, positions: usize },
    #[error("the padding token {padding} has no row among {positions} positions")]
    Padding { padding: usize, positions: usize },
    #[error("heads of {head} columns cannot be turned, which takes an even number")]
    OddHead { head: usize },
    #[error("the base of rotations is {theta}, which is not a finite number from 1")]
    Theta { theta: String },
    #[error("the epsilon of layer norms is not a finite number above or equal to zero")]
    Epsilon,
}

pub(crate) const MAX_LAYERS: usize = 1024;
const MAX_TOKENS: usize = 1 << 17;
/// Beyond the longest text it changes nothing.
const MAX_REACH: usize = 1 << 22;

/// The 32-bit sums of a product hold rows of up to 66 000 numbers: 255 * 127 * 66 000 < 2^31.
const MAX_HIDDEN: usize = 16_384;

/// The feed-forward layer's activations have one scale for each run of at most this many columns: finer scales than one
/// for each row, and a run of a whole text stays in the second-level cache.
const FEED_FORWARD_RUN: usize = 768;

impl Shape {
    /// Checks every bound that sizes are computed under, so that no product of two sizes can overflow.
    pub fn check(&self) -> Result<(), ShapeError> {
        let Self {
            layers,
            hidden,
            heads,
            intermediate,
            vocabulary,
            positions,
            block: _,
            epsilon,
            activation: _,
            head_activation: _,
        } = self;
        bounded("layers", layers.len(), 1..=MAX_LAYERS)?;
        bounded("hidden", *hidden, 1..=MAX_HIDDEN)?;
        bounded("heads", *heads, 1..=1024)?;
        bounded("intermediate", *intermediate, 1..=1 << 18)?;
        bounded("vocabulary", *vocabulary, 1..=1 << 22)?;
        for sight in layers {
            if let Sight::Local { reach } = sight {
                bounded("reach", *reach, 0..=MAX_REACH)?;
            }
        }
        if !hidden.is_multiple_of(*heads) {
            return Err(ShapeError::Heads { hidden: *hidden, heads: *heads });
        }
        positions.check(self.head())?;
        if !epsilon.is_finite() || *epsilon < 0.0 {
            return Err(ShapeError::Epsilon);
        }
        Ok(())
    }

    /// The most tokens that a text can have.
    pub fn tokens(&self) -> usize {
        match self.positions {
            Positions::Table { rows, offset, .. } => rows - offset,
            Positions::Rotations { window, .. } => window,
        }
    }

    /// Outputs of the matrix that widens, for each column of what it becomes.
    pub(crate) fn widenings(&self) -> usize {
        match self.block {
            Block::NormAfter => 1,
            Block::NormBeforeGated => 2,
        }
    }

    pub(crate) fn head(&self) -> usize {
        self.hidden / self.heads
    }

    /// Columns of half a head with their padding: rotations take whole vectors of either half.
    pub(crate) fn half(&self) -> usize {
        (self.head() / 2).next_multiple_of(LANES)
    }

    /// Where a column of a head stands among those with padding.
    pub(crate) fn place_in_head(&self, column: usize) -> usize {
        match self.positions {
            Positions::Rotations { .. } if column >= self.head() / 2 => {
                self.half() + column - self.head() / 2
            }
            Positions::Table { .. } | Positions::Rotations { .. } => column,
        }
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let hidden = panels_of(self.hidden);
        let head = match self.positions {
            Positions::Table { .. } => self.head().next_multiple_of(LANES),
            Positions::Rotations { .. } => 2 * self.half(),
        };
        let heads_in_group = (PANEL / head).max(1).min(self.heads);
        let runs = self.intermediate.div_ceil(FEED_FORWARD_RUN);
        Sizes {
            hidden,
            head,
            heads_in_group,
            groups: self.heads.div_ceil(heads_in_group),
            group: panels_of(heads_in_group * head),
            runs,
            run: panels_of(self.intermediate.div_ceil(runs)),
            vocabulary: panels_of(self.vocabulary),
        }
    }
}

impl Positions {
    fn check(self, head: usize) -> Result<(), ShapeError> {
        match self {
            Self::Table { rows, offset, padding, token_types } => {
                bounded("positions", rows, 1..=MAX_TOKENS)?;
                bounded("token_types", token_types, 0..=1 << 16)?;
                if offset >= rows {
                    return Err(ShapeError::Offset { offset, positions: rows });
                }
                match padding.filter(|padding| *padding >= rows) {
                    Some(padding) => Err(ShapeError::Padding { padding, positions: rows }),
                    None => Ok(()),
                }
            }
            Self::Rotations { window, global_theta, local_theta } => {
                bounded("positions", window, 1..=MAX_TOKENS)?;
                if !head.is_multiple_of(2) {
                    return Err(ShapeError::OddHead { head });
                }
                match [global_theta, local_theta]
                    .into_iter()
                    .find(|theta| !(1.0..f32::INFINITY).contains(theta))
                {
                    Some(theta) => Err(ShapeError::Theta { theta: theta.to_string() }),
                    None => Ok(()),
                }
            }
        }
    }
}

fn bounded(field: &'static str, found: usize, bounds: RangeInclusive<usize>) -> Result<(), ShapeError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    let (minimum, maximum) = bounds.into_inner();
    Err(ShapeError::OutOfBounds { field, found, minimum, maximum })
}

fn panels_of(columns: usize) -> usize {
    columns.next_multiple_of(PANEL)
}

/// Sizes with the padding that the kernels want. Padded weights are zero, so padding stays zero through every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) hidden: usize,
    /// Columns of one attention head.
    pub(crate) head: usize,
    /// Narrow heads share a panel: what one thread works on is a group of heads.
    pub(crate) heads_in_group: usize,
    pub(crate) groups: usize,
    /// Columns of a group.
    pub(crate) group: usize,
    pub(crate) runs: usize,
    /// Columns of one run of the feed-forward layer.
    pub(crate) run: usize,
    pub(crate) vocabulary: usize,
}

impl Sizes {
    /// Columns of all groups: the width of the attention's output before its projection.
    pub(crate) fn context(&self) -> usize {
        self.groups * self.group
    }

    pub(crate) fn intermediate(&self) -> usize {
        self.runs * self.run
    }

    /// Where head `index` begins among the columns of all groups.
    pub(crate) fn head_start(&self, index: usize) -> usize {
        index / self.heads_in_group * self.group + index % self.heads_in_group * self.head
    }
}
