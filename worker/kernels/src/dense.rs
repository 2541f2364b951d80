//! Linear layers: rows times packed weights, with what follows done while the sums are in registers.

use std::ops::Range;

use crate::isa::{LANES, PANEL, Simd, VECTORS, Work};
use crate::math::activate;
use crate::model::Weights;
use crate::rows::{BytePanel, Epilogue, Factors, NumberPanel, multiply, multiply_numbers};
use crate::shape::Activation;

/// What becomes of a product.
#[derive(Clone, Copy)]
pub(crate) enum After<'a> {
    Bias,
    Activation(Activation),
    /// Panels come in pairs, inputs and their gates, of which one becomes: `activation(input) * gate`.
    Gated(Activation),
    /// Adds rows of this width, of which the layer's columns are a part.
    Residual {
        rows: &'a [f32],
        width: usize,
    },
    /// Adds to what is there already.
    Sum,
    /// Adds to what an earlier run of inputs left, without the bias.
    Accumulate,
    /// Multiplies what is there already.
    Gate,
}

impl After<'_> {
    /// For the panel at `index`, and where its result belongs.
    #[inline(always)]
    fn of_panel(self, index: usize) -> (Self, usize) {
        match self {
            Self::Gated(activation) if index.is_multiple_of(2) => (Self::Activation(activation), index / 2),
            Self::Gated(_) => (Self::Gate, index / 2),
            Self::Bias
            | Self::Activation(_)
            | Self::Residual { .. }
            | Self::Sum
            | Self::Accumulate
            | Self::Gate => (self, index),
        }
    }
}

/// Some panels of a linear layer, for all tokens: `[panel][token][64]`. (With gates they are panels of the weights, and half as many
/// come of them; one loop for both, as each instance of the product is minutes of compiling.)
pub(crate) struct Dense<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) tokens: usize,
    /// First panel of the weights, and of their scales and biases.
    pub(crate) panels: Range<usize>,
    pub(crate) columns: usize,
    pub(crate) after: After<'a>,
    pub(crate) to: &'a mut [f32],
}

impl Work for Dense<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        let Self { weights: Weights { factors, scales, biases }, tokens, panels, columns, after, to } = self;
        let mut partial = match factors {
            Factors::Bytes { .. } => Vec::new(),
            Factors::Numbers { .. } => vec![[0.0; LANES]; tokens * VECTORS],
        };
        for (index, panel) in panels.enumerate() {
            let first = columns + index * PANEL;
            let (after, place) = after.of_panel(index);
            let to = &mut to[place * tokens * PANEL..][..tokens * PANEL];
            let mut store = Store {
                row_scales: None,
                scales: vectors(&scales[first..]),
                biases: vectors(&biases[first..]),
                after,
                first,
                to: to.as_chunks_mut().0,
            };
            match factors {
                Factors::Bytes { rows, panels } => {
                    store.row_scales = Some(rows.scales);
                    let (panel, ahead) = panel_and_next(panels, rows.width, panel);
                    multiply(simd, BytePanel { rows, panel, ahead }, 0..tokens, &mut store);
                }
                Factors::Numbers { rows, panels } => {
                    let (panel, ahead) = panel_and_next(panels, rows.width, panel);
                    multiply_numbers(simd, NumberPanel { rows, panel, ahead }, &mut partial, &mut store);
                }
            }
        }
    }
}

/// A panel of this depth, and the one after it, or nothing.
#[inline(always)]
pub(crate) fn panel_and_next<T>(panels: &[T], depth: usize, index: usize) -> (&[T], &[T]) {
    let size = depth * PANEL;
    let (panel, rest) = panels[index * size..].split_at(size);
    (panel, &rest[..rest.len().min(size)])
}

/// The first panel's vectors.
#[inline(always)]
pub(crate) fn vectors(numbers: &[f32]) -> &[[f32; LANES]; VECTORS] {
    numbers.as_chunks().0.first_chunk().expect("every layer's width is a multiple of a panel's")
}

struct Store<'a> {
    /// What a row's bytes stand for; a number stands for itself.
    row_scales: Option<&'a [f32]>,
    scales: &'a [[f32; LANES]; VECTORS],
    biases: &'a [[f32; LANES]; VECTORS],
    after: After<'a>,
    first: usize,
    to: &'a mut [[f32; LANES]],
}

impl<S: Simd> Epilogue<S> for Store<'_> {
    #[inline(always)]
    fn block<const R: usize>(&mut self, simd: S, row: usize, sums: &[[S::Vector; VECTORS]; R]) {
        for (index, sums) in sums.iter().enumerate() {
            let row = row + index;
            let scale = simd.splat(self.row_scales.map_or(1.0, |scales| scales[row]));
            let to = &mut self.to[row * VECTORS..][..VECTORS];
            for (vector, (sum, to)) in sums.iter().zip(to).enumerate() {
                let factor = simd.load(&self.scales[vector]);
                let sum = simd.multiply(*sum, scale);
                let value = match self.after {
                    After::Bias => simd.fused(sum, factor, simd.load(&self.biases[vector])),
                    After::Activation(activation) => {
                        let value = simd.fused(sum, factor, simd.load(&self.biases[vector]));
                        activate(simd, activation, value)
                    }
                    After::Residual { rows, width } => {
                        let residual = &vectors(&rows[row * width + self.first..])[vector];
                        let value = simd.fused(sum, factor, simd.load(&self.biases[vector]));
                        simd.add(value, simd.load(residual))
                    }
                    After::Sum => {
                        let value = simd.fused(sum, factor, simd.load(&self.biases[vector]));
                        simd.add(value, simd.load(to))
                    }
                    // Whole pairs were taken apart before.
                    After::Gate | After::Gated(_) => {
                        let value = simd.fused(sum, factor, simd.load(&self.biases[vector]));
                        simd.multiply(value, simd.load(to))
                    }
                    After::Accumulate => simd.fused(sum, factor, simd.load(to)),
                };
                simd.store(value, to);
            }
        }
    }
}
