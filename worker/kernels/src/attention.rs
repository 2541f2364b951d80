//! Attention of some groups of heads: projections, scores, soft-max and sums of values, one block of rows of one head at a
//! time. In 32-bit numbers: at 128 tokens it is 2 % of the arithmetic, and its errors would be felt.

use std::ops::Range;

use crate::dense::{After, Dense};
use crate::isa::{LANES, PANEL, Product, ROWS, Simd, VECTORS, Work};
use crate::math::{exponential, lanes, largest, sum};
use crate::model::Weights;
use crate::rotation::Turns;
use crate::rows::share;
use crate::shape::{Sight, Sizes};

/// What one thread needs for the group that it works on.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    /// Query, key and value: `[panel][token][64]`.
    projections: Vec<f32>,
    /// Queries of one head, scaled: `[token][head]`.
    queries: Vec<f32>,
    /// Keys of one head, transposed: `[tokens / 64][head][64]`.
    keys: Vec<f32>,
    /// `[6][tokens]`.
    scores: Vec<f32>,
}

impl AttentionScratch {
    pub(crate) fn resize(&mut self, tokens: usize, sizes: &Sizes) {
        let padded = tokens.next_multiple_of(PANEL);
        self.projections.resize(3 * sizes.group * tokens, 0.0);
        self.queries.resize(sizes.head * tokens, 0.0);
        self.keys.resize(sizes.head * padded, 0.0);
        self.scores.resize(ROWS * padded, 0.0);
    }
}

pub(crate) struct Attention<'a> {
    pub(crate) tokens: usize,
    pub(crate) texts: &'a [Range<usize>],
    pub(crate) weights: Weights<'a>,
    pub(crate) sizes: Sizes,
    pub(crate) heads: usize,
    /// One over the root of a head's columns before padding.
    pub(crate) scale: f32,
    pub(crate) sight: Sight,
    /// Where places are told by rotations.
    pub(crate) turns: Option<&'a Turns>,
    pub(crate) groups: Range<usize>,
    pub(crate) scratch: &'a mut AttentionScratch,
    /// `[panel of these groups][token][64]`.
    pub(crate) to: &'a mut [f32],
}

impl Work for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        let Self { tokens, texts, weights, sizes, heads, scale, sight, turns, groups, scratch, to } = self;
        let group_panels = sizes.group / PANEL;
        for (group, to) in groups.zip(to.chunks_exact_mut(sizes.group * tokens)) {
            let first = 3 * group * group_panels;
            let projections = Dense {
                weights,
                tokens,
                panels: first..first + 3 * group_panels,
                columns: first * PANEL,
                after: After::Bias,
                to: &mut scratch.projections,
            };
            projections.work(simd);
            let heads_here = sizes.heads_in_group.min(heads - group * sizes.heads_in_group);
            if heads_here * sizes.head < sizes.group {
                // What an earlier text left in the padding would count in the scale of this one's rows.
                to.fill(0.0);
            }
            let (queries, others) = scratch.projections.split_at_mut(sizes.group * tokens);
            let (keys, values) = others.split_at_mut(sizes.group * tokens);
            for column in (0..heads_here).map(|head| head * sizes.head) {
                for text in texts {
                    let head = Head { tokens, text: text.clone(), column, width: sizes.head, sight };
                    if let Some(turns) = turns {
                        head.turn(simd, turns, queries);
                        head.turn(simd, turns, keys);
                    }
                    head.copy_queries(simd, queries, scale, &mut scratch.queries);
                    head.turn_keys(keys, &mut scratch.keys);
                    head.attend(
                        simd,
                        scratch_rows(&scratch.queries, &scratch.keys, values),
                        &mut scratch.scores,
                        to,
                    );
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Operands<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
}

fn scratch_rows<'a>(queries: &'a [f32], keys: &'a [f32], values: &'a [f32]) -> Operands<'a> {
    Operands { queries, keys, values }
}

/// What some queries make of the values that they look at.
struct Mix<'a> {
    /// From the first key on, a row for each query.
    scores: &'a [f32],
    stride: usize,
    keys: Range<usize>,
    values: &'a [f32],
}

