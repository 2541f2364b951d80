//! AVX2 with FMA, with and without the 256-bit VNNI instructions.

mod bytes;

use std::arch::x86_64::{
    __m256, _CMP_GT_OQ, _MM_HINT_T1, _mm_prefetch, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_sub_ps,
};
use std::marker::PhantomData;

use self::bytes::Bytes;
pub(super) use self::bytes::{Maddubs, Vnni};
use super::{Dot, LANES, Product, Simd, VECTORS, Work};

/// Exists only where the instructions do: [`Avx2::detect`] is the one constructor, and every safety reason here and in
/// `bytes.rs` that says "detected" means that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2<B>(PhantomData<B>);

impl<B: Bytes> Avx2<B> {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && B::detect();
        found.then_some(Self(PhantomData))
    }
}

impl Avx2<Vnni> {
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: detected.
        unsafe { enter_vnni(self, work) }
    }
}

impl Avx2<Maddubs> {
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: detected.
        unsafe { enter_maddubs(self, work) }
    }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn enter_vnni<W: Work>(simd: Avx2<Vnni>, work: W) -> W::Output {
    work.work(simd)
}

#[target_feature(enable = "avx2,fma")]
fn enter_maddubs<W: Work>(simd: Avx2<Maddubs>, work: W) -> W::Output {
    work.work(simd)
}

const HALF: usize = LANES / 2;
type Vector = [__m256; 2];

impl<B: Bytes> Simd for Avx2<B> {
    type Vector = Vector;

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Vector {
        // SAFETY: detected; the array has the sixteen numbers that are read.
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(HALF))] }
    }

    #[inline(always)]
    fn store(self, value: Vector, to: &mut [f32; LANES]) {
        // SAFETY: detected; the array has room for the sixteen numbers.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(HALF), value[1]);
        }
    }

    #[inline(always)]
    fn add(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_add_ps(left[0], right[0]), _mm256_add_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn subtract(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_sub_ps(left[0], right[0]), _mm256_sub_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn multiply(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_mul_ps(left[0], right[0]), _mm256_mul_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn divide(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_div_ps(left[0], right[0]), _mm256_div_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn fused(self, left: Vector, right: Vector, plus: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_fmadd_ps(left[0], right[0], plus[0]), _mm256_fmadd_ps(left[1], right[1], plus[1])] }
    }

    #[inline(always)]
    fn larger(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_max_ps(left[0], right[0]), _mm256_max_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn smaller(self, left: Vector, right: Vector) -> Vector {
        // SAFETY: detected.
        unsafe { [_mm256_min_ps(left[0], right[0]), _mm256_min_ps(left[1], right[1])] }
    }

    #[inline(always)]
    fn absolute(self, value: Vector) -> Vector {
        // SAFETY: detected.
        unsafe {
            let magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
            [_mm256_and_ps(value[0], magnitude), _mm256_and_ps(value[1], magnitude)]
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "eight bits each")]
    fn above(self, left: Vector, right: Vector) -> u16 {
        // SAFETY: detected.
        unsafe {
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(left[0], right[0]));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(left[1], right[1]));
            (low | high << HALF) as u16
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "bits of 1.0")]
    fn power_of_two(self, rounded: Vector) -> Vector {
        // SAFETY: detected.
        unsafe {
            let one = _mm256_set1_epi32(1.0_f32.to_bits() as i32);
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(rounded[0]));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(rounded[1]));
            [
                _mm256_castsi256_ps(_mm256_add_epi32(low, one)),
                _mm256_castsi256_ps(_mm256_add_epi32(high, one)),
            ]
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "within -127..=127")]
    fn store_bytes(self, value: Vector, to: &mut [i8; LANES]) {
        let mut wide = [0_i32; LANES];
        // SAFETY: detected; the array has room for the sixteen integers.
        unsafe {
            _mm256_storeu_si256(wide.as_mut_ptr().cast(), _mm256_cvtps_epi32(value[0]));
            _mm256_storeu_si256(wide.as_mut_ptr().add(HALF).cast(), _mm256_cvtps_epi32(value[1]));
        }
        *to = wide.map(|value| value as i8);
    }

    #[inline(always)]
    fn request(self, numbers: &[f32]) {
        for line in numbers.chunks(LANES) {
            // SAFETY: detected; never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }

    #[inline(always)]
    fn dot<const R: usize>(self, work: &Dot<'_>, to: &mut [[Vector; VECTORS]; R]) {
        work.assert::<R>();
        // SAFETY: detected, and the slices were checked.
        unsafe { B::dot(work, to) }
    }

    #[inline(always)]
    fn product<const R: usize, const C: usize>(self, work: &Product<'_>, to: &mut [[Vector; C]; R]) {
        work.assert::<R, C>();
        // SAFETY: detected, and the slices were checked.
        unsafe { product(work, to) }
    }
}

/// The table's vectors one after the other: twelve registers of sums for six rows, two of the table. What is ahead is
/// requested with the first.
///
/// # Safety
///
/// Detected, and `work.assert::<R, C>()` holds.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn product<const R: usize, const C: usize>(work: &Product<'_>, to: &mut [[Vector; C]; R]) {
    let (rows, stride) = (work.rows.as_ptr(), work.stride);
    let mut ahead = work.ahead.chunks(LANES.max(work.ahead.len() / work.depth));
    for vector in 0..C {
        let mut sums: [Vector; R] = std::array::from_fn(|row| to[row][vector]);
        for index in 0..work.depth {
            for line in ahead.next().unwrap_or_default().chunks(LANES) {
                _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
            }
            // SAFETY: `assert` has compared the last row's last number, and the table's last row, with the slices' lengths.
            unsafe {
                let table = work.table.as_ptr().add(index * work.table_stride + vector * LANES);
                let (low, high) = (_mm256_loadu_ps(table), _mm256_loadu_ps(table.add(HALF)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*rows.add(row * stride + index));
                    *sums = [_mm256_fmadd_ps(value, low, sums[0]), _mm256_fmadd_ps(value, high, sums[1])];
                }
            }
        }
        for (to, sums) in to.iter_mut().zip(sums) {
            to[vector] = sums;
        }
    }
}
