//! NEON: the products of bytes by widening multiplications, which every 64-bit Arm machine has. Everything else is the
//! portable path, which the compiler turns into NEON instructions there.

use std::arch::aarch64::{
    int32x4_t, vdup_n_s32, vdupq_n_s32, vdupq_n_u8, veorq_u8, vget_high_s8, vget_low_s8, vld1q_u8, vmull_s8,
    vpadalq_s16, vpaddq_s32, vreinterpret_s8_s32, vreinterpretq_s8_u8, vst1q_s32,
};

use super::portable::Portable;
use super::{Dot, LANES, PANEL, Product, QUAD, Simd, VECTORS, Work};

/// Exists only where the instructions do: [`Neon::detect`] is the one constructor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neon(());

type Vector = <Portable as Simd>::Vector;

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        work.work(self)
    }
}

impl Simd for Neon {
    type Vector = Vector;

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        Portable.splat(value)
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Vector {
        Portable.load(from)
    }

    #[inline(always)]
    fn store(self, value: Vector, to: &mut [f32; LANES]) {
        Portable.store(value, to);
    }

    #[inline(always)]
    fn add(self, left: Vector, right: Vector) -> Vector {
        Portable.add(left, right)
    }

    #[inline(always)]
    fn subtract(self, left: Vector, right: Vector) -> Vector {
        Portable.subtract(left, right)
    }

    #[inline(always)]
    fn multiply(self, left: Vector, right: Vector) -> Vector {
        Portable.multiply(left, right)
    }

    #[inline(always)]
    fn divide(self, left: Vector, right: Vector) -> Vector {
        Portable.divide(left, right)
    }

    #[inline(always)]
    fn fused(self, left: Vector, right: Vector, plus: Vector) -> Vector {
        Portable.fused(left, right, plus)
    }

    #[inline(always)]
    fn larger(self, left: Vector, right: Vector) -> Vector {
        Portable.larger(left, right)
    }

    #[inline(always)]
    fn smaller(self, left: Vector, right: Vector) -> Vector {
        Portable.smaller(left, right)
    }

    #[inline(always)]
    fn absolute(self, value: Vector) -> Vector {
        Portable.absolute(value)
    }

    #[inline(always)]
    fn above(self, left: Vector, right: Vector) -> u16 {
        Portable.above(left, right)
    }

    #[inline(always)]
    fn power_of_two(self, rounded: Vector) -> Vector {
        Portable.power_of_two(rounded)
    }

    #[inline(always)]
    fn store_bytes(self, value: Vector, to: &mut [i8; LANES]) {
        Portable.store_bytes(value, to);
    }

    #[inline(always)]
    fn dot<const R: usize>(self, work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
        work.assert::<R>();
        for (row, to) in to.iter_mut().enumerate() {
            let activations = &work.rows[row * work.stride..][..work.depth];
            for (vector, to) in to.iter_mut().enumerate() {
                *to = lanes(activations, work, vector);
            }
        }
    }

    #[inline(always)]
    fn product<const R: usize, const C: usize>(self, work: &Product<'_>, to: &mut [[Vector; C]; R]) {
        Portable.product(work, to);
    }
}

/// One row times the sixteen columns of one vector of the panel. The weights are made signed here, so the row's start has
/// nothing to take out.
fn lanes(activations: &[i8], work: &Dot<'_>, vector: usize) -> Vector {
    const BYTES: usize = LANES * QUAD;
    let mut sums = [0_i32; LANES];
    // SAFETY: NEON was detected; `assert` has compared the panel's length with `depth * 64`, and each round reads the 64
    // bytes of this vector in the 256 bytes of its four inputs. The sums' array has room for four vectors of four.
    unsafe {
        // Two sums for each column: the widening additions add neighbours.
        let mut pairs: [[int32x4_t; 2]; VECTORS] = [[vdupq_n_s32(0); 2]; VECTORS];
        let offset = vdupq_n_u8(0x80);
        for (quad, four) in activations.as_chunks::<QUAD>().0.iter().enumerate() {
            let four = vreinterpret_s8_s32(vdup_n_s32(i32::from_le_bytes(four.map(i8::cast_unsigned))));
            let panel = work.panel.as_ptr().add(quad * PANEL * QUAD + vector * BYTES);
            for (column, pairs) in pairs.iter_mut().enumerate() {
                let weights = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(panel.add(column * 16)), offset));
                pairs[0] = vpadalq_s16(pairs[0], vmull_s8(vget_low_s8(weights), four));
                pairs[1] = vpadalq_s16(pairs[1], vmull_s8(vget_high_s8(weights), four));
            }
        }
        for (column, pairs) in pairs.into_iter().enumerate() {
            vst1q_s32(sums.as_mut_ptr().add(column * 4), vpaddq_s32(pairs[0], pairs[1]));
        }
    }
    sums.map(|sum| sum as f32)
}
