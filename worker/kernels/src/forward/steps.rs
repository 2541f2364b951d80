//! Steps that work row by row: every thread has some of the tokens.

use std::ops::Range;

use crate::head::{Margin, margin};
use crate::isa::{LANES, Simd, Work};
use crate::math::{Norm, magnitude, normalise, quantise};
use crate::rows::{ByteRowsMut, ByteRowsView};
use crate::workspace::row_of;

/// Words, with their positions where those are in a table, normalised.
pub(super) struct Embeddings<'a> {
    pub(super) ids: &'a [u32],
    /// The largest id.
    pub(super) last: usize,
    pub(super) words: &'a [f32],
    pub(super) places: Option<Table<'a>>,
    pub(super) norm: Norm<'a>,
    pub(super) states: &'a mut [f32],
    /// Where their bytes are read next.
    pub(super) bytes: Option<ByteRowsMut<'a>>,
    pub(super) hidden: usize,
}

/// Rows of the table of positions.
pub(super) struct Table<'a> {
    /// One for each token.
    pub(super) rows: &'a [usize],
    pub(super) numbers: &'a [f32],
}

impl Work for Embeddings<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(mut self, simd: S) {
        let hidden = self.hidden;
        let mut sum = vec![0.0; hidden];
        let rows = self.ids.iter().zip(self.states.chunks_exact_mut(hidden)).enumerate();
        for (row, (id, state)) in rows {
            let id = usize::try_from(*id).map_or(self.last, |id| id.min(self.last));
            sum.copy_from_slice(&self.words[id * hidden..][..hidden]);
            if let Some(Table { rows, numbers }) = &self.places {
                let position = numbers[rows[row] * hidden..][..hidden].as_chunks::<LANES>().0;
                for (sum, position) in sum.as_chunks_mut().0.iter_mut().zip(position) {
                    simd.store(simd.add(simd.load(sum), simd.load(position)), sum);
                }
            }
            let top = normalise(simd, self.norm, sum.as_chunks().0.iter(), state);
            if let Some(bytes) = &mut self.bytes {
                let scaled = quantise(simd, top, state.as_chunks().0.iter(), bytes.row(row));
                bytes.set(row, scaled);
            }
        }
    }
}

pub(super) struct Normalised<'a> {
    pub(super) panels: &'a [f32],
    pub(super) tokens: usize,
    pub(super) norm: Norm<'a>,
    pub(super) rows: Range<usize>,
    pub(super) states: &'a mut [f32],
    /// Where their bytes are read next.
    pub(super) bytes: Option<ByteRowsMut<'a>>,
    pub(super) hidden: usize,
}

impl Work for Normalised<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(mut self, simd: S) {
        let states = self.states.chunks_exact_mut(self.hidden);
        for (index, (row, state)) in self.rows.zip(states).enumerate() {
            let top = normalise(simd, self.norm, row_of(self.panels, self.tokens, row), state);
            if let Some(bytes) = &mut self.bytes {
                let scaled = quantise(simd, top, state.as_chunks().0.iter(), bytes.row(index));
                bytes.set(index, scaled);
            }
        }
    }
}

pub(super) struct Quantised<'a> {
    pub(super) panels: &'a [f32],
    pub(super) tokens: usize,
    pub(super) rows: Range<usize>,
    pub(super) bytes: ByteRowsMut<'a>,
}

impl Work for Quantised<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(mut self, simd: S) {
        for (index, row) in self.rows.enumerate() {
            let top = magnitude(simd, row_of(self.panels, self.tokens, row));
            let scaled = quantise(simd, top, row_of(self.panels, self.tokens, row), self.bytes.row(index));
            self.bytes.set(index, scaled);
        }
    }
}

/// Rows of panels, one after the other.
pub(super) struct Turned<'a> {
    pub(super) panels: &'a [f32],
    pub(super) tokens: usize,
    pub(super) rows: Range<usize>,
    pub(super) width: usize,
    pub(super) to: &'a mut [f32],
}

impl Work for Turned<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        for (row, to) in self.rows.zip(self.to.chunks_exact_mut(self.width)) {
            let vectors = row_of(self.panels, self.tokens, row).zip(to.as_chunks_mut().0);
            vectors.for_each(|(vector, to)| simd.store(simd.load(vector), to));
        }
    }
}

pub(super) struct Margins<'a> {
    pub(super) states: &'a [f32],
    pub(super) rows: ByteRowsView<'a>,
    pub(super) hidden: usize,
    pub(super) loss: f32,
    pub(super) to: &'a mut [Margin],
}

impl Work for Margins<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        let states = self.states.chunks_exact(self.hidden);
        for (((state, bytes), scale), to) in
            states.zip(self.rows.bytes.chunks_exact(self.hidden)).zip(self.rows.scales).zip(self.to)
        {
            *to = margin(simd, state, bytes, *scale, self.loss);
        }
    }
}
