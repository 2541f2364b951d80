//! The vocabulary where all tokens of a text count for a word, not only the strongest: each logit above zero adds what it weighs. Every logit is
//! computed in 32-bit numbers, a few words by 64 tokens at a time, and none of them is kept.

use std::ops::Range;

use crate::isa::{LANES, PANEL, Product, ROWS, Simd, VECTORS, Work};
use crate::math::{lanes, saturate, sum};
use crate::shape::Saturation;

/// Some words, for one text.
pub(crate) struct Summing<'a> {
    /// The text's states: `[tokens / 64][hidden][64]`.
    pub(crate) columns: &'a [f32],
    pub(crate) tokens: usize,
    /// The decoder's rows: `[vocabulary][hidden]`.
    pub(crate) numbers: &'a [f32],
    pub(crate) width: usize,
    pub(crate) biases: &'a [f32],
    pub(crate) words: Range<usize>,
    pub(crate) saturation: Saturation,
    pub(crate) to: &'a mut Vec<(u32, f32)>,
}

impl Work for Summing<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(mut self, simd: S) {
        let words = self.words.clone();
        for first in words.clone().step_by(ROWS) {
            match words.end - first {
                1 => self.block::<S, 1>(simd, first),
                2 => self.block::<S, 2>(simd, first),
                3 => self.block::<S, 3>(simd, first),
                4 => self.block::<S, 4>(simd, first),
                5 => self.block::<S, 5>(simd, first),
                _ => self.block::<S, ROWS>(simd, first),
            }
        }
    }
}

impl Summing<'_> {
    /// `R` words from `first` on. Tokens are added up in sixteen lanes, in the order of the text.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "ids are bounded")]
    fn block<S: Simd, const R: usize>(&mut self, simd: S, first: usize) {
        let zero = simd.splat(0.0);
        let mut totals = [zero; R];
        for (panel, table) in self.columns.chunks_exact(self.width * PANEL).enumerate() {
            let work = Product {
                rows: &self.numbers[first * self.width..],
                stride: self.width,
                table,
                table_stride: PANEL,
                depth: self.width,
                ahead: &[],
            };
            let mut products = [[zero; VECTORS]; R];
            simd.product(&work, &mut products);
            for (row, (total, products)) in totals.iter_mut().zip(&products).enumerate() {
                let bias = simd.splat(self.biases[first + row]);
                for (vector, product) in products.iter().enumerate() {
                    let left = self.tokens.saturating_sub(panel * PANEL + vector * LANES);
                    let logit = before(simd, simd.add(*product, bias), left);
                    // Most words mean nothing to most tokens.
                    if simd.above(logit, zero) != 0 {
                        let weight = saturate(simd, self.saturation, simd.larger(logit, zero));
                        *total = simd.add(*total, weight);
                    }
                }
            }
        }
        for (row, total) in totals.into_iter().enumerate() {
            let weight = sum(lanes(simd, total));
            if weight > 0.0 && weight.is_finite() {
                self.to.push(((first + row) as u32, weight));
            }
        }
    }
}

/// Only the first lanes: what stands behind the last token is none.
#[inline(always)]
fn before<S: Simd>(simd: S, vector: S::Vector, left: usize) -> S::Vector {
    if left >= LANES {
        return vector;
    }
    let mut lanes = lanes(simd, vector);
    lanes[left..].fill(0.0);
    simd.load(&lanes)
}
