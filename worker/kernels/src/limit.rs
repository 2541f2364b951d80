//! The limit that a model's speed is compared with: its precision's products alone, on operands in the nearest cache.

use std::hint::black_box;
use std::time::Instant;

use crate::isa::{Dot, Isa, PANEL, Product, ROWS, Simd, VECTORS, Work};
use crate::shape::Precision;

/// Inputs of a panel that fits the nearest cache with its rows.
const BYTES_DEPTH: usize = 256;
const NUMBERS_DEPTH: usize = 96;
const CALLS: usize = 4000;

/// Billions of operations a second (a multiplication and an addition are two) on this many threads at once; the best of
/// several rounds.
pub fn measure(isa: Isa, precision: Precision, threads: usize) -> f64 {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(move || best(isa, precision))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    })
}

fn best(isa: Isa, precision: Precision) -> f64 {
    let depth = match precision {
        Precision::Int8 => BYTES_DEPTH,
        Precision::Fp32 => NUMBERS_DEPTH,
    };
    let operations = (2 * CALLS * ROWS * depth * PANEL) as f64;
    let round = || {
        let start = Instant::now();
        isa.run(Calls { precision, depth });
        operations / start.elapsed().as_secs_f64() / 1e9
    };
    (0..20).map(|_| round()).fold(0.0, f64::max)
}

struct Calls {
    precision: Precision,
    depth: usize,
}

impl Work for Calls {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        let Self { precision, depth } = self;
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        match precision {
            Precision::Int8 => {
                let (rows, panel, start) = (vec![1; ROWS * depth], vec![1; PANEL * depth], [0; ROWS]);
                let work =
                    Dot { rows: &rows, stride: depth, start: &start, panel: &panel, depth, ahead: &[] };
                (0..CALLS).for_each(|_| simd.dot::<ROWS>(black_box(&work), black_box(&mut sums)));
            }
            Precision::Fp32 => {
                let (rows, table) = (vec![1.0; ROWS * depth], vec![1.0; PANEL * depth]);
                let work = Product {
                    rows: &rows,
                    stride: depth,
                    table: &table,
                    table_stride: PANEL,
                    depth,
                    ahead: &[],
                };
                (0..CALLS)
                    .for_each(|_| simd.product::<ROWS, VECTORS>(black_box(&work), black_box(&mut sums)));
            }
        }
    }
}
