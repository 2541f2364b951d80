//! Rows of activations as bytes, and their product with packed weights.

use std::ops::Range;

use crate::isa::{Dot, PANEL, ROWS, Simd, VECTORS};
use crate::math::Scaled;

/// One row for each token: bytes, and what turns their products back into numbers.
#[derive(Debug, Default)]
pub(crate) struct ByteRows {
    bytes: Vec<i8>,
    scales: Vec<f32>,
    starts: Vec<i32>,
    width: usize,
}

impl ByteRows {
    pub(crate) fn resize(&mut self, rows: usize, width: usize) {
        self.width = width;
        self.bytes.resize(rows * width, 0);
        self.scales.resize(rows, 0.0);
        self.starts.resize(rows, 0);
    }

    pub(crate) fn view(&self) -> ByteRowsView<'_> {
        ByteRowsView { bytes: &self.bytes, scales: &self.scales, starts: &self.starts, width: self.width }
    }

    /// Cut at the ends of `ranges`, which follow each other from row 0.
    pub(crate) fn split(&mut self, ranges: &[Range<usize>]) -> Vec<ByteRowsMut<'_>> {
        let (mut bytes, mut scales, mut starts) =
            (&mut self.bytes[..], &mut self.scales[..], &mut self.starts[..]);
        let cut = |range: &Range<usize>| ByteRowsMut {
            bytes: take(&mut bytes, range.len() * self.width),
            scales: take(&mut scales, range.len()),
            starts: take(&mut starts, range.len()),
            width: self.width,
        };
        ranges.iter().map(cut).collect()
    }
}

/// Cuts the first `length` elements off.
pub(crate) fn take<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(length);
    *rest = others;
    first
}

#[derive(Clone, Copy)]
pub(crate) struct ByteRowsView<'a> {
    pub(crate) bytes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) starts: &'a [i32],
    pub(crate) width: usize,
}

pub(crate) struct ByteRowsMut<'a> {
    bytes: &'a mut [i8],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
    width: usize,
}

impl ByteRowsMut<'_> {
    pub(crate) fn row(&mut self, index: usize) -> &mut [i8] {
        &mut self.bytes[index * self.width..][..self.width]
    }

    pub(crate) fn set(&mut self, index: usize, scaled: Scaled) {
        self.scales[index] = scaled.scale;
        self.starts[index] = scaled.start;
    }
}

/// What happens to a block of sums while it is in registers.
pub(crate) trait Epilogue<S: Simd> {
    /// Sums of `R` rows from `row` on, in 64 columns.
    fn block<const R: usize>(&mut self, simd: S, row: usize, sums: &[[S::Vector; VECTORS]; R]);
}

/// Multiplies rows with one panel, block by block.
#[inline(always)]
pub(crate) fn multiply<S: Simd, E: Epilogue<S>>(
    simd: S,
    rows: ByteRowsView<'_>,
    range: Range<usize>,
    panel: &[u8],
    ahead: &[u8],
    epilogue: &mut E,
) {
    let blocks = range.len().div_ceil(ROWS);
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    for index in 0..blocks {
        let block = share(&range, index, blocks);
        let near = share(&(0..ahead.len() / PANEL), index, blocks);
        let work = Dot {
            rows: &rows.bytes[block.start * rows.width..],
            stride: rows.width,
            start: &rows.starts[block.start..],
            panel,
            depth: rows.width,
            ahead: &ahead[near.start * PANEL..near.end * PANEL],
        };
        let row = block.start;
        match block.len() {
            1 => one::<S, E, 1>(simd, row, &work, &mut sums, epilogue),
            2 => one::<S, E, 2>(simd, row, &work, &mut sums, epilogue),
            3 => one::<S, E, 3>(simd, row, &work, &mut sums, epilogue),
            4 => one::<S, E, 4>(simd, row, &work, &mut sums, epilogue),
            5 => one::<S, E, 5>(simd, row, &work, &mut sums, epilogue),
            _ => one::<S, E, ROWS>(simd, row, &work, &mut sums, epilogue),
        }
    }
}

#[inline(always)]
fn one<S: Simd, E: Epilogue<S>, const R: usize>(
    simd: S,
    row: usize,
    work: &Dot<'_>,
    sums: &mut [[S::Vector; VECTORS]; ROWS],
    epilogue: &mut E,
) {
    let sums = sums.first_chunk_mut::<R>().expect("no block has more rows");
    simd.dot(work, sums);
    epilogue.block(simd, row, sums);
}

/// Part `index` of `parts` nearly equal ones.
#[inline(always)]
pub(crate) fn share(range: &Range<usize>, index: usize, parts: usize) -> Range<usize> {
    range.start + range.len() * index / parts..range.start + range.len() * (index + 1) / parts
}