/// One head of one text.
struct Head {
    /// Rows of each panel, of all texts.
    tokens: usize,
    text: Range<usize>,
    /// First column within the group.
    column: usize,
    width: usize,
    sight: Sight,
}

impl Head {
    /// Where 16 columns of a row stand in `[panel][token][64]`.
    #[inline(always)]
    fn place(&self, row: usize, column: usize) -> usize {
        (column / PANEL * self.tokens + row) * PANEL + column % PANEL
    }

    #[inline(always)]
    fn columns(&self) -> impl Iterator<Item = usize> + use<> {
        (self.column..self.column + self.width).step_by(LANES)
    }

    /// Rotates each row to its place.
    #[inline(always)]
    fn turn<S: Simd>(&self, simd: S, turns: &Turns, panels: &mut [f32]) {
        for (place, row) in self.text.clone().enumerate() {
            for (column, (cosine, sine)) in self.columns().zip(turns.at(place)) {
                let (cosine, sine) = (simd.load(cosine), simd.load(sine));
                let places = [column, column + self.width / 2].map(|column| self.place(row, column));
                let [first, second] = places.map(|place| simd.load(vector(&panels[place..])));
                let turned = [
                    simd.subtract(simd.multiply(first, cosine), simd.multiply(second, sine)),
                    simd.add(simd.multiply(second, cosine), simd.multiply(first, sine)),
                ];
                for (place, turned) in places.into_iter().zip(turned) {
                    simd.store(turned, vector_mut(&mut panels[place..]));
                }
            }
        }
    }

    /// What some tokens, which follow each other, look at between them.
    #[inline(always)]
    fn seen(&self, tokens: Range<usize>) -> Range<usize> {
        match self.sight {
            Sight::Global => 0..self.text.len(),
            Sight::Local { reach } => {
                tokens.start.saturating_sub(reach)..self.text.len().min(tokens.end.saturating_add(reach))
            }
        }
    }

    #[inline(always)]
    fn copy_queries<S: Simd>(&self, simd: S, from: &[f32], scale: f32, to: &mut [f32]) {
        let scale = simd.splat(scale);
        for (row, to) in self.text.clone().zip(to.chunks_exact_mut(self.width)) {
            for (column, to) in self.columns().zip(to.as_chunks_mut().0) {
                let vector = simd.load(vector(&from[self.place(row, column)..]));
                simd.store(simd.multiply(vector, scale), to);
            }
        }
    }

    #[inline(always)]
    fn turn_keys(&self, from: &[f32], to: &mut [f32]) {
        for (index, row) in self.text.clone().enumerate() {
            let to = &mut to[index / PANEL * self.width * PANEL..][..self.width * PANEL];
            for (column, to) in self.columns().zip(to.chunks_exact_mut(LANES * PANEL)) {
                let from = vector(&from[self.place(row, column)..]);
                for (value, to) in from.iter().zip(to.chunks_exact_mut(PANEL)) {
                    to[index % PANEL] = *value;
                }
            }
        }
    }

    #[inline(always)]
    fn attend<S: Simd>(&self, simd: S, operands: Operands<'_>, scores: &mut [f32], to: &mut [f32]) {
        let blocks = self.text.len().div_ceil(ROWS);
        for index in 0..blocks {
            let block = share(&(0..self.text.len()), index, blocks);
            match block.len() {
                1 => self.block::<S, 1>(simd, block.start, operands, scores, to),
                2 => self.block::<S, 2>(simd, block.start, operands, scores, to),
                3 => self.block::<S, 3>(simd, block.start, operands, scores, to),
                4 => self.block::<S, 4>(simd, block.start, operands, scores, to),
                5 => self.block::<S, 5>(simd, block.start, operands, scores, to),
                _ => self.block::<S, 6>(simd, block.start, operands, scores, to),
            }
        }
    }

