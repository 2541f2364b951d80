//! The vocabulary: bytes find the words that can have a logit above zero, and only those are computed in 32-bit numbers.
//!
//! For a token's state `x = s q + e` and a word's row `w = t r + f`, the product of bytes `s t (q . r)` is off by
//! `e . w + s q . f`, which is at most `|e| |w| + |s q| |f|`. A pair of token and word whose product, bias and bound
//! together are not above zero cannot matter; nor can one that stays below what another token has reached.

pub(crate) mod sums;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::dense::{panel_and_next, vectors};
use crate::isa::{LANES, PANEL, Simd, VECTORS, Work};
use crate::math::{lanes, sum};
use crate::rows::{BytePanel, ByteRowsView, Epilogue, multiply};

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

/// The margin of a token's state, given what became of it. `part` is the largest part of its
/// length that a column lost.
#[inline(always)]
pub(crate) fn margin<S: Simd>(simd: S, state: &[f32], bytes: &[i8], scale: f32, part: f32) -> Margin {
    let (mut lost, mut kept) = (simd.splat(0.0), simd.splat(0.0));
    for (state, bytes) in state.as_chunks::<LANES>().0.iter().zip(bytes.as_chunks::<LANES>().0) {
        let stands = simd.load(&bytes.map(f32::from));
        let stands = simd.multiply(stands, simd.splat(scale));
        let error = simd.subtract(simd.load(state), stands);
        lost = simd.fused(error, error, lost);
        kept = simd.fused(stands, stands, kept);
    }
    let (lost, kept) = (sum(lanes(simd, lost)).sqrt(), sum(lanes(simd, kept)).sqrt());
    let bound = lost + kept * part + (lost + kept) * ROUNDING;
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
        for panel in panels {
            let first = panel * PANEL;
            let (panel, next) = panel_and_next(decoder.panels, rows.width, panel);
            for (index, (text, to)) in texts.iter().zip(to.iter_mut()).enumerate() {
                pairs.clear();
                let mut screen = Screen {
                    rows,
                    margins,
                    scales: &decoder.scales[first..][..PANEL],
                    biases: &decoder.biases[first..][..PANEL],
                    scaled_biases: vectors(&decoder.scaled_biases[first..]),
                    scaled_norms: vectors(&decoder.scaled_norms[first..]),
                    strongest: [Strongest { logit: f32::MIN, row: text.start }; PANEL],
                    seen: 0,
                    words: decoder.numbers.get(first * rows.width..).unwrap_or_default(),
                    pairs,
                };
                let ahead = if index == 0 { next } else { &[] };
                multiply(simd, BytePanel { rows, panel, ahead }, text.clone(), &mut screen);
                // Padding of the last panel is no word, whatever a damaged file says of it.
                let words = PANEL.min(decoder.vocabulary - first);
                let (strongest, seen) = (&{ screen.strongest }, screen.seen & (u64::MAX >> (PANEL - words)));
                let decision = Decision { states, width: rows.width, decoder, first, strongest, seen };
                *rescored += decision.decide(simd, pairs, to);
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
    /// A bit for each word that was found.
    seen: u64,
    /// The panel's rows of the decoder.
    words: &'a [f32],
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
                let mut new = found & !self.seen;
                self.seen |= found;
                while new != 0 {
                    let start = new.trailing_zeros() as usize * self.rows.width;
                    new &= new - 1;
                    // Main memory answers while the rest of the panel is screened.
                    simd.request(self.words.get(start..start + self.rows.width).unwrap_or_default());
                }
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

/// The places of the bits that are set, lowest first.
#[inline(always)]
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (place < PANEL).then_some(place)
    })
}

/// Rows of a word that are computed at once: the word is then read once for all of them.
const TOGETHER: usize = 4;

/// What is left of a panel, computed in 32-bit numbers.
struct Decision<'a> {
    states: &'a [f32],
    width: usize,
    decoder: Decoder<'a>,
    /// The panel's first id.
    first: usize,
    strongest: &'a [Strongest; PANEL],
    /// A bit for each word that was found.
    seen: u64,
}

impl Decision<'_> {
    /// Appends the words above zero, and returns how many pairs were computed.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "ids are bounded")]
    fn decide<S: Simd>(&self, simd: S, pairs: &[Pair], to: &mut Vec<(u32, f32)>) -> usize {
        if pairs.is_empty() {
            return 0;
        }
        let mut best = [0.0_f32; PANEL];
        let mut computed = 0;
        // The likeliest token of each word first: few others can then still be above it.
        for column in bits(self.seen) {
            best[column] = best[column].max(self.best::<S, 1>(simd, [self.strongest[column].row], column));
            computed += 1;
        }
        let (mut rows, mut waiting) = ([[0_usize; TOGETHER]; PANEL], [0_usize; PANEL]);
        for pair in pairs {
            let (column, row) = (usize::from(pair.column), pair.row as usize);
            let is_open = self.seen >> column & 1 == 1 && pair.most > best[column];
            if is_open && row != self.strongest[column].row {
                rows[column][waiting[column]] = row;
                waiting[column] += 1;
                computed += 1;
                if waiting[column] == TOGETHER {
                    best[column] = best[column].max(self.best::<S, TOGETHER>(simd, rows[column], column));
                    waiting[column] = 0;
                }
            }
        }
        for column in bits(self.seen) {
            for row in &rows[column][..waiting[column]] {
                best[column] = best[column].max(self.best::<S, 1>(simd, [*row], column));
            }
            if best[column] > 0.0 && best[column].is_finite() {
                to.push(((self.first + column) as u32, best[column]));
            }
        }
        computed
    }

    /// The largest logit of a word among some tokens.
    #[inline(always)]
    fn best<S: Simd, const N: usize>(&self, simd: S, rows: [usize; N], column: usize) -> f32 {
        let id = self.first + column;
        let word = self.decoder.numbers[id * self.width..][..self.width].as_chunks::<LANES>().0;
        let mut states = [word; N];
        for (state, row) in states.iter_mut().zip(rows) {
            *state = self.states[row * self.width..][..self.width].as_chunks().0;
        }
        // Four running sums of each hide the latency of the additions.
        let mut sums = [[simd.splat(0.0); VECTORS]; N];
        for (index, word) in word.as_chunks::<VECTORS>().0.iter().enumerate() {
            for (sums, state) in sums.iter_mut().zip(&states) {
                let state = &state[index * VECTORS..][..VECTORS];
                for (sum, (state, word)) in sums.iter_mut().zip(state.iter().zip(word)) {
                    *sum = simd.fused(simd.load(state), simd.load(word), *sum);
                }
            }
        }
        let mut best = f32::MIN;
        for [a, b, c, d] in sums {
            let product = sum(lanes(simd, simd.add(simd.add(a, b), simd.add(c, d))));
            best = best.max(product + self.decoder.biases[id]);
        }
        best
    }
}
