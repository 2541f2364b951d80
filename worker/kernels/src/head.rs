//! The vocabulary: bytes find the words that can have a logit above zero, and only those are computed in 32-bit numbers.
//!
//! For a token's state `x = s q + e` and a word's row `w = t r + f`, the product of bytes `s t (q . r)` is off by
//! `e . w + s q . f`, which is at most `|e| |w| + |s q| |f|`. A pair of token and word whose product, bias and bound
//! together are not above zero cannot matter; nor can one that stays below what another token has reached.

use std::ops::Range;

use crate::dense::vectors;
use crate::isa::{LANES, PANEL, Simd, VECTORS, Work};
use crate::layout::panel_bytes;
use crate::math::{lanes, sum};
use crate::rows::{ByteRowsView, Epilogue, multiply};

/// Covers the rounding of the sums themselves, relative to the product of the lengths.
const ROUNDING: f32 = 1e-5;

/// The error bound's factors of a token, divided by its scale.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Margin {
    /// Times a column's scaled length: the bound.
    pub(crate) bound: f32,
    /// Times a column's scaled bias: the bias.
    pub(crate) inverse: f32,
}

/// The margin of a token's state, given what became of it. `loss` is the largest relative error of a column.
#[inline(always)]
pub(crate) fn margin<S: Simd>(simd: S, state: &[f32], bytes: &[i8], scale: f32, loss: f32) -> Margin {
    let (mut lost, mut kept) = (simd.splat(0.0), simd.splat(0.0));
    for (state, bytes) in state.as_chunks::<LANES>().0.iter().zip(bytes.as_chunks::<LANES>().0) {
        let stands = simd.load(&bytes.map(f32::from));
        let stands = simd.multiply(stands, simd.splat(scale));
        let error = simd.subtract(simd.load(state), stands);
        lost = simd.fused(error, error, lost);
        kept = simd.fused(stands, stands, kept);
    }
    let (lost, kept) = (sum(lanes(simd, lost)).sqrt(), sum(lanes(simd, kept)).sqrt());
    let bound = lost + kept * loss + (lost + kept) * ROUNDING;
    Margin { bound: bound * (1.0 + ROUNDING) / scale, inverse: 1.0 / scale }
}

/// A token and a word that may matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    row: u32,
    column: u8,
    /// The logit is at most this.
    most: f32,
}

/// The token with the largest logit of a word by its bytes.
#[derive(Clone, Copy, Debug)]
struct Strongest {
    logit: f32,
    row: usize,
}

/// The decoder: bytes to screen with, and numbers to decide.
#[derive(Clone, Copy)]
pub(crate) struct Decoder<'a> {
    pub(crate) panels: &'a [u8],
    pub(crate) scales: &'a [f32],
    pub(crate) biases: &'a [f32],
    pub(crate) scaled_biases: &'a [f32],
    pub(crate) scaled_norms: &'a [f32],
    /// `[vocabulary][hidden]`.
    pub(crate) numbers: &'a [f32],
    pub(crate) vocabulary: usize,
}

/// Some panels of the vocabulary, for all texts.
pub(crate) struct Screening<'a> {
    pub(crate) rows: ByteRowsView<'a>,
    pub(crate) states: &'a [f32],
    pub(crate) margins: &'a [Margin],
    pub(crate) texts: &'a [Range<usize>],
    pub(crate) decoder: Decoder<'a>,
    pub(crate) panels: Range<usize>,
    pub(crate) pairs: &'a mut Vec<Pair>,
    /// Pairs that were computed in 32-bit numbers are counted here.
    pub(crate) rescored: &'a mut usize,
    /// One list for each text.
    pub(crate) to: &'a mut [Vec<(u32, f32)>],
}

impl Work for Screening<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        let Self { rows, states, margins, texts, decoder, panels, pairs, rescored, to } = self;
        let bytes = panel_bytes(rows.width);
        for panel in panels {
            let first = panel * PANEL;
            let ahead = decoder.panels.get((panel + 1) * bytes..).unwrap_or_default();
            let ahead = &ahead[..ahead.len().min(bytes)];
            for (index, (text, to)) in texts.iter().zip(to.iter_mut()).enumerate() {
                pairs.clear();
                let mut screen = Screen {
                    rows,
                    margins,
                    scales: &decoder.scales[first..][..PANEL],
                    biases: &decoder.biases[first..][..PANEL],
                    scaled_biases: vectors(&decoder.scaled_biases[first..]),
                    scaled_norms: vectors(&decoder.scaled_norms[first..]),
                    strongest: [Strongest { logit: f32::MIN, row: 0 }; PANEL],
                    pairs,
                };
                let ahead = if index == 0 { ahead } else { &[] };
                let panel = &decoder.panels[panel * bytes..][..bytes];
                multiply(simd, rows, text.clone(), panel, ahead, &mut screen);
                let strongest = screen.strongest;
                *rescored += decide(simd, states, rows.width, decoder, first, pairs, &strongest, to);
            }
        }
    }
}

