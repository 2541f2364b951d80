//! Rows of activations, as bytes or as they are, and their product with packed weights.

use std::ops::Range;

use crate::isa::{Dot, LANES, PANEL, Product, ROWS, Simd, VECTORS};
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
#[expect(clippy::mut_mut, reason = "the slice itself becomes shorter")]
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

/// Rows of activations, and the packed weights that they are multiplied with: both of the model's precision.
#[derive(Clone, Copy)]
pub(crate) enum Factors<'a> {
    Bytes { rows: ByteRowsView<'a>, panels: &'a [u8] },
    Numbers { rows: NumberRows<'a>, panels: &'a [f32] },
}

/// Row by row, without gaps.
#[derive(Clone, Copy)]
pub(crate) struct NumberRows<'a> {
    pub(crate) numbers: &'a [f32],
    pub(crate) width: usize,
}

/// One panel of packed bytes with the rows that it is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct BytePanel<'a> {
    pub(crate) rows: ByteRowsView<'a>,
    pub(crate) panel: &'a [u8],
    pub(crate) ahead: &'a [u8],
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
    operands: BytePanel<'_>,
    range: Range<usize>,
    epilogue: &mut E,
) {
    let BytePanel { rows, panel, ahead } = operands;
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

/// One panel of packed numbers with the rows that it is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct NumberPanel<'a> {
    pub(crate) rows: NumberRows<'a>,
    pub(crate) panel: &'a [f32],
    pub(crate) ahead: &'a [f32],
}

/// Inputs whose weights, 24 KiB, stay in the nearest cache while all rows are multiplied with them. (All 768 of a panel came from
/// the second cache for every six rows, at 57 % of the limit.)
const DEPTH: usize = 96;

/// The same for numbers. `partial` has the sums of all rows between two parts of the depth, `[row][64]`; each sum goes on
/// where it stopped, so its order is that of the inputs.
#[inline(always)]
pub(crate) fn multiply_numbers<S: Simd, E: Epilogue<S>>(
    simd: S,
    operands: NumberPanel<'_>,
    partial: &mut [[f32; LANES]],
    epilogue: &mut E,
) {
    let NumberPanel { rows: NumberRows { numbers, width }, panel, ahead } = operands;
    let range = 0..partial.len() / VECTORS;
    let (blocks, parts) = (range.len().div_ceil(ROWS), width.div_ceil(DEPTH));
    for part in 0..parts {
        let inputs = part * DEPTH..width.min((part + 1) * DEPTH);
        for index in 0..blocks {
            let block = share(&range, index, blocks);
            let near = share(&(0..ahead.len() / PANEL), part * blocks + index, parts * blocks);
            let work = Product {
                rows: &numbers[block.start * width + inputs.start..],
                stride: width,
                table: &panel[inputs.start * PANEL..inputs.end * PANEL],
                table_stride: PANEL,
                depth: inputs.len(),
                ahead: &ahead[near.start * PANEL..near.end * PANEL],
            };
            let step = Step { row: block.start, is_first: part == 0, is_last: part + 1 == parts };
            match block.len() {
                1 => step.take::<S, E, 1>(simd, &work, partial, epilogue),
                2 => step.take::<S, E, 2>(simd, &work, partial, epilogue),
                3 => step.take::<S, E, 3>(simd, &work, partial, epilogue),
                4 => step.take::<S, E, 4>(simd, &work, partial, epilogue),
                5 => step.take::<S, E, 5>(simd, &work, partial, epilogue),
                _ => step.take::<S, E, ROWS>(simd, &work, partial, epilogue),
            }
        }
    }
}

/// One block of rows with one part of the depth.
struct Step {
    row: usize,
    is_first: bool,
    is_last: bool,
}

impl Step {
    #[inline(always)]
    fn take<S: Simd, E: Epilogue<S>, const R: usize>(
        self,
        simd: S,
        work: &Product<'_>,
        partial: &mut [[f32; LANES]],
        epilogue: &mut E,
    ) {
        let partial = &mut partial[self.row * VECTORS..][..R * VECTORS];
        let mut sums = [[simd.splat(0.0); VECTORS]; R];
        if !self.is_first {
            for (sum, partial) in sums.as_flattened_mut().iter_mut().zip(partial.iter()) {
                *sum = simd.load(partial);
            }
        }
        simd.product(work, &mut sums);
        if self.is_last {
            epilogue.block(simd, self.row, &sums);
        } else {
            for (sum, partial) in sums.as_flattened().iter().zip(partial) {
                simd.store(*sum, partial);
            }
        }
    }
}

/// Part `index` of `parts` nearly equal ones.
#[inline(always)]
pub(crate) fn share(range: &Range<usize>, index: usize, parts: usize) -> Range<usize> {
    range.start + range.len() * index / parts..range.start + range.len() * (index + 1) / parts
}
