//! Vectors as arrays, in safe Rust: the meaning of every operation, and what runs where nothing better is known.

use super::{Dot, LANES, PANEL, Product, QUAD, ROUND, Simd, VECTORS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portable;

type Vector = [f32; LANES];

#[inline(always)]
fn each(left: Vector, right: Vector, operation: impl Fn(f32, f32) -> f32) -> Vector {
    std::array::from_fn(|lane| operation(left[lane], right[lane]))
}

impl Simd for Portable {
    type Vector = Vector;

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Vector {
        *from
    }

    #[inline(always)]
    fn store(self, value: Vector, to: &mut [f32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn add(self, left: Vector, right: Vector) -> Vector {
        each(left, right, |left, right| left + right)
    }

    #[inline(always)]
    fn subtract(self, left: Vector, right: Vector) -> Vector {
        each(left, right, |left, right| left - right)
    }

    #[inline(always)]
    fn multiply(self, left: Vector, right: Vector) -> Vector {
        each(left, right, |left, right| left * right)
    }

    #[inline(always)]
    fn divide(self, left: Vector, right: Vector) -> Vector {
        each(left, right, |left, right| left / right)
    }

    #[inline(always)]
    fn fused(self, left: Vector, right: Vector, plus: Vector) -> Vector {
        std::array::from_fn(|lane| left[lane].mul_add(right[lane], plus[lane]))
    }

    #[inline(always)]
    fn larger(self, left: Vector, right: Vector) -> Vector {
        each(left, right, |left, right| if left > right { left } else { right })
    }

    #[inline(always)]
    fn smaller(self, left: Vector, right: Vector) -> Vector {
        each(left, right, |left, right| if left < right { left } else { right })
    }

    #[inline(always)]
    fn absolute(self, value: Vector) -> Vector {
        value.map(f32::abs)
    }

    #[inline(always)]
    fn above(self, left: Vector, right: Vector) -> u16 {
        (0..LANES).fold(0, |bits, lane| bits | (u16::from(left[lane] > right[lane]) << lane))
    }

    #[inline(always)]
    fn power_of_two(self, rounded: Vector) -> Vector {
        rounded.map(|value| f32::from_bits((value.to_bits() << 23).wrapping_add(1.0_f32.to_bits())))
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte is the number")]
    fn store_bytes(self, value: Vector, to: &mut [i8; LANES]) {
        *to = value.map(|value| (value + ROUND).to_bits() as i8);
    }

    #[inline(always)]
    fn request(self, _: &[f32]) {}

    #[inline(always)]
    fn dot<const R: usize>(self, work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
        work.assert::<R>();
        let quads = work.panel.as_chunks::<{ PANEL * QUAD }>().0;
        for (row, to) in to.iter_mut().enumerate() {
            let activations = work.rows[row * work.stride..][..work.depth].as_chunks::<QUAD>().0;
            let mut sums = [work.start[row]; PANEL];
            for (activations, weights) in activations.iter().zip(quads) {
                for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<QUAD>().0) {
                    for (activation, weight) in activations.iter().zip(weights) {
                        *sum += i32::from(*activation) * i32::from(*weight);
                    }
                }
            }
            for (to, sum) in to.iter_mut().flatten().zip(sums) {
                *to = sum as f32;
            }
        }
    }

    #[inline(always)]
    fn product<const R: usize, const C: usize>(self, work: &Product<'_>, to: &mut [[Vector; C]; R]) {
        work.assert::<R, C>();
        for index in 0..work.depth {
            let table = work.table[index * work.table_stride..][..C * LANES].as_chunks::<LANES>().0;
            for (row, sums) in to.iter_mut().enumerate() {
                let value = [work.rows[row * work.stride + index]; LANES];
                for (sum, table) in sums.iter_mut().zip(table) {
                    *sum = self.fused(value, *table, *sum);
                }
            }
        }
    }
}
