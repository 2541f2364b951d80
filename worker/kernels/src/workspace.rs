//! Memory that one text at a time runs in. It grows to the longest text so far, which the shape bounds, and is reused.

use crate::attention::AttentionScratch;
use crate::head::{Margin, Pair};
use crate::isa::PANEL;
use crate::model::Model;
use crate::rotation::Turns;
use crate::rows::ByteRows;
use crate::shape::Precision;

#[derive(Debug, Default)]
pub struct Workspace {
    /// `[token][hidden]`, normalised: what a layer's next half reads.
    pub(crate) states: Vec<f32>,
    /// The same as bytes.
    pub(crate) state_bytes: ByteRows,
    /// What a layer adds up to before its norm: `[panel][token][64]`. Where norms stand before, it is never begun anew.
    pub(crate) sums: Vec<f32>,
    /// Attention's output, or one run of the feed-forward layer: `[panel][token][64]`.
    pub(crate) wide: Vec<f32>,
    /// The same row by row, as bytes or as numbers.
    pub(crate) wide_bytes: ByteRows,
    pub(crate) wide_rows: Vec<f32>,
    /// Of global and of local layers, where places are told by rotations.
    pub(crate) turns: [Turns; 2],
    pub(crate) margins: Vec<Margin>,
    /// The last states of one text, for sums: `[tokens / 64][hidden][64]`.
    pub(crate) columns: Vec<f32>,
    pub(crate) parts: Vec<PartSpace>,
}

/// What each part of a step has for itself.
#[derive(Debug, Default)]
pub(crate) struct PartSpace {
    pub(crate) attention: AttentionScratch,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) rescored: usize,
    pub(crate) found: Vec<Vec<(u32, f32)>>,
}

impl Workspace {
    pub fn new() -> Self {
        Self::default()
    }

    /// Pairs of token and word that the last text's head computed in 32-bit numbers.
    pub fn rescored(&self) -> usize {
        self.parts.iter().map(|part| part.rescored).sum()
    }

    pub(crate) fn resize(&mut self, tokens: usize, texts: usize, parts: usize, model: &Model) {
        let sizes = &model.sizes;
        self.states.resize(tokens * sizes.hidden, 0.0);
        self.state_bytes.resize(tokens, sizes.hidden);
        self.sums.resize(tokens * sizes.hidden, 0.0);
        let wide = tokens * sizes.context().max(sizes.run);
        self.wide.resize(wide, 0.0);
        self.wide_rows.resize(if model.precision() == Precision::Fp32 { wide } else { 0 }, 0.0);
        self.margins.resize(tokens, Margin::default());
        // Those of a wide text stay for the next one.
        if self.parts.len() < parts {
            self.parts.resize_with(parts, PartSpace::default);
        }
        for part in &mut self.parts[..parts] {
            part.attention.resize(tokens, sizes);
        }
        for part in &mut self.parts {
            part.rescored = 0;
            part.found.resize_with(texts, Vec::new);
            part.found.iter_mut().for_each(Vec::clear);
        }
    }
}

/// Numbers of a row in `[panel][token][64]`, vector by vector.
#[inline(always)]
pub(crate) fn row_of(
    panels: &[f32],
    tokens: usize,
    row: usize,
) -> impl Iterator<Item = &[f32; crate::isa::LANES]> + Clone {
    panels.chunks_exact(tokens * PANEL).flat_map(move |panel| panel[row * PANEL..][..PANEL].as_chunks().0)
}
