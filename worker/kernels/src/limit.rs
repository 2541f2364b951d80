//! The limit that a model's speed is compared with: products of bytes alone, on operands in the nearest cache.

use std::hint::black_box;
use std::time::Instant;

use crate::isa::{Dot, Isa, PANEL, ROWS, Simd, VECTORS, Work};

const DEPTH: usize = 256;
const CALLS: usize = 4000;

/// Billions of operations a second (a multiplication and an addition are two) on this many threads at once; the best of
/// several rounds.
pub fn measure(isa: Isa, threads: usize) -> f64 {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(move || best(isa))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    })
}

fn best(isa: Isa) -> f64 {
    let operations = (2 * CALLS * ROWS * DEPTH * PANEL) as f64;
    let round = || {
        let start = Instant::now();
        isa.run(Calls);
        operations / start.elapsed().as_secs_f64() / 1e9
    };
    (0..20).map(|_| round()).fold(0.0, f64::max)
}

struct Calls;

impl Work for Calls {
    type Output = ();

    #[inline(always)]
    fn work<S: Simd>(self, simd: S) {
        let (rows, panel) = (vec![1; ROWS * DEPTH], vec![1; PANEL * DEPTH]);
        let work =
            Dot { rows: &rows, stride: DEPTH, start: &[0; ROWS], panel: &panel, depth: DEPTH, ahead: &[] };
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        for _ in 0..CALLS {
            simd.dot::<ROWS>(black_box(&work), black_box(&mut sums));
        }
    }
}
