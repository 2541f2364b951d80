//! What a model looks like, and the padded sizes that follow from it. PURE.

use crate::isa::{LANES, PANEL};

/// Sizes of a BERT-like masked-language model.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub vocabulary: usize,
    /// Rows of the position table.
    pub positions: usize,
    /// Rows of the token type table; 0 for families without one.
    pub token_types: usize,
    /// Row of the position table that the first token takes (2 in the `RoBERTa` family).
    pub position_offset: usize,
    /// Token that is not counted and takes the position row of its own id, if there is one (1 in the `RoBERTa` family).
    pub padding: Option<usize>,
    pub epsilon: f32,
    pub activation: Activation,
    /// That of the masked-language head.
    pub head_activation: Activation,
}

/// What the layers compute in. The vocabulary is screened in bytes and decided in 32-bit numbers in both.
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
    #[error("the epsilon of layer norms is not a finite number above or equal to zero")]
    Epsilon,
}

/// The 32-bit sums of a product hold rows of up to 66 000 numbers: 255 * 127 * 66 000 < 2^31.
const MAX_HIDDEN: usize = 16_384;

/// The feed-forward layer's activations have one scale for each run of at most this many columns: finer scales than one
/// for each row, and a run of a whole text stays in the second-level cache.
const FEED_FORWARD_RUN: usize = 768;

impl Shape {
    /// Checks every bound that sizes are computed under, so that no product of two sizes can overflow.
    pub fn check(&self) -> Result<(), ShapeError> {
        let &Self {
            layers,
            hidden,
            heads,
            intermediate,
            vocabulary,
            positions,
            token_types,
            position_offset,
            padding,
            epsilon,
            activation: _,
            head_activation: _,
        } = self;
        for (field, found, minimum, maximum) in [
            ("layers", layers, 1, 1024),
            ("hidden", hidden, 1, MAX_HIDDEN),
            ("heads", heads, 1, 1024),
            ("intermediate", intermediate, 1, 1 << 18),
            ("vocabulary", vocabulary, 1, 1 << 22),
            ("positions", positions, 1, 1 << 17),
            ("token_types", token_types, 0, 1 << 16),
        ] {
            if !(minimum..=maximum).contains(&found) {
                return Err(ShapeError::OutOfBounds { field, found, minimum, maximum });
            }
        }
        if !hidden.is_multiple_of(heads) {
            return Err(ShapeError::Heads { hidden, heads });
        }
        if position_offset >= positions {
            return Err(ShapeError::Offset { offset: position_offset, positions });
        }
        if let Some(padding) = padding.filter(|padding| *padding >= positions) {
            return Err(ShapeError::Padding { padding, positions });
        }
        if !epsilon.is_finite() || epsilon < 0.0 {
            return Err(ShapeError::Epsilon);
        }
        Ok(())
    }

    /// The most tokens that a text can have.
    pub fn tokens(&self) -> usize {
        self.positions - self.position_offset
    }

    /// Rows of the position table that are used: one for each token, and the padding's.
    pub(crate) fn position_rows(&self) -> usize {
        self.tokens() + usize::from(self.padding.is_some())
    }

    pub(crate) fn head(&self) -> usize {
        self.hidden / self.heads
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let hidden = panels_of(self.hidden);
        let head = self.head().next_multiple_of(LANES);
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