    /// `R` queries from `first` on.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(
        &self,
        simd: S,
        first: usize,
        operands: Operands<'_>,
        scores: &mut [f32],
        to: &mut [f32],
    ) {
        let keys = self.seen(first..first + R);
        let panels = keys.start / PANEL..keys.end.div_ceil(PANEL);
        let (start, padded) = (panels.start * PANEL, panels.len() * PANEL);
        for (index, panel) in panels.enumerate() {
            let work = Product {
                rows: &operands.queries[first * self.width..],
                stride: self.width,
                table: &operands.keys[panel * self.width * PANEL..],
                table_stride: PANEL,
                depth: self.width,
                ahead: &[],
            };
            let mut products = [[simd.splat(0.0); VECTORS]; R];
            simd.product(&work, &mut products);
            for (row, products) in products.iter().enumerate() {
                let scores = &mut scores[row * padded + index * PANEL..][..PANEL];
                for (product, score) in products.iter().zip(scores.as_chunks_mut().0) {
                    simd.store(*product, score);
                }
            }
        }
        let mut shares = [simd.splat(0.0); R];
        for ((row, share), scores) in shares.iter_mut().enumerate().zip(scores.chunks_exact_mut(padded)) {
            let own = self.seen(first + row..first + row + 1);
            let own = own.start - start..own.end - start;
            *share = simd.splat(1.0 / soft_max(simd, scores, own.clone()));
            // What only its neighbours look at weighs nothing.
            scores[keys.start - start..own.start].fill(0.0);
            scores[own.end..keys.end - start].fill(0.0);
        }
        let mix =
            Mix { scores: &scores[keys.start - start..], stride: padded, keys, values: operands.values };
        let mut columns = self.columns();
        while let Some(column) = columns.next() {
            let left = self.column + self.width - column;
            if column.is_multiple_of(PANEL) && left >= PANEL {
                self.values::<S, R, 4>(simd, first, column, &mix, shares, to);
                columns.nth(2);
            } else if column.is_multiple_of(PANEL / 2) && left >= PANEL / 2 {
                self.values::<S, R, 2>(simd, first, column, &mix, shares, to);
                columns.next();
            } else {
                self.values::<S, R, 1>(simd, first, column, &mix, shares, to);
            }
        }
    }

    #[inline(always)]
    fn values<S: Simd, const R: usize, const C: usize>(
        &self,
        simd: S,
        first: usize,
        column: usize,
        mix: &Mix<'_>,
        shares: [S::Vector; R],
        to: &mut [f32],
    ) {
        let work = Product {
            rows: mix.scores,
            stride: mix.stride,
            table: &mix.values[self.place(self.text.start + mix.keys.start, column)..],
            table_stride: PANEL,
            depth: mix.keys.len(),
            ahead: &[],
        };
        let mut sums = [[simd.splat(0.0); C]; R];
        simd.product(&work, &mut sums);
        for (row, (sums, share)) in sums.iter().zip(shares).enumerate() {
            let to = &mut to[self.place(self.text.start + first + row, column)..][..C * LANES];
            for (sum, to) in sums.iter().zip(to.as_chunks_mut().0) {
                simd.store(simd.multiply(*sum, share), to);
            }
        }
    }
}

#[inline(always)]
fn vector(numbers: &[f32]) -> &[f32; LANES] {
    numbers.first_chunk().expect("rows are whole vectors")
}

#[inline(always)]
fn vector_mut(numbers: &mut [f32]) -> &mut [f32; LANES] {
    numbers.first_chunk_mut().expect("rows are whole vectors")
}

/// Turns scores into exponentials of their distance to the largest, and returns the sum. What fills up whole vectors at both ends weighs
/// nothing.
#[inline(always)]
fn soft_max<S: Simd>(simd: S, scores: &mut [f32], keys: Range<usize>) -> f32 {
    let whole = keys.start / LANES * LANES..keys.end.next_multiple_of(LANES);
    scores[whole.start..keys.start].fill(f32::MIN);
    scores[keys.end..whole.end].fill(f32::MIN);
    let scores = scores[whole].as_chunks_mut::<LANES>().0;
    let mut top = simd.splat(f32::MIN);
    for score in scores.iter() {
        top = simd.larger(simd.load(score), top);
    }
    let top = simd.splat(largest(lanes(simd, top)));
    let mut total = simd.splat(0.0);
    for score in scores {
        let power = exponential(simd, simd.subtract(simd.load(score), top));
        total = simd.add(total, power);
        simd.store(power, score);
    }
    sum(lanes(simd, total))
}