struct Screen<'a> {
    rows: ByteRowsView<'a>,
    margins: &'a [Margin],
    scales: &'a [f32],
    biases: &'a [f32],
    scaled_biases: &'a [[f32; LANES]; VECTORS],
    scaled_norms: &'a [[f32; LANES]; VECTORS],
    strongest: [Strongest; PANEL],
    pairs: &'a mut Vec<Pair>,
}

impl<S: Simd> Epilogue<S> for Screen<'_> {
    #[inline(always)]
    fn block<const R: usize>(&mut self, simd: S, row: usize, sums: &[[S::Vector; VECTORS]; R]) {
        let zero = simd.splat(0.0);
        for (index, sums) in sums.iter().enumerate() {
            let margin = self.margins[row + index];
            let (bound, inverse) = (simd.splat(margin.bound), simd.splat(margin.inverse));
            let mut found = 0_u64;
            for (vector, sum) in sums.iter().enumerate() {
                let most = simd.fused(simd.load(&self.scaled_norms[vector]), bound, *sum);
                let most = simd.fused(simd.load(&self.scaled_biases[vector]), inverse, most);
                found |= u64::from(simd.above(most, zero)) << (vector * LANES);
            }
            if found != 0 {
                let mut numbers = [[0.0; LANES]; VECTORS];
                for (sum, numbers) in sums.iter().zip(&mut numbers) {
                    simd.store(*sum, numbers);
                }
                self.remember(row + index, found, &numbers);
            }
        }
    }
}

impl Screen<'_> {
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "positions and panels are bounded")]
    fn remember(&mut self, row: usize, mut found: u64, sums: &[[f32; LANES]; VECTORS]) {
        let (scale, margin) = (self.rows.scales[row], self.margins[row]);
        while found != 0 {
            let column = found.trailing_zeros() as usize;
            found &= found - 1;
            let scale = scale * self.scales[column];
            let logit = sums[column / LANES][column % LANES] * scale + self.biases[column];
            let bound = self.scaled_norms[column / LANES][column % LANES] * margin.bound * scale;
            if logit > self.strongest[column].logit {
                self.strongest[column] = Strongest { logit, row };
            }
            self.pairs.push(Pair { row: row as u32, column: column as u8, most: logit + bound });
        }
    }
}

/// Computes what is left, and appends the words above zero.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    clippy::cast_possible_truncation,
    reason = "inlined at its one call; ids are bounded"
)]
fn decide<S: Simd>(
    simd: S,
    states: &[f32],
    width: usize,
    decoder: Decoder<'_>,
    first: usize,
    pairs: &[Pair],
    strongest: &[Strongest; PANEL],
    to: &mut Vec<(u32, f32)>,
) -> usize {
    let mut best = [0.0_f32; PANEL];
    let mut rescored = 0;
    // The likeliest token of each word first: few others can then still be above it.
    for (column, strongest) in strongest.iter().enumerate() {
        if strongest.logit > f32::MIN && first + column < decoder.vocabulary {
            best[column] =
                best[column].max(logit(simd, states, width, decoder, strongest.row, first + column));
            rescored += 1;
        }
    }
    for pair in pairs {
        let (column, row) = (usize::from(pair.column), pair.row as usize);
        if pair.most > best[column] && row != strongest[column].row && first + column < decoder.vocabulary {
            best[column] = best[column].max(logit(simd, states, width, decoder, row, first + column));
            rescored += 1;
        }
    }
    if rescored > 0 {
        let found = best.iter().enumerate().filter(|(_, logit)| **logit > 0.0 && logit.is_finite());
        to.extend(found.map(|(column, logit)| ((first + column) as u32, *logit)));
    }
    rescored
}

/// Not a closure: those would be compiled without the instruction set.
#[inline(always)]
fn logit<S: Simd>(simd: S, states: &[f32], width: usize, decoder: Decoder<'_>, row: usize, id: usize) -> f32 {
    let (state, word) = (&states[row * width..][..width], &decoder.numbers[id * width..][..width]);
    inner(simd, state, word) + decoder.biases[id]
}

/// Four running sums hide the latency of the additions.
#[inline(always)]
fn inner<S: Simd>(simd: S, left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [simd.splat(0.0); VECTORS];
    let (left, right) = (left.as_chunks::<LANES>().0, right.as_chunks::<LANES>().0);
    for (left, right) in left.as_chunks::<VECTORS>().0.iter().zip(right.as_chunks::<VECTORS>().0) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum = simd.fused(simd.load(left), simd.load(right), *sum);
        }
    }
    let [a, b, c, d] = sums;
    sum(lanes(simd, simd.add(simd.add(a, b), simd.add(c, d))))
}
